"""The protocols that follow a stream: prequential, and next item in a session."""

import numpy as np

from recpipe_model.evaluation.baselines import Popularity
from recpipe_model.evaluation.events import InputError, Stream
from recpipe_model.evaluation.histories import Histories
from recpipe_model.evaluation.metrics import hit_rate, hits_of_ranks
from recpipe_model.evaluation.newcomers import AmongNewcomers
from recpipe_model.evaluation.replay import Step, Trial, earlier, repeats, replay, spread
from recpipe_model.evaluation.report import Figures, Report, accuracy, beyond_accuracy, of_ranks
from recpipe_model.evaluation.roster import Roster
from recpipe_model.hybrid.arrays import Doubles, Ints, Mask

SLICES = ("new-user", "new-item")
WARM_UP = 50


def prequential(
    stream: Stream, roster: Roster, *, k: int, step: Step, lists: int = 0, slices: tuple[str, ...] = ()
) -> Report:
    """Tests each event, then learns from it (Gama, Sebastião and Rodrigues 2013).

    A test ranks all items seen so far less those of the user's history, so a user's first event and an
    item that is in the history already are learned from and not tested; an item never seen is a miss.

    Raises:
        InputError: when there is no event to test, or a slice lacks what it needs.
    """
    refused = [name for name in slices if name not in SLICES]
    if refused:
        raise InputError(f"slice: {refused[0]!r} is none; there is {', '.join(SLICES)}")
    if "new-item" in slices and not roster.catalogue:
        raise InputError("slice: new-item ranks items by their metadata: give it with --items FILE.ndjson")
    roster.refuse_batch("prequential")
    fresh = ~repeats(stream.users, stream.items)
    known = np.zeros(len(stream), np.int32)
    known[fresh] = earlier(stream.users[fresh])
    tested = fresh & (known > 0)
    _require_tests(tested, "a second event of a user, of an item new to them")
    visitors = len(roster.ids.users)
    _warm_up(stream, roster)
    trials = [Trial(method) for method in roster.methods(visitors)]
    histories = Histories(stream.users, visitors)
    shows = spread(tested, lists)
    replay(
        stream,
        stream.users,
        trials,
        histories=histories,
        step=step,
        tests=fresh,
        shows=shows,
        k=k,
        excludes=True,
    )
    seen_before = earlier(stream.items)
    parts: dict[str, dict[str, Report]] = {}
    if "new-user" in slices:
        parts["new_user"] = {
            "context_only": _part(trials[:2], fresh & (known == 0), stream, k, roster.seed),
            "after_one_event": _part(trials[:2], fresh & (known == 1), stream, k, roster.seed),
        }
    if "new-item" in slices:
        forewarned = _forewarned(stream, roster, fresh, step)
        parts["new_item"] = {
            "metadata_only": _part(forewarned, tested & (seen_before == 0), stream, k, roster.seed),
            "after_one_event": _part(forewarned, tested & (seen_before == 1), stream, k, roster.seed),
        }
        newcomers = parts["new_item"]["metadata_only"].methods
        newcomers["chance"] = _chance(stream, roster, tested & (seen_before == 0), k)
    counts = {
        "events": len(stream),
        "tested": int(tested.sum()),
        "first_events": int((fresh & (known == 0)).sum()),
        "repeats": int((~fresh).sum()),
        "unseen": int((tested & (seen_before == 0)).sum()),
    }
    methods = _figures(trials, tested, stream.users, stream.items, roster, k)
    return Report(methods, counts, parts, _curves(trials, tested, k))


