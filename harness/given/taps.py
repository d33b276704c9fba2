"""Which taps of a kernel meet something: pairs of position and tap that do not lie in padding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

Frame: TypeAlias = tuple[tuple[int, int], ...]  # zeros before and after, per dimension


@dataclass(frozen=True)
class Window:
    """How a kernel moves, per dimension: its taps, from how many positions, over how much, and with which steps.

    Of a transposed convolution the positions are those of the input and what it moves over is the output.
    """

    kernel: Sequence[int]
    positions: Sequence[int]
    over: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    begins: Sequence[int]

    @classmethod
    def of(
        cls, said: Mapping[str, Any], kernel: Sequence[int], positions: Sequence[int], over: Sequence[int],
        transposed: bool,
    ) -> Self:  # fmt: skip
        """The window that the attributes of a Conv or ConvTranspose describe."""
        ones = [1] * len(kernel)
        strides, dilations = said.get("strides", ones), said.get("dilations", ones)
        pads = said.get("pads", [0] * 2 * len(kernel))
        auto = said.get("auto_pad", b"NOTSET").decode()
        begins = list(pads[: len(kernel)])
        if auto.startswith("SAME") or (transposed and "output_shape" in said):
            short = [
                max(0, (n - 1) * s + d * (k - 1) + 1 - size)
                for n, s, d, k, size in zip(positions, strides, dilations, kernel, over, strict=True)
            ]
            begins = [(total + (auto == "SAME_LOWER")) // 2 for total in short]
        return cls(kernel, positions, over, strides, dilations, begins)


def inside(window: Window, frame: Frame) -> int:
    """Return how many pairs of position and tap lie inside, the zeros of `frame` (of a padding just before) left out."""
    total = 1
    for place, (count, size) in enumerate(zip(window.positions, window.over, strict=True)):
        before, after = frame[place] if frame else (0, 0)
        step, low, high = window.strides[place], before, size - after
        starts = (window.dilations[place] * tap - window.begins[place] for tap in range(window.kernel[place]))
        total *= sum(_between(start, step, count, low, high) for start in starts)
    return total


def _between(start: int, step: int, count: int, low: int, high: int) -> int:
    """How many of start, start + step, ... (`count` of them) lie in low <= x < high."""
    first = max(0, math.ceil((low - start) / step))
    last = min(count, math.ceil((high - start) / step))
    return max(0, last - first)
