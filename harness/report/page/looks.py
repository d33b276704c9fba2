"""How series look on the page: colours for light and dark, symbols as paths, dashes; those of the figures of `harness plot`."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report import stacks, style
from harness.report.page.marks import CONTROLS

_LEAST, _MOST = 0.62, 0.88  # lightness on a dark ground
_CIRCLE = "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z"
_PATHS: Mapping[str, str] = {  # matplotlib's markers, as Vega has them: within -1 and 1
    "o": _CIRCLE,
    "s": "M-.9,-.9H.9V.9H-.9Z",
    "^": "M0,-1.1L1,.8H-1Z",
    "v": "M0,1.1L1,-.8H-1Z",
    "<": "M-1.1,0L.8,-1V1Z",
    ">": "M1.1,0L-.8,-1V1Z",
    "D": "M0,-1.25L1.25,0L0,1.25L-1.25,0Z",
    "d": "M0,-1.25L.8,0L0,1.25L-.8,0Z",
    "P": "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "X": "M-1,-.5L-.5,-1L0,-.5L.5,-1L1,-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0Z",
    "p": "M0,-1.1L1.05,-.34L.65,.9H-.65L-1.05,-.34Z",
    "8": "M.45,-1.1L1.1,-.45V.45L.45,1.1H-.45L-1.1,.45V-.45L-.45,-1.1Z",
    "*": "M0,-1.3L.31,-.43H1.24L.49,.13L.76,1.05L0,.5L-.76,1.05L-.49,.13L-1.24,-.43H-.31Z",
}
_DASHES: Mapping[str, tuple[int, ...]] = {"-": (1, 0), "--": (6, 3), "-.": (7, 3, 1, 3), ":": (2, 3), "": (0, 9)}


@dataclass(frozen=True)
class Look:
    """How a series looks: its colours on a light and on a dark ground, its symbol as an SVG path, its line's dashes."""

    light: str
    dark: str
    path: str
    dash: tuple[int, ...]


def of_series(names: Sequence[str]) -> dict[str, Look]:
    """A look for each series, by name: that of its method in all figures."""
    known = {
        **style.of_methods([name for name in names if name != CONTROLS]),  # which takes nobody's colour
        CONTROLS: (style.BLACK, "D", ":"),
    }
    return {name: _look(*known[name]) for name in names}


def _look(colour: str, marker: str, line: style.LineStyle) -> Look:
    dash = _DASHES[line] if isinstance(line, str) else tuple(line[1])
    return Look(colour, lighter(colour), _PATHS.get(marker, _CIRCLE), dash)


def of_kinds() -> dict[str, tuple[str, str]]:
    """Colours of kinds of operators on a light and on a dark ground; what passes between operators is nobody's."""
    fills = {kind: fill for kind, (fill, _) in stacks.LOOKS.items()} | {stacks.BETWEEN: "#E4E4E4"}
    return {kind: (fill, _darker(fill) if kind == stacks.BETWEEN else fill) for kind, fill in fills.items()}


def lighter(colour: str) -> str:
    """Return a colour of the same hue that is read on a dark ground; black becomes nearly white."""
    hue, light, full = colorsys.rgb_to_hls(*(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)))
    raised = _MOST if light < 0.05 else max(light, _LEAST)
    return _hex(colorsys.hls_to_rgb(hue, raised, full))


def _darker(colour: str) -> str:
    return _hex([(1 - int(colour[at : at + 2], 16) / 255) + 0.15 for at in (1, 3, 5)])


def _hex(parts: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * min(part, 1.0)):02X}" for part in parts)
