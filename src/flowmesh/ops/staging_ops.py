"""Staging areas: the Stage and MapStage ops, `StagingArea` and `MapStagingArea`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype, int32, int64
from flowmesh.core.shapes import TensorShape, scalar, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import ints
from flowmesh.ops.control import no_op
from flowmesh.ops.queue_ops import mapped
from flowmesh.resources.staging import Staging, StagingMap


class _Op(OpDef, abstract=True):
    """An op on the staging area that its attrs name; the first one makes it."""

    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        if not self.output_args:
            return ()
        if self.output_args[-1].type_list_attr is None:
            return scalar()
        values = [unknown_shape()] * len(self.attrs["dtypes"])
        return (scalar(), values) if len(self.output_args) == 2 else (values,)

    def _limits(self) -> dict[str, int]:
        return {name: self.attrs[name] for name in ("capacity", "memory_limit")}

    def _named(self, ctx: Any, kind: Any, make: Callable[[str], Any]) -> Any:
        name = self.attrs["shared_name"].decode() or ctx.name
        container = self.attrs["container"].decode() or ctx.container
        return ctx.resources.lookup_or_create(container, name, kind, lambda: make(name))


class _StageOp(_Op, abstract=True):
    def _area(self, ctx: Any) -> Staging:
        area: Staging = self._named(ctx, Staging, lambda name: Staging(name, **self._limits()))
        return area


class _MapOp(_Op, abstract=True):
    ordered = False

    def _area(self, ctx: Any) -> StagingMap:
        def make(name: str) -> StagingMap:
            return StagingMap(name, ordered=self.ordered, **self._limits())

        area: StagingMap = self._named(ctx, StagingMap, make)
        return area


class _Stage(_StageOp, abstract=True):
    def run(self, ctx: Any, values: Sequence[Any]) -> Any:  # type: ignore[override]
        return mapped(self._area(ctx).put(values, ctx.cancellation), lambda _: None)


class _Unstage(_StageOp, abstract=True):
    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        return mapped(self._area(ctx).get(ctx.cancellation), lambda values: (list(values),))


class _StagePeek(_StageOp, abstract=True):
    def run(self, ctx: Any, index: Any) -> Any:  # type: ignore[override]
        found = self._area(ctx).peek(int(index), ctx.cancellation)
        return mapped(found, lambda values: (list(values),))


class _Size(_StageOp, abstract=True):
    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        return np.int32(self._area(ctx).size())


class _Clear(_StageOp, abstract=True):
    def run(self, ctx: Any) -> None:  # type: ignore[override]
        self._area(ctx).clear()


class _MapStage(_MapOp, abstract=True):
    def run(self, ctx: Any, key: Any, indices: Any, values: Sequence[Any]) -> Any:  # type: ignore[override]
        numbered = dict(zip(ints(indices), values))
        count = len(self.attrs["dtypes"])
        put = self._area(ctx).put(int(key), numbered, count, ctx.cancellation)
        return mapped(put, lambda _: None)


class _MapUnstage(_MapOp, abstract=True):
    remove = True

    def run(self, ctx: Any, key: Any, indices: Any) -> Any:  # type: ignore[override]
        taken = self._area(ctx).get(int(key), ints(indices), self.remove, ctx.cancellation)
        return mapped(taken, lambda pair: (pair[1],))


class _MapPeek(_MapUnstage, abstract=True):
    remove = False


class _MapUnstageNoKey(_MapOp, abstract=True):
    def run(self, ctx: Any, indices: Any) -> Any:  # type: ignore[override]
        taken = self._area(ctx).get(None, ints(indices), True, ctx.cancellation)
        return mapped(taken, lambda pair: (np.int64(pair[0]), pair[1]))


class _MapSize(_MapOp, abstract=True):
    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        return np.int32(self._area(ctx).size())


class _MapIncompleteSize(_MapOp, abstract=True):
    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        return np.int32(self._area(ctx).incomplete_size())


class _MapClear(_MapOp, abstract=True):
    def run(self, ctx: Any) -> None:  # type: ignore[override]
        self._area(ctx).clear()


def _in(dtype: Any) -> Callable[[], Any]:
    return lambda: Input(dtype)


def _out(dtype: Any) -> Callable[[], Any]:
    return lambda: Output(dtype)


def _many_in(types: str) -> Callable[[], Any]:
    return lambda: Input(types=types)


def _many_out() -> Any:
    return Output(types="dtypes")


def _register(
    name: str,
    base: type[OpDef],
    doc: str,
    members: dict[str, Callable[[], Any]],
    least: int | None = 1,
    fake: bool = False,
    ordered: bool = False,
) -> None:
    """Registers an op with the attrs that all staging ops have; `fake` adds the dtypes of what is put in."""
    body: dict[str, Any] = {"__module__": __name__, "__doc__": doc, "ordered": ordered}
    body.update({member: make() for member, make in members.items()})
    body["capacity"] = Attr("int", 0, minimum=0)
    body["memory_limit"] = Attr("int", 0, minimum=0)
    body["dtypes"] = Attr("list(type)", minimum=None if fake else least)
    if fake:
        body["fake_dtypes"] = Attr("list(type)", minimum=1)
    body["container"] = Attr("string", "")
    body["shared_name"] = Attr("string", "")
    type(name, (base,), body)


_SIZE = {"size": _out(int32)}
_register("Stage", _Stage, "Puts an element into a staging area.", {"values": _many_in("dtypes")})
_register("Unstage", _Unstage, "Takes the oldest element.", {"values": _many_out})
_register(
    "StagePeek", _StagePeek, "An element that stays.", {"index": _in(int32), "values": _many_out}
)
_register("StageSize", _Size, "How many elements are staged.", _SIZE, least=None)
_register("StageClear", _Clear, "Drops all elements.", {}, least=None)

_KEY = {"key": _in(int64), "indices": _in(int32)}
for _prefix, _ordered in (("", False), ("Ordered", True)):
    _register(
        f"{_prefix}MapStage",
        _MapStage,
        "Puts components of an element into a map.",
        {**_KEY, "values": _many_in("fake_dtypes")},
        fake=True,
        ordered=_ordered,
    )
    _register(
        f"{_prefix}MapUnstage",
        _MapUnstage,
        "Takes components of the element with a key.",
        {**_KEY, "values": _many_out},
        ordered=_ordered,
    )
    _register(
        f"{_prefix}MapPeek",
        _MapPeek,
        "Components that stay.",
        {**_KEY, "values": _many_out},
        ordered=_ordered,
    )
    _register(
        f"{_prefix}MapUnstageNoKey",
        _MapUnstageNoKey,
        "Takes components of any element, and its key.",
        {"indices": _in(int32), "key": _out(int64), "values": _many_out},
        ordered=_ordered,
    )
    _register(
        f"{_prefix}MapSize",
        _MapSize,
        "How many elements are complete.",
        _SIZE,
        least=None,
        ordered=_ordered,
    )
    _register(
        f"{_prefix}MapIncompleteSize",
        _MapIncompleteSize,
        "How many elements lack a component.",
        _SIZE,
        least=None,
        ordered=_ordered,
    )
    _register(
        f"{_prefix}MapClear", _MapClear, "Drops all elements.", {}, least=None, ordered=_ordered
    )


# -- Python objects ------------------------------------------------------------------------------------


class BaseStagingArea:
    """What both kinds of staging area have in common."""

    def __init__(
        self,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        shared_name: str | None = None,
        capacity: int = 0,
        memory_limit: int = 0,
    ):
        """`shapes` and `names` have one entry per dtype; ValueError otherwise."""
        graph = get_default_graph()
        self._name = graph.unique_name(type(self).__name__) if shared_name is None else shared_name
        if shared_name is not None and not isinstance(shared_name, str):
            raise ValueError("shared_name must be a string")
        self._dtypes = [as_dtype(d) for d in dtypes]
        if shapes is not None:
            if len(shapes) != len(self._dtypes):
                raise ValueError("StagingArea shapes must be the same length as dtypes")
            self._shapes = [TensorShape(s) for s in shapes]
        else:
            self._shapes = [unknown_shape() for _ in self._dtypes]
        if names is not None and len(names) != len(self._dtypes):
            raise ValueError("StagingArea names must be the same length as dtypes")
        self._names = None if not names else list(names)
        self._capacity = capacity
        self._memory_limit = memory_limit
        with graph.name_scope(f"{self._name}_root"):
            self._coloc_op = no_op()

    @property
    def name(self) -> str:
        """The name, which is also the shared name of the resource."""
        return self._name

    @property
    def dtypes(self) -> list[Any]:
        """The dtype of each component."""
        return self._dtypes

    @property
    def shapes(self) -> list[TensorShape]:
        """The shape of each component, as far as it is known."""
        return self._shapes

    @property
    def names(self) -> list[str] | None:
        """The names of the components, or None."""
        return self._names

    @property
    def capacity(self) -> int:
        """How many elements fit in; 0 is no limit."""
        return self._capacity

    @property
    def memory_limit(self) -> int:
        """How many bytes fit in; 0 is no limit."""
        return self._memory_limit

    def _attrs(self) -> dict[str, Any]:
        return {
            "dtypes": self._dtypes,
            "shared_name": self._name,
            "capacity": self._capacity,
            "memory_limit": self._memory_limit,
        }

    def _loose(self, builder: Callable[..., Any], name: str) -> Any:
        """A node without inputs that is not bound to the device of the elements, as in TensorFlow."""
        return builder(name=name, **self._attrs())

    def _made(self, builder: Callable[..., Any], *inputs: Any, name: str, **attrs: Any) -> Any:
        """A node on the device of the staging area."""
        with get_default_graph().colocate_with(self._coloc_op):
            return builder(*inputs, name=name, **{**self._attrs(), **attrs})

    def _checked(self, vals: Any, indices: Any = None) -> tuple[list[Tensor], list[int]]:
        """The tensors to be put in, and the numbers of their components."""
        if isinstance(vals, dict):
            if not self._names:
                raise ValueError("Staging areas must have names to enqueue a dictionary")
            if not set(vals.keys()).issubset(self._names):
                raise ValueError(
                    "Keys in dictionary to put do not match names of staging area. "
                    f"Dictionary: ({sorted(vals.keys())}), Queue: ({sorted(self._names)})"
                )
            chosen = [(vals[n], i) for i, n in enumerate(self._names) if n in vals]
            values, numbers = [v for v, _ in chosen], [i for _, i in chosen]
        else:
            if self._names:
                raise ValueError("You must enqueue a dictionary in a staging area with names")
            if indices is None:
                raise ValueError("Indices must be supplied when inserting a list of tensors")
            if len(indices) != len(vals):
                raise ValueError(
                    f"Number of indices '{len(indices)}' doesn't match number of values '{len(vals)}'"
                )
            values, numbers = list(vals), list(indices)
        return self._typed(values, numbers), numbers

    def _typed(self, values: Sequence[Any], numbers: Sequence[int]) -> list[Tensor]:
        tensors = []
        for value, i in zip(values, numbers):
            tensor = value if isinstance(value, Tensor) else convert_to_tensor(value)
            dtype, shape = self._dtypes[i], self._shapes[i]
            if tensor.dtype != dtype:
                raise ValueError(f"Datatypes do not match. '{tensor.dtype!s}' != '{dtype!s}'")
            tensor.shape.assert_is_compatible_with(shape)
            tensors.append(tensor)
        return tensors

    def _taken(self, tensors: Sequence[Tensor], numbers: Sequence[int]) -> Any:
        """What a get returns: a dict when the components have names, else a list."""
        for tensor, i in zip(tensors, numbers):
            tensor.set_shape(self._shapes[i])
        if self._names:
            return {self._names[i]: tensor for tensor, i in zip(tensors, numbers)}
        return list(tensors)


class StagingArea(BaseStagingArea):
    """A small buffer between steps, on the device of its elements (TensorFlow: `data_flow_ops.StagingArea`).

    `put` waits while it is full (`capacity` elements or `memory_limit` bytes), `get` and `peek` while it is empty.
    """

    def put(self, values: Any, name: str | None = None) -> Any:
        """The operation that adds an element: a list of tensors, or a dict by name. ValueError when they do not fit."""
        with get_default_graph().name_scope(name or f"{self._name}_put") as scope:
            if not isinstance(values, (list, tuple, dict)):
                values = [values]
            numbers = list(range(len(values)))
            if not isinstance(values, dict) and len(values) > len(self._dtypes):
                raise ValueError(
                    f"Unexpected number of inputs '{len(values)}' vs '{len(self._dtypes)}'"
                )
            tensors, _ = self._checked(values, numbers)
            return self._made(
                raw.Stage, tensors, name=scope, dtypes=[t.dtype.base_dtype for t in tensors]
            )

    def get(self, name: str | None = None) -> Any:
        """The tensors of the oldest element, taken out: a list, or a dict by name."""
        result = self._made(raw.Unstage, name=name or f"{self._name}_get")
        return self._taken(result, range(len(self._dtypes)))

    def peek(self, index: Any, name: str | None = None) -> Any:
        """The tensors of the element at `index`, which stays."""
        result = self._made(raw.StagePeek, index, name=name or f"{self._name}_peek")
        return self._taken(result, range(len(self._dtypes)))

    def size(self, name: str | None = None) -> Tensor:
        """How many elements there are, an int32 scalar."""
        size: Tensor = self._loose(raw.StageSize, name=name or f"{self._name}_size")
        return size

    def clear(self, name: str | None = None) -> Any:
        """The operation that drops all elements."""
        return self._loose(raw.StageClear, name=name or f"{self._name}_clear")


class MapStagingArea(BaseStagingArea):
    """A staging area by int64 key, whose components may come one by one (TensorFlow: `data_flow_ops.MapStagingArea`)."""

    def __init__(
        self,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        shared_name: str | None = None,
        ordered: bool = False,
        capacity: int = 0,
        memory_limit: int = 0,
    ):
        """`ordered` gives out the smallest key first when none is asked for."""
        super().__init__(dtypes, shapes, names, shared_name, capacity, memory_limit)
        self._prefix = "Ordered" if ordered else ""

    def _op(self, name: str) -> Callable[..., Any]:
        builder: Callable[..., Any] = getattr(raw, self._prefix + name)
        return builder

    def put(self, key: Any, vals: Any, indices: Any = None, name: str | None = None) -> Any:
        """The operation that sets components (`indices`, or the keys of a dict) of the element `key`."""
        with get_default_graph().name_scope(name or f"{self._name}_put") as scope:
            tensors, numbers = self._checked(vals, indices)
            return self._made(
                self._op("MapStage"),
                key,
                np.array(numbers, np.int32),
                tensors,
                name=scope,
                fake_dtypes=[t.dtype.base_dtype for t in tensors],
            )

    def _numbers(self, indices: Any) -> list[int]:
        if indices is None:
            return list(range(len(self._dtypes)))
        if not isinstance(indices, (list, tuple)):
            raise TypeError(f"Invalid indices type '{type(indices)}'")
        if all(isinstance(i, str) for i in indices):
            if self._names is None:
                raise ValueError(
                    f"String indices provided '{indices}', but this Staging Area was not created with names."
                )
            return [self._names.index(i) for i in indices]
        return [int(i) for i in indices]

    def _typed_of(self, numbers: Sequence[int]) -> list[Any]:
        return [self._dtypes[i] for i in numbers]

    def get(self, key: Any = None, indices: Any = None, name: str | None = None) -> Any:
        """(key, components) of the element `key`, or of any element, taken out."""
        numbers = self._numbers(indices)
        which = np.array(numbers, np.int32)
        types = self._typed_of(numbers)
        if key is None:
            result = self._made(
                self._op("MapUnstageNoKey"),
                which,
                name=name or f"{self._name}_get_nokey",
                dtypes=types,
            )
            return result[0], self._taken(result[1], numbers)
        values = self._made(
            self._op("MapUnstage"), key, which, name=name or f"{self._name}_get", dtypes=types
        )
        return key, self._taken(values, numbers)

    def peek(self, key: Any, indices: Any = None, name: str | None = None) -> Any:
        """The components of the element `key`, which stay."""
        numbers = self._numbers(indices)
        values = self._made(
            self._op("MapPeek"),
            key,
            np.array(numbers, np.int32),
            name=name or f"{self._name}_pop",
            dtypes=self._typed_of(numbers),
        )
        return self._taken(values, numbers)

    def size(self, name: str | None = None) -> Tensor:
        """How many elements are complete, an int32 scalar."""
        size: Tensor = self._loose(self._op("MapSize"), name=name or f"{self._name}_size")
        return size

    def incomplete_size(self, name: str | None = None) -> Tensor:
        """How many elements lack a component, an int32 scalar."""
        size: Tensor = self._made(
            self._op("MapIncompleteSize"), name=name or f"{self._name}_incomplete_size"
        )
        return size

    def clear(self, name: str | None = None) -> Any:
        """The operation that drops all elements."""
        return self._loose(self._op("MapClear"), name=name or f"{self._name}_clear")
