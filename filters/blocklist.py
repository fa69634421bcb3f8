"""The operator's list of known-bad pictures: a match halts the shard, and nothing is written.

This is no `Filter`: there is no verdict to record and no record to go on with. The operator's
legal process begins where the run stops, and it needs the record's id alone. Bytes and pixels of a
match are not stored, not sent on and not put into a message, and neither is the entry matched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.contract import Item
from filters.hash_lists import KnownPictures
from filters.perceptual_hash import MIN_QUALITY, WORKING_SIDE, hash_pixels


class BlocklistHit(Exception):  # noqa: N818 - a finding, not a mistake
    """A record matches the blocklist. Carries the record's opaque id and nothing else."""

    def __init__(self, record_id: str):
        super().__init__(
            f"record {record_id} matches the operator's blocklist: its shard is halted. "
            "Follow your legal process before you start it again"
        )
        self.record_id = record_id

    def __reduce__(self) -> tuple[type[BlocklistHit], tuple[str]]:
        return BlocklistHit, (self.record_id,)


@dataclass(frozen=True)
class Blocklist:
    """Meta's rule for PDQ lists: a match at 31 bits or fewer (the list's threshold), quality ≥ 50.

    Lists are made with and without scaling to 512 pixels first, so a picture is looked up both
    ways.
    """

    known: KnownPictures

    def check_file(self, item: Item) -> None:
        """Before decoding: raises BlocklistHit where the encoded bytes are on the list."""
        if item.encoded is not None and self.known.by_file(item.encoded) is not None:
            raise BlocklistHit(item.id)

    def check_pixels(self, item: Item) -> None:
        """After decoding, before anything else looks: raises BlocklistHit for a near match."""
        if item.pixels is None or not len(self.known.pdq):
            return
        hashes = [hash_pixels(item.pixels, side) for side in (None, WORKING_SIDE)]
        able = [one.bits for one in hashes if one.quality >= MIN_QUALITY]
        if able and any(name is not None for name, _ in self.known.by_hash(np.stack(able))):
            raise BlocklistHit(item.id)