def next_item(
    train: Stream, test: Stream, roster: Roster, *, k: int, step: Step, learns: bool = False, lists: int = 0
) -> Report:
    """Learns from the sessions of one file, then follows those of another.

    At each position of a test session from the second on, given the session so far, all training items
    are ranked, those of the session included; an item that was not trained on is a miss.

    Args:
        learns: whether methods go on learning from each test event after it was predicted.

    Raises:
        InputError: when no test session has two events.
    """
    roster.refuse_batch("next-item")
    tested = earlier(test.sessions) > 0
    _require_tests(tested, "a session of two events or more in --test")
    visitors = len(roster.ids.sessions)
    _warm_up(train, roster)
    trials = [Trial(method) for method in roster.methods(visitors)]
    replay(train, train.sessions, trials, histories=Histories(train.sessions, visitors), step=step)
    replay(
        test,
        test.sessions,
        trials,
        histories=Histories(test.sessions, visitors),
        step=step,
        tests=tested,
        shows=spread(tested, lists),
        k=k,
        learns=learns,
    )
    counts = {
        "events": len(train) + len(test),
        "positions": int(tested.sum()),
        "sessions": len(np.unique(test.sessions[tested])),
        "unseen": int((tested & ~np.isin(test.items, train.items)).sum()),
    }
    learned = np.concatenate([train.items, test.items]) if learns else train.items
    methods = _figures(trials, tested, test.sessions, learned, roster, k)
    return Report(methods, counts, curves=_curves(trials, tested, k))


def _forewarned(stream: Stream, roster: Roster, tests: Mask, step: Step) -> list[Trial]:
    """Hybrid and popularity over the stream once more, the catalogue known from the start.

    An item that nobody has touched is ranked among those that nobody has touched.
    Not the first pass's model: its items are to be those seen so far, and these are not.
    """
    hybrid = roster.hybrid(known_at=float(stream.times[0]))
    items = len(roster.ids.items)
    described = np.array(list(roster.catalogue), np.int32)
    trials = [Trial(AmongNewcomers(method, described, items)) for method in (hybrid, Popularity(items))]
    histories = Histories(stream.users, len(roster.ids.users))
    replay(stream, stream.users, trials, histories=histories, step=step, tests=tests, excludes=True)
    return trials


def _chance(stream: Stream, roster: Roster, tests: Mask, k: int) -> Figures:
    """What a random order of the items that nobody has touched would hit."""
    described = np.isin(stream.items, list(roster.catalogue))
    first = (earlier(stream.items) == 0) & described
    pools = len(roster.catalogue) - np.cumsum(first) + first
    return {f"hr@{k}": float(np.minimum(k / pools[tests], 1).mean())} if tests.any() else {}


def _warm_up(stream: Stream, roster: Roster) -> None:
    """Throwaway models take the first events, so that compiling is not in the times."""
    first = stream.where(np.arange(len(stream)) < WARM_UP)
    visitors = len(roster.ids.users)
    trials = [Trial(method) for method in roster.methods(visitors)]
    histories = Histories(first.users, visitors)
    tests = np.ones(len(first), np.bool_)
    replay(first, first.users, trials, histories=histories, step=lambda _: None, tests=tests, excludes=True)


def _figures(
    trials: list[Trial], tested: Mask, groups: Ints, learned: Ints, roster: Roster, k: int
) -> dict[str, Figures]:
    """Every method's figures over the tests; `groups` [n] are resampled whole, `learned` are the items of events."""
    counts = np.bincount(learned, minlength=len(roster.ids.items)).astype(np.int32)
    return {
        trial.method.name: accuracy(of_ranks(trial.ranks[tested], k), groups[tested], roster.seed)
        | beyond_accuracy(trial.lists, counts, roster.catalogue)
        | {"us_per_event": trial.ns / trial.events / 1e3}
        for trial in trials
    }


def _part(trials: list[Trial], mask: Mask, stream: Stream, k: int, seed: int) -> Report:
    """A part of the tests; no figures where it is empty."""
    users = stream.users[mask]
    figures = {
        trial.method.name: accuracy(of_ranks(trial.ranks[mask], k), users, seed)
        for trial in trials
        if len(users)
    }
    return Report(figures, {"tests": len(users)})


def _curves(trials: list[Trial], tested: Mask, k: int) -> dict[str, Doubles]:
    return {trial.method.name: hit_rate(hits_of_ranks(trial.ranks[tested], k)) for trial in trials}


def _require_tests(tested: Mask, needed: str) -> None:
    if not tested.any():
        raise InputError(f"nothing to test: the protocol needs {needed}")
