"""Machines are found out, and people are let alone."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from math import log

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from recpipe.records import CleanEvent
from recpipe.spec import Bots
from recpipe_functions.clean.bots import HINTS, BotFilter, Judgement, Watch
from recpipe_functions.clean.crawlers import CRAWLER, LIBRARY, declared_by
from recpipe_functions.clean.crowd import MOST, Crowd
from tests.records import clean_event

BEGIN = 1_764_000_000_123
WEBKIT, KHTML = "AppleWebKit/537.36", "(KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} {KHTML} Chrome/131.0.0.0 Safari/537.36"
PEOPLE = (
    CHROME,
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} {KHTML} Version/18.1 Safari/605.1.15",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {WEBKIT} {KHTML} Mobile/15E148 Instagram 334.0",
    f"Mozilla/5.0 (Linux; Android 14; SM-S918B) {WEBKIT} {KHTML} SamsungBrowser/26.0 Chrome/122.0 Mobile Safari",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    f"Mozilla/5.0 (Linux; Android 9; KFONWI) {WEBKIT} {KHTML} Silk/120.3.1 like Chrome/120.0.6099.230 Safari/537.36",
    "",
)
DEFAULTS, NOBODY = Bots(), Crowd()


def event(at: float, kind: str = "click", user_agent: str = CHROME, data: str = "{}") -> CleanEvent:
    return clean_event(
        round(at),
        event_type=kind,
        item_id=None,
        ingested_at=BEGIN + 10**9,  # all arrive at once: arrival must not count
        additional_data=data,
        user_agent=user_agent,
    )


def judged(events: Iterable[CleanEvent], bots: Bots = DEFAULTS, crowd: Crowd = NOBODY) -> list[Judgement]:
    """The judgements of one user's events."""
    judge, watch, judgements = BotFilter(bots), Watch(), []
    for each in events:
        judgement, watch, crowd = judge(each, watch, crowd)
        judgements.append(judgement)
    return judgements


def rejected(events: Iterable[CleanEvent], bots: Bots = DEFAULTS) -> int:
    judge = BotFilter(bots)
    return sum(judge.rejects(judgement) for judgement in judged(events, bots))


def clicks(gaps: Iterable[float], begin: float = BEGIN) -> list[CleanEvent]:
    return [event(at) for at in accumulate(gaps, initial=begin)]


def person(choose: random.Random, clicks: int, median: float, sigma: float) -> Iterator[CleanEvent]:
    """Log-normal gaps (seconds), breaks of hours, and the throttled scrolling of a tracker in between."""
    at = float(BEGIN)
    for _ in range(clicks):
        if choose.random() < 1 / 15:
            at += choose.lognormvariate(15.5, 1.2)
        at += choose.lognormvariate(log(median * 1_000), sigma)
        yield event(at)
        for _ in range(choose.choice((0, 0, 5, 40))):
            at += 250
            yield event(at, "scroll")


def test_every_listed_crawler_is_known_by_its_user_agent() -> None:
    agents = [agent for entry in CRAWLER_USER_AGENTS_DATA for agent in entry["instances"]]
    assert len(agents) > 2_000
    assert all(declared_by(agent) for agent in agents)


@pytest.mark.parametrize("agent", PEOPLE)
def test_no_browser_is_a_crawler(agent: str) -> None:
    assert declared_by(agent) is None


def test_a_crawler_is_rejected_and_a_library_only_suspected() -> None:
    crawler = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    assert declared_by(crawler) == (CRAWLER, "Googlebot/")
    assert rejected([event(BEGIN, user_agent=crawler)]) == 1
    assert rejected([event(BEGIN, user_agent=crawler)], Bots(declared_crawlers=False)) == 0
    assert declared_by("okhttp/4.9.3") == (LIBRARY, "okhttp")
    assert rejected([event(BEGIN, user_agent="okhttp/4.9.3")]) == 0


@pytest.mark.parametrize(("hint", "score"), HINTS.items())
def test_the_trackers_hints_count(hint: str, score: float) -> None:
    (judgement,) = judged([event(BEGIN, data=f'{{"_hints": {{"{hint}": true}}}}')])
    assert judgement == Judgement(score, (f"tracker hints {hint}",))


@pytest.mark.parametrize(
    "data", ['{"_hints": {"webdriver": false}}', '{"_hints": 7}', '{"a": "\\"_hints\\""}', '{"_hints": {}}']
)
def test_what_is_no_hint_counts_nothing(data: str) -> None:
    assert judged([event(BEGIN, data=data)]) == [Judgement(0.0)]


