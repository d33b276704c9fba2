"""What may be done to a network, in the cache: `options/<key>/options.json`. Without torch."""

from __future__ import annotations

from pathlib import Path

from harness import cache
from harness.records.planned import Listing

_FILE = "options.json"


def read(key: str) -> Listing | None:
    """Return the listing of `key`, or None when it is not cached whole."""
    return cache.read("options", key, _parse)


def write(key: str, listing: Listing) -> None:
    """Keep a listing. Raises StoreError."""
    from pydantic import TypeAdapter

    with cache.storing(), cache.put("options", key) as folder:
        (folder / _FILE).write_bytes(TypeAdapter(Listing).dump_json(listing, indent=1))


def _parse(folder: Path) -> Listing:
    from pydantic import TypeAdapter

    return TypeAdapter(Listing).validate_json((folder / _FILE).read_bytes())
