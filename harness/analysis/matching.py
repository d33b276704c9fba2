"""Which layer of a variant an executed operator belongs to, as far as names and MACs tell.

A name counts where it begins with the layer's name, or has the place that torch.export gives (`node_conv2d_3`,
`conv2d_3_nchwc`: the fourth convolution), or holds the layer's path (`layer1.0.conv1`, also `layer1/.../Conv2d_conv1`, as
LiteRT writes it); a path that is a number alone counts among `/` only, and a layer that several operators claim is none's.
Whatever is left is matched in order among those of equal MACs, where there are as many operators as layers of so many.
Anything else is unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from harness import wire
from harness.records import Layer, Matched

TOLERANCE = 0.01  # relative; runtimes count a bias as a multiplication, or do not

_HEAVY = re.compile(r"conv|gemm|matmul|linear|fully|dense|inner|addmm|\bmm\b|bmm", re.IGNORECASE)
# No network has a million layers, and `int` refuses numbers of thousands of digits.
_PLACE = re.compile(
    r"(?:node_)?(conv[123]d|convolution|linear|addmm)(?:_(\d{1,6})(?=_|$)|(?=_(?!\d)|$))", re.IGNORECASE
)
_WORD = re.compile(r"[0-9A-Za-z]+")
_NODE = "node_"  # before names of torch.export; some of ONNX Runtime's optimisations drop it

Place = tuple[str, Matched]  # a layer, and by what it was found
Places = Mapping[int, Place]  # by the operator's place in the graph


def match(operators: Sequence[wire.Operator], layers: Sequence[Layer], batch: int) -> Places:
    """Return the layer of each operator that has one, by its place in the graph. `layers` are in the order of running."""
    heavy = [place for place, operator in enumerate(operators) if is_heavy(operator)]
    names = _Names(layers, batch)
    told = {place: layer for place in heavy if (layer := names.layer(operators[place])) is not None}
    claims = Counter(layer.name for layer in told.values())
    found: dict[int, Place] = {place: (layer.name, "name") for place, layer in told.items() if claims[layer.name] == 1}
    taken = {name for name, _ in found.values()}
    rest = [place for place in heavy if place not in found]
    found.update(_by_macs(operators, rest, [layer for layer in layers if layer.name not in taken], batch))
    return found


def is_heavy(operator: wire.Operator) -> bool:
    """Whether an operator multiplies, or is called like one that does where nobody could count."""
    return operator.macs > 0 if operator.macs is not None else bool(_HEAVY.search(operator.kind))


# --- by name -------------------------------------------------------------------------------------------------------


class _Names:
    """The layers of a variant by all that names of operators may tell of them."""

    def __init__(self, layers: Sequence[Layer], batch: int) -> None:
        self.batch = batch
        self.kinds: dict[str, list[Layer]] = defaultdict(list)
        self.whole: dict[str, list[Layer]] = defaultdict(list)
        self.paths: dict[str, list[tuple[list[str], Layer]]] = defaultdict(list)  # by the word that fewest paths have
        spread = Counter(word for layer in layers for word in set(_words(layer.name)))
        for layer in layers:
            self.kinds[layer.kind].append(layer)
            if words := _words(layer.name):
                self.whole[layer.name.removeprefix(_NODE)].append(layer)
                self.paths[min(words, key=lambda word: spread[word])].append((words, layer))
        self.longest = max(map(len, self.whole), default=0)

    def layer(self, operator: wire.Operator) -> Layer | None:
        """The one layer that the name tells; none where it tells several, or where the MACs contradict it."""
        for told in (self._beginning, self._counted, self._held):
            found = told(operator.name)
            if len(found) == 1 and _agree(operator.macs, found[0].macs * self.batch):
                return found[0]
        return None

    def _beginning(self, name: str) -> list[Layer]:
        """The layers whose name the operator's is, or begins with: but `conv2d_2` is another node than `conv2d`."""
        name = name.removeprefix(_NODE)
        for end in sorted((word.end() for word in _WORD.finditer(name, 0, self.longest + 1)), reverse=True):
            found = self.whole.get(name[:end])
            if found and not name[end + 1 : end + 2].isdigit():
                return found
        return []

    def _counted(self, name: str) -> list[Layer]:
        """The layer that a name of torch.export counts out: `node_conv2d` is the first convolution, `node_conv2d_1` the next."""
        place = _PLACE.match(name)
        if place is None:
            return []
        alike = self.kinds["convolution" if place[1].lower().startswith("conv") else "linear"]
        return alike[int(place[2] or 0) :][:1]

    def _held(self, name: str) -> list[Layer]:
        """The layers of the longest path whose words stand in the name."""
        words = _words(name)
        near = [pair for word in set(words) for pair in self.paths.get(word, ())]
        if "/" not in name:
            near = [(path, layer) for path, layer in near if not "".join(path).isdigit()]
        held = [(len(path), layer) for path, layer in near if _holds(words, path)]
        longest = max((length for length, _ in held), default=0)
        return [layer for length, layer in held if length == longest]


def _words(name: str) -> list[str]:
    return _WORD.findall(name)


def _holds(words: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a path's words stand in a name in their order; others may stand between."""
    rest = iter(words)
    return all(word in rest for word in path)


# --- by MACs -------------------------------------------------------------------------------------------------------


def _by_macs(
    operators: Sequence[wire.Operator], places: Sequence[int], layers: Sequence[Layer], batch: int
) -> Iterator[tuple[int, Place]]:
    """Match in order within each number of MACs of which there are as many operators as layers."""
    same: dict[int, list[Layer]] = defaultdict(list)
    for layer in layers:
        same[layer.macs * batch].append(layer)
    ordered = sorted((macs, place) for place in places if (macs := operators[place].macs))
    for macs, alike in same.items():
        # a little wider than the tolerance: `_agree` decides
        first = bisect_left(ordered, ((1 - 2 * TOLERANCE) * macs, -1))
        last = bisect_right(ordered, ((1 + 2 * TOLERANCE) * macs, len(operators)))
        counted = sorted(place for told, place in ordered[first:last] if _agree(told, macs))
        if len(counted) == len(alike):
            yield from (
                (place, (layer.name, "macs")) for place, layer in zip(counted, alike, strict=True) if layer.name
            )


def _agree(told: int | None, macs: int) -> bool:
    return told is None or abs(told - macs) <= TOLERANCE * macs
