"""A kept connection to a real Valkey: small reads, one at a time, whatever becomes of the connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError, ResponseError

from recpipe.store import KeptConnection, connect


@pytest.fixture
async def connection(valkey_url: str) -> AsyncIterator[KeptConnection]:
    client = connect(valkey_url)
    await client.mset({"a": "1", "é": b"\xff"})
    kept = KeptConnection(valkey_url)
    yield kept
    await kept.aclose()
    await client.aclose()


async def test_replies_come_as_the_server_sends_them(connection: KeptConnection) -> None:
    assert await connection.ask("MGET", "a", "é", "missing") == [b"1", b"\xff", None]


async def test_callers_take_turns_and_each_gets_its_own_reply(connection: KeptConnection) -> None:
    words = [str(number) for number in range(50)]
    replies = await asyncio.gather(*[connection.ask("ECHO", word) for word in words])
    assert replies == [word.encode() for word in words]


async def test_a_connection_that_the_server_closed_is_opened_again(
    connection: KeptConnection, valkey_url: str
) -> None:
    identity = await connection.ask("CLIENT", "ID")
    client = connect(valkey_url)
    assert await client.client_kill_filter(_id=str(identity)) == 1
    await client.aclose()
    assert await connection.ask("MGET", "a") == [b"1"]
    assert await connection.ask("CLIENT", "ID") != identity


async def test_a_reply_that_was_given_up_is_not_the_next_callers(connection: KeptConnection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connection.ask("BLPOP", "nothing-comes-here", "5")
    assert await connection.ask("ECHO", "mine") == b"mine"


async def test_an_error_is_raised_and_the_connection_stays(connection: KeptConnection) -> None:
    identity = await connection.ask("CLIENT", "ID")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await connection.ask("HMGET", "a", "field")
    assert await connection.ask("CLIENT", "ID") == identity


async def test_a_store_that_is_not_there_is_an_error_soon() -> None:
    async with asyncio.timeout(2):
        with pytest.raises(ConnectionError):
            await KeptConnection("redis://127.0.0.1:1/0").ask("MGET", "a")
