"""A function as a graph's library keeps it: a name, arguments, results and a body (TensorFlow: FunctionDef).

This file knows neither how functions are made (`functions.py`) nor how they are written (`serde.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowmesh.core.dtypes import DType
from flowmesh.graph.attrs import FunctionRef
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

if TYPE_CHECKING:
    from flowmesh.graph.graph import Graph


@dataclass(eq=False)
class Body:
    """What a function does: a graph whose `inputs` are placeholders in the order of the arguments."""

    graph: Graph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    controls: tuple[Operation, ...] = ()
    """Operations that run although no output needs them."""


@dataclass(frozen=True)
class Argument:
    """An argument or result of a function."""

    name: str
    dtype: DType
    attrs: tuple[tuple[str, Any], ...] = field(default=())


class Function:
    """A function of a library. The body of one that came with a GraphDef is built on first use."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[Argument],
        outputs: Sequence[Argument],
        load: Callable[[], Body],
        *,
        captured: Sequence[Tensor] = (),
        stateful: bool = False,
        description: str = "",
        attrs: dict[str, Any] | None = None,
        message: Any = None,
    ) -> None:
        """`load` gives the body; `message` is what the function was read from, written again as it is."""
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.captured = tuple(captured)
        """The tensors around the function that its last arguments stand for."""
        self.stateful = stateful
        self.description = description
        self.attrs = dict(attrs or {})
        self.message = message
        self._load = load
        self._body: Body | None = None

    @property
    def body(self) -> Body:
        """The graph of the function; raises an OpError when what came with a GraphDef cannot be built."""
        if self._body is None:
            self._body = self._load()
        return self._body

    @property
    def ref(self) -> FunctionRef:
        """The value of a `func` attr that means this function."""
        return FunctionRef(self.name)

    def __repr__(self) -> str:
        return f"<Function {self.name}({len(self.inputs)} inputs, {len(self.outputs)} outputs)>"


# -- which functions a node needs ---------------------------------------------------------------------------


def named_functions(definition: OpDef) -> Iterator[str]:
    """The names of the functions in the attrs of an op, and in the attrs of those."""
    for value in definition.attrs.values():
        yield from _named(value)


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, FunctionRef):
        if value.name:
            yield value.name
        for _, item in value.attrs:
            yield from _named(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _named(item)


def reachable(ops: Iterable[Operation], library: dict[str, Function]) -> dict[str, Function]:
    """The functions that these ops need, and those that they need themselves, by name; the others of `library` are left out."""
    found: dict[str, Function] = {}
    waiting = [name for op in ops for name in named_functions(op.definition)]
    while waiting:
        name = waiting.pop()
        function = library.get(name)
        if function is None or name in found:
            continue
        found[name] = function
        for op in function.body.graph.get_operations():
            waiting.extend(named_functions(op.definition))
    return found
