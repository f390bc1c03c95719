"""Who takes part in an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from recpipe.catalogue import Item
from recpipe.horizon import Horizon
from recpipe_model.evaluation.baselines import Isgd, ItemKnn, Popularity
from recpipe_model.evaluation.events import Ids, InputError
from recpipe_model.evaluation.factors import Factors
from recpipe_model.evaluation.hybrid import Hybrid
from recpipe_model.evaluation.methods import Method
from recpipe_model.hybrid import Settings

STREAMING = ("popularity", "isgd", "item-knn")
BATCH = ("als", "bpr")


@dataclass(frozen=True, slots=True)
class Roster:
    """The hybrid, popularity, and the baselines asked for.

    Attributes:
        ids: of the files read; read them all before making methods.
        catalogue: metadata by item index.
        baselines: names from STREAMING and BATCH.
        settings, seed: of the methods.
        horizon: what the hybrid is asked.
    """

    ids: Ids
    catalogue: Mapping[int, Item] = field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    horizon: Horizon = Horizon.NEXT

    def __post_init__(self) -> None:
        for name in self.baselines:
            if name not in (*STREAMING, *BATCH):
                raise InputError(f"baselines: {name!r} is none; there is {', '.join((*STREAMING, *BATCH))}")

    def refuse_batch(self, protocol: str) -> None:
        """Raises InputError where a baseline cannot follow a stream."""
        for name in self.baselines:
            if name in BATCH:
                raise InputError(
                    f"baselines: {name} learns from a whole training set and takes no part in {protocol}; "
                    f"leave it out, or use leave-one-out, time-split or 75/25"
                )

    def hybrid(self, known_at: float | None = None) -> Hybrid:
        """A new model; `known_at` as Hybrid's."""
        return Hybrid(list(self.ids.items), self.catalogue, self.settings, self.seed, self.horizon, known_at)

    def methods(self, visitors: int) -> list[Method]:
        """New methods, the hybrid first and popularity second."""
        items = len(self.ids.items)
        others: list[Method] = []
        for name in dict.fromkeys(self.baselines):
            if name == "isgd":
                others.append(Isgd(items, visitors, self.seed))
            elif name == "item-knn":
                others.append(ItemKnn(items))
            elif name in BATCH:
                others.append(Factors(name, items, visitors, self.seed))
        return [self.hybrid(), Popularity(items), *others]
