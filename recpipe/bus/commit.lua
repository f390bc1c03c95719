-- Stores outputs, lets inputs go and counts, in one step: all of it or none.
-- KEYS: every stream named below, and the tally's hash last.
-- ARGV: number of outputs, each: stream, limit, number of messages, then key and value of each;
--       number of acknowledgements, each: stream, group, number of ids, the ids;
--       then name and amount of each count.
-- Answers the name of a stream that is full (nothing was done), or an empty string.
local at = 0
local function take() at = at + 1; return ARGV[at] end
local function skip(n) local first = at + 1; at = at + n; return first end

local outputs, acks = {}, {}
for i = 1, tonumber(take()) do
  local stream, limit, count = take(), tonumber(take()), tonumber(take())
  outputs[i] = {stream = stream, limit = limit, count = count, first = skip(2 * count)}
end
for i = 1, tonumber(take()) do
  local stream, group, count = take(), take(), tonumber(take())
  acks[i] = {stream = stream, group = group, count = count, first = skip(count)}
end

-- A retry after a lost answer finds its records acknowledged, the last of them too (newer ones may have
-- joined them): it must neither store nor count twice.
local settled = #acks > 0
for _, ack in ipairs(acks) do
  local id = ARGV[ack.first + ack.count - 1]
  if #redis.call('XPENDING', ack.stream, ack.group, id, id, 1) > 0 then settled = false end
end
if settled then return '' end

for _, output in ipairs(outputs) do
  if redis.call('XLEN', output.stream) + output.count > output.limit then return output.stream end
end
for _, output in ipairs(outputs) do
  for i = output.first, output.first + 2 * output.count - 2, 2 do
    redis.call('XADD', output.stream, '*', 'k', ARGV[i], 'v', ARGV[i + 1])
  end
end
for _, ack in ipairs(acks) do
  for i = 0, ack.count - 1, 1000 do
    local last = math.min(i + 999, ack.count - 1)
    redis.call('XACK', ack.stream, ack.group, unpack(ARGV, ack.first + i, ack.first + last))
  end
end
while at < #ARGV do
  redis.call('HINCRBY', KEYS[#KEYS], take(), take())
end
return ''
