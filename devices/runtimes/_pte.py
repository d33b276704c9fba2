"""What a .pte holds, ExecuTorch's program: which operators run in its own kernels, and which in XNNPACK.

Read without ExecuTorch, which dies of some damaged files. FlatBuffers: fields by their number in ExecuTorch's program.fbs and
XNNPACK's schema.fbs.
"""

import struct
from typing import Any, List, NamedTuple, Set, Tuple

BACKEND = "XnnpackBackend"

_TYPES = ("invalid", "fp32", "fp16", "qint8", "quint8", "qint32", "qcint8", "qcint32", "qcint4", "qdint8", "qbint4")
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_QUANTISED = 2
_IN_SEGMENT = 1


class Plan(NamedTuple):
    """What a program does: the operators that ExecuTorch's kernels run and the backends that it calls, one per call."""

    portable: List[str]
    delegated: List[str]
    nodes: int
    types: Set[str]

    @property
    def precision(self) -> str:
        """The narrowest kind of numbers that XNNPACK's nodes have."""
        if any(name.startswith("q") for name in self.types):
            return "int4" if self.types & {"qcint4", "qbint4"} else "int8"
        return "fp16" if "fp16" in self.types else "fp32"


def read_plan(artifact: Any) -> Plan:
    """Read what a .pte's only method does, call by call, and what is within XNNPACK's parts. Raises ValueError."""
    if artifact[4:8] != b"ET12":
        raise ValueError("this is no ExecuTorch program, or it is damaged")
    try:
        return _read(artifact)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("a damaged ExecuTorch program: %s" % error) from error


def _read(artifact: Any) -> Plan:
    program = _Table(artifact, *_root(artifact, 0))
    method = program.tables(1)[0]
    calls = [(step.number(0, "B"), step.table(1)) for chain in method.tables(5) for step in chain.tables(2)]
    operators = [".".join(filter(None, (each.text(0), each.text(1)))) for each in method.tables(6)]
    delegates = method.tables(7)
    graphs = [_graph(artifact, program, each) for each in delegates if each.text(0) == BACKEND]
    return Plan(
        [operators[call.number(0, "i")] for kind, call in calls if kind == _KERNEL_CALL],
        [delegates[call.number(0, "i")].text(0) for kind, call in calls if kind == _DELEGATE_CALL],
        sum(len(graph.tables(1)) for graph in graphs),
        {_type(value) for graph in graphs for value in graph.tables(2)},
    )


def _graph(artifact: Any, program: "_Table", delegate: "_Table") -> "_Table":
    """The graph of one of XNNPACK's parts: behind a header of its own, in the program or in a segment behind it."""
    place = delegate.table(1)
    if place.number(0, "b") == _IN_SEGMENT:
        (segments,) = struct.unpack_from("<Q", artifact, 24)
        part = segments + program.tables(4)[place.number(1, "I")].number(0, "Q")
    else:
        part = program.tables(3)[place.number(1, "I")].vector(0)[0]
    (graph,) = struct.unpack_from("<I", artifact, part + 10)
    return _Table(artifact, *_root(artifact, part + graph))


def _type(value: "_Table") -> str:
    tensor = value.table(1)
    if value.number(0, "B") == _QUANTISED:
        tensor = tensor.table(0)
    code = tensor.number(0, "h")
    return _TYPES[code] if code < len(_TYPES) else "type %d" % code


def _root(data: Any, at: int) -> Tuple[int]:
    return (at + struct.unpack_from("<I", data, at)[0],)


class _Table:
    """A FlatBuffers table: a field's place stands in its vtable, by the field's number."""

    def __init__(self, data: Any, at: int) -> None:
        self.data = data
        self.at = at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]
        self.size = struct.unpack_from("<H", data, self.vtable)[0]

    def _place(self, field: int) -> int:
        """Where a field's value is; 0 where it has its default."""
        entry = 4 + 2 * field
        offset = struct.unpack_from("<H", self.data, self.vtable + entry)[0] if entry < self.size else 0
        return self.at + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        place = self._place(field)
        return int(struct.unpack_from("<" + kind, self.data, place)[0]) if place else 0

    def table(self, field: int) -> "_Table":
        return _Table(self.data, *_root(self.data, self._place(field)))

    def vector(self, field: int) -> Tuple[int, int]:
        """Where a vector's elements begin, and how many there are."""
        if not self._place(field):
            return 0, 0
        (start,) = _root(self.data, self._place(field))
        return start + 4, struct.unpack_from("<I", self.data, start)[0]

    def tables(self, field: int) -> List["_Table"]:
        start, count = self.vector(field)
        return [_Table(self.data, *_root(self.data, start + 4 * n)) for n in range(count)]

    def text(self, field: int) -> str:
        start, count = self.vector(field)
        return bytes(self.data[start : start + count]).decode()
