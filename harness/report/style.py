"""How figures look: sizes, fonts and colours that survive a projector, a printer in grey and colour-blind eyes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.patheffects import withStroke

LineStyle = Literal["-", "--", "-.", ":", ""] | tuple[int, tuple[int, ...]]  # "": none
Look = tuple[str, str, LineStyle]  # colour, marker, line

# Okabe and Ito's palette (2008): told apart with every kind of colour vision. Yellow is too light for lines.
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, BLACK = (
    *("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000"),
)
GREY = "#6E6E6E"
WARNING, BAND = VERMILION, "#DEDEDE"
BOXED = "boxed: fewer layers or MACs, not faster"
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps text readable where a line passes behind it

# Ladders differ in colour, marker and line at once: one of the three is left in grey or with poor eyes.
LADDERS: Sequence[Look] = (
    (BLUE, "o", "-"),
    (GREEN, "s", "--"),
    (PURPLE, "^", "-."),
    (ORANGE, "v", ":"),
    (SKY, "P", (0, (5, 1, 1, 1))),
)
# So do a paper's devices; lines are thin, since nothing is known of their intervals.
DEVICES: Sequence[Look] = (
    *((BLACK, "o", "-"), (VERMILION, "s", "--"), (BLUE, "^", "-."), (GREEN, "v", ":")),
    *((PURPLE, "D", (0, (5, 1, 1, 1))), (ORANGE, "P", (0, (3, 1)))),
)

# Methods keep their look in every figure. Nine colours of Tol's muted scheme (2021) and Okabe and Ito's, then markers.
METHODS: Mapping[str, Look] = {
    "easier": (BLUE, "o", "-"),
    "easier-position": (SKY, "p", "--"),
    "tlc": (VERMILION, "s", "-"),
    "egp": (GREEN, "^", "--"),
    "nepenthe": (ORANGE, "v", "-."),
    "lacoot": (PURPLE, "P", "-"),
    "layer-folding": ("#882255", "X", "--"),
    "block-influence": ("#332288", "<", "-."),
    "smallest-weights": ("#117733", ">", ":"),
    "smallest-gradients": ("#999933", "*", ":"),
    "random": (GREY, "d", ":"),
    "order": ("#661100", "8", "-."),
    "planned": ("#44AA99", "D", ""),
    "shallow": (BLACK, "D", ":"),
    "narrow": (BLACK, "s", ":"),
    "continue": (BLACK, "o", ":"),
}
OTHERS: Sequence[Look] = (
    *(("#AA4499", "o", "--"), ("#DDAA33", "^", "-.")),
    *(("#4477AA", "v", ":"), ("#CC6677", "s", (0, (5, 1, 1, 1)))),
)
_MORE = ("D", "X", "P", "<", ">", "d", "8", "p", "*")  # markers of unknown names from the fifth on

RC: Any = {  # keys and values are matplotlib's
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.5,
    "errorbar.capsize": 2.5,
    "savefig.dpi": 200,
    "svg.hashsalt": "edge-harness",  # the same points give the same file
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


def name_beside(axes: Any, spot: tuple[float, float], name: str, towards: int, size: float | None = None) -> None:
    """Write a name beside a mark, to its right where `towards` is 1, to its left where it is -1."""
    axes.annotate(
        plain(name),
        spot,
        (8 * towards, 0),
        textcoords="offset points",
        ha="left" if towards > 0 else "right",
        va="center",
        fontsize=size,
        path_effects=HALO,
        zorder=5,
    )


def plain(text: str) -> str:
    """Text that is drawn as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def of_methods(names: Sequence[str]) -> dict[str, Look]:
    """A look for each ladder, by name: that of its method, or one that is left for a name that nobody knows.

    A ladder of a recipe (`narrow-378f35`) has its method's look where it is the only one of that method. After the last of
    OTHERS their colours come again with other markers: no two of 40 names look alike.
    """
    methods = [_method(name) for name in names]
    alone = {name for name, method in zip(names, methods, strict=True) if methods.count(method) == 1}
    known = {name for name in names if name in METHODS or (name in alone and _method(name) in METHODS)}
    unknown = [name for name in names if name not in known]
    return {name: METHODS[_method(name)] if name in known else _other(unknown.index(name), name) for name in names}


def _method(name: str) -> str:
    """The method of a ladder, whose name may end in the digest of a recipe."""
    return name if name in METHODS else name.rpartition("-")[0]


def is_unordered(name: str) -> bool:
    """Whether a ladder's rungs stand each for itself: then no line joins them, and each is numbered."""
    return _method(name) in METHODS and not METHODS[_method(name)][2]


def _other(n: int, name: str) -> Look:
    colour, marker, line = OTHERS[n % len(OTHERS)]
    round_ = n // len(OTHERS)
    return colour, marker if round_ == 0 else _MORE[(round_ - 1) % len(_MORE)], "" if is_unordered(name) else line


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights up as little as is needed for each to be `gap` above the one below it; order and length are kept."""
    placed, least = list(heights), -float("inf")
    for index in sorted(range(len(placed)), key=placed.__getitem__):
        placed[index] = max(placed[index], least)
        least = placed[index] + gap
    return placed


def beside(spots: Sequence[tuple[float, float]], away: float = 13.0) -> list[tuple[float, float]]:
    """Where to write next to each of some spots, in points from it: the direction with most room among spots and words."""
    ways = [(math.cos(turn), math.sin(turn)) for turn in (math.pi * n / 4 for n in (4, 0, 3, 5, 1, 7, 2, 6))]
    taken, found = list(spots), []
    for x, y in spots:
        tried = [(x + away * right, y + away * up) for right, up in ways]
        best = max(tried, key=lambda spot: min(min(math.dist(spot, each) for each in taken), away))
        taken.append(best)
        found.append((best[0] - x, best[1] - y))
    return found
