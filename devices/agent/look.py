"""What this device is and how it stands."""

import os
import shutil
import time
from pathlib import Path
from typing import Any, Dict

from devices.agent import facts, lock


def look(workdir: str) -> Dict[str, Any]:
    """Say it; nothing is made."""
    root = Path(workdir)
    usage = shutil.disk_usage(str(root))
    return {
        "facts": facts.read(),
        "workdir": str(root.resolve()),
        "free_bytes": usage.free,
        "total_bytes": usage.total,
        "writable": True if os.access(str(root), os.W_OK | os.X_OK) else "it cannot be written",
        "holder": lock.holder(root / "lock"),
        "clock_ns": time.time_ns(),
    }
