"""The 1,797 handwritten digits that scikit-learn carries, as 3x32x32 images: 1,257 train, 270 validation, 270 test.

harness run --task digits                 (the default task of resnet18)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.tasks._digits import Data, handwritten
else:
    from _digits import Data, handwritten

CLASSES = 10
SHAPE = (3, 32, 32)


def load(data_dir: str | None = None) -> Data:
    """Return the task; `data_dir` is not needed, the images come with scikit-learn. Always the same split."""
    return handwritten((1257, 270, 270), SHAPE)
