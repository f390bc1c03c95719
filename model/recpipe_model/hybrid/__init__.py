"""The online hybrid recommender: in-process, one thread, numpy and numba.

    model = HybridModel()
    model.put_item("film-1", categories=["Comedy"], attributes={"year": 1995}, title="Toy Story", time=0)

    query = model.query_of("ann", now=60.0)                   # before the event
    tested = model.test(query, "film-1", model.seen("ann"))   # prequential: test, then learn
    model.learn("ann", "film-1", time=60.0, weight=5.0, context=("device=mobile",))

    best = model.recommend(model.query_of("ann", now=90.0), k=10, exclude=model.seen("ann"))
    best.items, best.scores, best.shares, best.components
    lasting = model.recommend(model.query_of("ann", now=90.0, horizon=Horizon.TASTE), k=10)

    for item_id in model.touched():                           # what to write to the store
        store(item_id, model.row(item_id))
    store_live(model.live(since=size_of_the_served_vocabulary))

    model.save(path); model = HybridModel.load(path)          # goes on bit for bit

Items are named by strings at the edge and by int32 indices inside (`model.vocabulary`, append-only,
kept in the checkpoint); `Query` and `exclude` hold indices, `model.query(...)` and
`model.indices(...)` make them from names. `recommend` computes from the rows as published in
float16, and so equals the exported graph; `test` and `learn` use the model's own float32.
`export_tables` gives what the graph needs. The model is not safe for use by several threads at once.
"""

from recpipe_model.hybrid.model import HybridModel
from recpipe_model.hybrid.query import Query, Recommendation, Tested
from recpipe_model.hybrid.settings import Settings

__all__ = ["HybridModel", "Query", "Recommendation", "Settings", "Tested"]
