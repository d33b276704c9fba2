"""What a climb keeps in the cache: its own rungs until the ladder is whole, whatever the cap; and what had to go, told."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from harness import cache
from harness.compress import rungs
from harness.errors import StoreError

Tell = Callable[[str], None]


class Shelf:
    """The entries of one climb, its control's among them, and room for them."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._own: dict[Path, None] = {}

    def own(self, *places: Path) -> tuple[Path, ...]:
        """Take these entries for the climb's own, and return all that are."""
        self._own.update(dict.fromkeys(places))
        return tuple(self._own)

    def gone(self, entries: Sequence[cache.Entry]) -> None:
        """Say what the cache has dropped for this climb."""
        self._tell(cache.said_of(entries))

    def settle(self, behind: Sequence[str], begun: str | None) -> None:
        """Drop weights that are `behind` and `begun`, if room is short. Raises StoreError if the cap is passed all the same.

        Everything that is not the climb's own has gone by then.
        """
        freed = rungs.drop_weights(behind, begun)
        if freed:
            self._tell(
                f"the cache dropped weights of finished rungs ({cache.megabytes(freed)}); their programs are kept"
            )
        mine = sum(entry.size_bytes for entry in cache.entries() if entry.path in self._own)
        if mine > cache.cap_bytes():
            raise StoreError(
                f"the rungs of this ladder take {cache.megabytes(mine)} by now, the cache may hold "
                f"{cache.megabytes(cache.cap_bytes())}",
                "Give it more room (HARNESS_CACHE_GB) or make fewer rungs (--rungs); finished rungs go on from here.",
            )


def require_room(network: nn.Module, rungs_made: int) -> None:
    """Check, before anything is trained, that so many rungs of the full network's weights fit. Raises StoreError."""
    weights = sum(value.nbytes for value in network.state_dict().values())
    needed, cap = weights * rungs_made, cache.cap_bytes()
    if needed > cap:
        raise StoreError(
            f"{rungs_made} rungs of {cache.megabytes(weights)} do not fit the cache, which may hold {cache.megabytes(cap)}",
            f"Set HARNESS_CACHE_GB={math.ceil(2 * needed / 2**30)} or more, or make fewer rungs: --rungs, --step.",
        )


def discard(folder: Path) -> None:
    """Delete what a finished training has left."""
    shutil.rmtree(folder, ignore_errors=True)
