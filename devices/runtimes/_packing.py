"""Shared by runtimes whose artifact is several files: an uncompressed ZIP file, of equal bytes for equal contents."""

import io
import zipfile
from typing import Mapping

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can say


def packed(contents: Mapping[str, bytes]) -> bytes:
    """Return the archive of files by name, in this order."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as written:
        for name, content in contents.items():
            written.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return archive.getvalue()
