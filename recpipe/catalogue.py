"""An item's metadata, as people send it and as the store keeps it (JSON)."""

from typing import Annotated

import msgspec

from recpipe import records

Text = Annotated[str, msgspec.Meta(max_length=512)]
Category = Annotated[str, msgspec.Meta(max_length=128)]


class Item(msgspec.Struct, omit_defaults=True):
    """What is known of an item beside what people do with it."""

    item_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    title: Text = ""
    categories: Annotated[list[Category], msgspec.Meta(max_length=32)] = []
    attributes: Annotated[dict[str, float | Text], msgspec.Meta(max_length=64)] = {}

    def record(self, timestamp: int, *, deleted: bool = False) -> records.Item:
        """The change as it goes on the bus; `timestamp` in milliseconds."""
        return records.Item(
            item_id=self.item_id,
            title=self.title,
            categories=self.categories,
            attributes=self.attributes,
            timestamp=timestamp,
            deleted=deleted,
        )


ITEM_DECODER = msgspec.json.Decoder(Item)
