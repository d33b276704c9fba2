"""Two hundred handwritten digits as 3x16x16 images (120 train, 40 validation, 40 test): a whole ladder in seconds.

harness run --model tiny --task tiny      (for tests and first tries; its accuracies mean nothing)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.tasks._digits import Data, handwritten
else:
    from _digits import Data, handwritten

CLASSES = 10
SHAPE = (3, 16, 16)


def load(data_dir: str | None = None) -> Data:
    """Return the task; `data_dir` is not needed, the images come with scikit-learn. Always the same split."""
    return handwritten((120, 40, 40), SHAPE)
