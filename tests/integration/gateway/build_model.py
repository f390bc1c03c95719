"""Publishes a model of users who like either the items a0 to a9 or b0 to b9; run in a process of its own."""

import random
import sys
from pathlib import Path

from recpipe_model.export import export
from recpipe_model.hybrid import HybridModel

USERS, ITEMS, TOUCHED = 200, 10, 6


def main(models: Path) -> None:
    model, choose = HybridModel(), random.Random(0)
    for user in range(USERS):
        for place, item in enumerate(choose.sample(range(ITEMS), TOUCHED)):
            model.learn(f"user-{user}", f"{'ab'[user % 2]}{item}", 100.0 * user + 10.0 * place)
    export(model, models, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
