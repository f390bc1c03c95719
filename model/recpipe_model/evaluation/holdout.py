"""The protocols that hold events out: leave-one-out, time-split, and 75/25 within each user."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recpipe_model.evaluation import metrics
from recpipe_model.evaluation.events import InputError, Stream
from recpipe_model.evaluation.histories import Histories
from recpipe_model.evaluation.replay import Step, Trial, earlier, repeats, replay
from recpipe_model.evaluation.report import Report, accuracy, beyond_accuracy, of_hits, of_ranks
from recpipe_model.evaluation.roster import Roster
from recpipe_model.hybrid.arrays import Doubles, Ints, Mask

NEGATIVES = 100


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A stream in two.

    Attributes:
        train: [n] events to learn from.
        test: [n] events held out.
        asked_at: [users] when each user is asked for, seconds since the epoch.
    """

    train: Mask
    test: Mask
    asked_at: Doubles


def last_of_each_user(stream: Stream) -> Split:
    """Holds out the item that each user of two or more came to last; its later events are in neither part."""
    fresh = ~repeats(stream.users, stream.items)
    count = int(stream.users.max()) + 1
    last = np.zeros(count, np.int64)
    places = np.flatnonzero(fresh)
    np.maximum.at(last, stream.users[places], places)
    several = np.bincount(stream.users[fresh], minlength=count) > 1
    test = np.zeros(len(stream), np.bool_)
    test[last[several]] = True
    held = several[stream.users] & (stream.items == stream.items[last[stream.users]])
    return Split(~held, test, stream.times[last])


def by_time(stream: Stream, quantile: float) -> Split:
    """Holds out what comes after the quantile of the events' times; users are asked for at their first such event."""
    train = stream.times <= np.quantile(stream.times, quantile)
    asked_at = np.full(int(stream.users.max()) + 1, np.inf)
    np.minimum.at(asked_at, stream.users[~train], stream.times[~train])
    return Split(train, ~train, asked_at)


def by_user(stream: Stream, share: float, seed: int) -> Split:
    """Holds out a random part of each user's events; users are asked for at their last training event."""
    order = np.random.default_rng(seed).permutation(len(stream))
    place = np.empty(len(stream), np.int32)
    place[order] = earlier(stream.users[order])
    sizes = np.bincount(stream.users)[stream.users]
    train = place < np.maximum(np.round(share * sizes), 1)
    asked_at = np.zeros(int(stream.users.max()) + 1)
    np.maximum.at(asked_at, stream.users[train], stream.times[train])
    return Split(train, ~train, asked_at)


def leave_one_out(stream: Stream, roster: Roster, *, k: int, step: Step) -> Report:
    """Ranks each user's last item among itself and 100 items drawn from those the user never touched."""
    split = last_of_each_user(stream)
    trained = _train(stream, split, roster, step)
    known = np.unique(stream.items[split.train])
    random = np.random.default_rng(roster.seed)
    users, items = stream.users[split.test], stream.items[split.test]
    ranks = np.zeros((len(trained.trials), len(users)), np.int32)
    for test, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        visit = trained.histories.visit(user, float(split.asked_at[user]), excludes=True)
        others = np.setdiff1d(known, np.append(visit.items, item), assume_unique=True)
        drawn = random.choice(others, min(NEGATIVES, len(others)), replace=False)
        for row, trial in enumerate(trained.trials):
            ranks[row, test] = trial.method.rank_among(visit, item, drawn)
    figures = {
        trial.method.name: accuracy(of_ranks(of_method, k), users, roster.seed)
        for trial, of_method in zip(trained.trials, ranks, strict=True)
    }
    return Report(figures, trained.counts | {"users": len(users), "negatives": NEGATIVES})


def rank_all(stream: Stream, split: Split, roster: Roster, *, k: int, step: Step) -> Report:
    """Ranks all training items less the user's own, once for each user with events in both parts.

    Relevant are the user's test items that are not in its history; those that nobody trained on count
    as relevant and cannot be found.
    """
    trained = _train(stream, split, roster, step)
    relevant: dict[int, Ints] = {}
    for user, items in _by_user(stream.where(split.test)):
        history = trained.histories.visit(user, 0.0, excludes=True).items
        wanted = np.setdiff1d(items, history)
        if len(history) and len(wanted):
            relevant[user] = wanted
    if not relevant:
        raise InputError(
            "nothing to test: no user has events in both parts, with an item in the later that is new"
        )
    users = np.array(list(relevant), np.int32)
    sizes = np.array([len(wanted) for wanted in relevant.values()], np.int32)
    counts = np.bincount(stream.items[split.train], minlength=len(roster.ids.items)).astype(np.int32)
    figures = {}
    for trial in trained.trials:
        visits = (
            trained.histories.visit(user, float(split.asked_at[user]), excludes=True) for user in relevant
        )
        lists = [trial.method.top(visit, k) for visit in visits]
        hits = metrics.hits_of_lists(lists, list(relevant.values()), k)
        values = of_hits(hits, sizes, k) | {f"recall@{k}": metrics.recall(hits, sizes)}
        figures[trial.method.name] = accuracy(values, users, roster.seed) | beyond_accuracy(
            lists, counts, roster.catalogue
        )
    return Report(figures, trained.counts | {"users": len(users), "relevant": int(sizes.sum())})


def _by_user(stream: Stream) -> Iterator[tuple[int, Ints]]:
    """Each user's items."""
    order = np.argsort(stream.users, kind="stable")
    users, starts = np.unique(stream.users[order], return_index=True)
    yield from zip(users.tolist(), np.split(stream.items[order], starts[1:]), strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    trials: list[Trial]
    histories: Histories
    counts: dict[str, int]


def _train(stream: Stream, split: Split, roster: Roster, step: Step) -> _Trained:
    """Every method after the training events, in their order."""
    if not split.test.any() or not split.train.any():
        raise InputError(
            "nothing to test: the split leaves one part empty; give more events, of more than one time"
        )
    train = stream.where(split.train)
    visitors = len(roster.ids.users)
    histories = Histories(train.users, visitors)
    trials = [Trial(method) for method in roster.methods(visitors)]
    replay(train, train.users, trials, histories=histories, step=step, excludes=True)
    return _Trained(
        trials, histories, {"events": len(stream), "train": len(train), "held_out": int(split.test.sum())}
    )
