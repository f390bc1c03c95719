"""Offline evaluation: events from files, protocols, metrics, and baselines beside the hybrid.

    ids = Ids()
    (events,) = read_events(Path("events.jsonl"), ids=ids)
    roster = Roster(ids, baselines=("item-knn",))
    report = prequential(events.positives(4), roster, k=10, step=print)
    report.figures["hr@10"], report.figures["popularity"]["hr@10"]

`streaming` and `holdout` hold the protocols, `metrics` each metric, `methods` what a baseline has to be.
"""

from recpipe_model.evaluation.events import BadLineError, Ids, InputError, Stream, read_events, read_items
from recpipe_model.evaluation.holdout import by_time, by_user, leave_one_out, rank_all
from recpipe_model.evaluation.report import Figures, Report
from recpipe_model.evaluation.roster import Roster
from recpipe_model.evaluation.streaming import next_item, prequential

__all__ = [
    "BadLineError",
    "Figures",
    "Ids",
    "InputError",
    "Report",
    "Roster",
    "Stream",
    "by_time",
    "by_user",
    "leave_one_out",
    "next_item",
    "prequential",
    "rank_all",
    "read_events",
    "read_items",
]