def test_a_burst_is_let_through_and_what_is_faster_for_longer_is_not() -> None:
    at_once = [event(BEGIN) for _ in range(100)]
    assert rejected(at_once) == 0
    assert rejected([*at_once, event(BEGIN)]) == 1
    flood = [event(BEGIN + 10 * n, "scroll") for n in range(1_000)]
    assert rejected(flood) > 850
    assert rejected([event(BEGIN + 60 * n, "scroll") for n in range(1_000)]) == 0, "below 20 a second"


def test_who_was_too_fast_is_let_in_again_after_a_minute() -> None:
    flood = [event(BEGIN, "scroll") for _ in range(10_000)]
    assert rejected([*flood, event(BEGIN + 50_000)]) == 9_901
    assert rejected([*flood, event(BEGIN + 61_000)]) == 9_900


def test_a_replay_of_bursts_is_legitimate_where_the_spec_says_so() -> None:
    replay = [event(BEGIN // 1_000 * 1_000) for _ in range(500)]
    assert rejected(replay) == 400
    assert rejected(replay, Bots(burst=500)) == 0
    assert rejected(replay, Bots(enabled=False)) == 0


def test_what_a_device_sends_of_an_earlier_time_is_judged_by_the_times_it_tells() -> None:
    offline = [event(BEGIN - 10_800_000 + 5_000 * n, "scroll") for n in range(500)]
    assert rejected([event(BEGIN), *offline, event(BEGIN + 1_000)]) == 0


@pytest.mark.parametrize(
    ("script", "caught"),
    [
        (lambda choose: 1_000, 0.85),
        (lambda choose: choose.uniform(4_500, 5_500), 0.85),
        (lambda choose: 100, 0.85),
        (lambda choose: choose.choice((1_500, 3_000, 7_000)), 0.85),
        (lambda choose: choose.uniform(1_600, 2_400), 0.3),
    ],
    ids=["every second", "5 s give or take 10 %", "ten a second", "one of three pauses", "2 s ± 20 %"],
)
def test_scripts_are_caught_by_their_rhythm(script: Callable[[random.Random], float], caught: float) -> None:
    choose = random.Random(7)
    shares = []
    for _ in range(20):
        events = clicks(script(choose) for _ in range(199))
        shares.append(rejected(events) / len(events))
    assert sum(shares) / len(shares) >= caught


@pytest.mark.parametrize("median", [1.0, 8.0, 60.0])
@pytest.mark.parametrize("sigma", [0.4, 0.8, 1.2])
@pytest.mark.parametrize("resolution", [1, 1_000])
def test_no_person_is_rejected(median: float, sigma: float, resolution: int) -> None:
    choose = random.Random(11)
    for _ in range(10):
        events = list(person(choose, 60, median, sigma))
        for each in events:
            each["timestamp"] -= each["timestamp"] % resolution
        assert rejected(events) == 0


def test_only_types_that_a_hand_makes_have_a_rhythm() -> None:
    player = [event(BEGIN + 10_000 * n, "watch") for n in range(200)]
    assert rejected(player) == 0
    assert rejected(player, Bots(rhythm_types=["watch"])) > 150
    assert rejected(clicks([1_000] * 200), Bots(rhythm=False)) == 0


def crowd_of_people() -> Crowd:
    choose, crowd, judge = random.Random(3), Crowd(), BotFilter(Bots())
    for _ in range(60):
        watch = Watch()
        for each in person(choose, 60, choose.choice((3, 8, 20)), 0.9):
            _, watch, crowd = judge(each, watch, crowd)
    return crowd


def test_an_unusual_session_adds_to_a_suspicion_and_is_none_by_itself() -> None:
    crowd, choose = crowd_of_people(), random.Random(1)
    assert crowd.seen > 1_000
    odd = clicks(choose.lognormvariate(2 if number % 2 else 14, 0.3) for number in range(30))
    (*_, alone) = judged(odd, DEFAULTS, crowd)
    assert alone.score == 0.0
    for each in odd:
        each["user_agent"] = "okhttp/4.9.3"
    (*_, together) = judged(odd, DEFAULTS, crowd)
    assert LIBRARY < together.score <= LIBRARY + MOST
    assert "session is unlike others" in together.reasons[-1]


def test_the_crowd_follows_the_middle_and_not_the_extremes() -> None:
    choose, crowd = random.Random(5), Crowd()
    for _ in range(20_000):
        crowd = crowd.learned((choose.gauss(10.0, 1.0) if choose.random() < 0.9 else 1e6,))
    assert crowd.medians[0] == pytest.approx(10.15, abs=0.2)
    assert crowd.deviations[0] == pytest.approx(0.75, abs=0.2)
