"""What an operation is: its signature, attrs, shape function, kernel and gradient in one class.

A subclass of `OpDef` declares TensorFlow's OpDef with `Input`, `Output` and `Attr` in TensorFlow's order;
an *instance* is the op bound to the attrs of one node (`operation.definition`). This file knows no wire format and no
backend: kernels get the array namespace as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph import registry
from flowmesh.graph.growth import GROWING, guarded

if TYPE_CHECKING:
    from flowmesh.core.cancellation import CancellationManager
    from flowmesh.graph.inference import InferenceContext


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


class _Dead:
    """The value on an edge of an untaken branch."""

    _instance: ClassVar[_Dead | None] = None

    def __new__(cls) -> _Dead:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "DEAD"

    def __reduce__(self) -> tuple[type[_Dead], tuple[()]]:
        return _Dead, ()


REQUIRED: Any = _Required()
DEAD: Any = _Dead()


@dataclass(frozen=True)
class ArgDef:
    """One input or output of an op definition (TensorFlow: OpDef.ArgDef)."""

    name: str
    is_output: bool
    dtype: DType | None = None
    type_attr: str | None = None
    number_attr: str | None = None
    type_list_attr: str | None = None
    access: str | None = None
    ref: bool = False
    alias: str | None = None

    @property
    def is_list(self) -> bool:
        return self.number_attr is not None or self.type_list_attr is not None


@dataclass(frozen=True)
class AttrDef:
    """One attr of an op definition (TensorFlow: OpDef.AttrDef)."""

    name: str
    type: str
    default: Any = REQUIRED
    allowed: tuple[Any, ...] | None = None
    minimum: int | None = None

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True)
class _Declaration:
    make: Callable[[str], ArgDef | AttrDef]


@dataclass
class HostContext:
    """What a host op's `run` is told about the step it runs in."""

    name: str
    device: str
    resources: Any
    container: str
    step_id: int
    cancellation: CancellationManager
    state: dict[Any, Any]
    files: Any = None
    log: Callable[[str], None] = field(default=lambda text: None)
    functions: Any = None
    """`prepare(ref, device, shapes)` gives the functions that the op's attrs name (`runtime/functions.py`)."""
    session: Any = None
    """What the session keeps: `on_close(callback)`, `shared` (a dict of all host ops of the session on this task)."""
    at_home: bool = True
    """Whether this thread may do heavy work, rather than go back to what it was woken for."""
    spawn: Callable[[Callable[[], None]], None] = field(default=lambda work: work())
    """Calls a function that may block, elsewhere: for what a Future's callback has to do."""
    check: Callable[[], None] = field(default=lambda: None)
    """Raises when the step has been cancelled or has no time left: what takes long asks now and then."""
    wanted: tuple[bool, ...] = ()
    """Which outputs (flat) somebody uses; empty for all."""

    def wants(self, output: int) -> bool:
        """Whether this output is of any use."""
        return not self.wanted or self.wanted[output]


def _arg(
    is_output: bool,
    dtype: DType | str | None,
    number: str | None,
    types: str | None,
    access: str | None,
    ref: bool,
    alias: str | None,
    name: str | None,
) -> Any:
    def make(attribute: str) -> ArgDef:
        return ArgDef(
            name or attribute,
            is_output,
            dtype if isinstance(dtype, DType) else None,
            dtype if isinstance(dtype, str) else None,
            number,
            types,
            access,
            ref,
            alias,
        )

    return _Declaration(make)


def Input(
    dtype: DType | str | None = None,
    *,
    number: str | None = None,
    types: str | None = None,
    access: str | None = None,
    ref: bool = False,
    name: str | None = None,
) -> Any:
    """Declares an input; `dtype` is a DType or the name of a type attr, `number` the attr that holds a list's length,
    `types` the `list(type)` attr of a heterogeneous list, `access` how a variable is used ("read", "write", "update").
    """
    if access not in (None, "read", "write", "update"):
        raise ValueError(f"access must be read, write or update, not {access!r}")
    return _arg(False, dtype, number, types, access, ref, None, name)


def Output(
    dtype: DType | str | None = None,
    *,
    number: str | None = None,
    types: str | None = None,
    ref: bool = False,
    alias: str | None = None,
    name: str | None = None,
) -> Any:
    """Declares an output; `alias` names the ref input that it passes on."""
    return _arg(True, dtype, number, types, None, ref, alias, name)


def Attr(
    type: str,
    default: Any = REQUIRED,
    *,
    allowed: Iterable[Any] | None = None,
    minimum: int | None = None,
    name: str | None = None,
) -> Any:
    """Declares an attr with TensorFlow's type string ("int", "list(int)", "shape" ...)."""

    def make(attribute: str) -> AttrDef:
        return AttrDef(
            name or attribute, type, default, _ordered(allowed) if allowed else None, minimum
        )

    return _Declaration(make)


def _ordered(allowed: Iterable[Any]) -> tuple[Any, ...]:
    items = tuple(dict.fromkeys(allowed))
    if isinstance(allowed, (set, frozenset)) and all(isinstance(i, DType) for i in items):
        return tuple(sorted(items, key=lambda d: d.as_datatype_enum))
    return items


def python_name(op_type: str) -> str:
    """The name of TensorFlow's generated Python function for an op type ("FIFOQueueV2": "fifo_queue_v2")."""
    name = ""
    for i, letter in enumerate(op_type):
        after_lower = i > 0 and op_type[i - 1].islower()
        before_lower = i + 1 < len(op_type) and op_type[i + 1].islower()
        if letter.isupper() and i > 0 and (after_lower or before_lower):
            name += "_"
        name += letter.lower()
    return name


def type_attr(allowed: Iterable[DType] | None = None, default: Any = REQUIRED) -> Any:
    """Declares a type attr restricted to `allowed` dtypes."""
    return Attr("type", default, allowed=allowed)


class OpDef:
    """Base of all op definitions. Subclasses are final; share kernels through functions or `abstract=True` bases."""

    op_type: ClassVar[str] = ""
    input_args: ClassVar[tuple[ArgDef, ...]] = ()
    output_args: ClassVar[tuple[ArgDef, ...]] = ()
    attr_defs: ClassVar[dict[str, AttrDef]] = {}

    static_inputs: ClassVar[tuple[str, ...]] = ()
    numpy_only: ClassVar[bool] = False
    xla_only: ClassVar[bool] = False
    stateful: ClassVar[bool] = False
    slow: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    fast_in_place: ClassVar[bool] = False
    host: ClassVar[bool] = False
    finds_resource: ClassVar[bool] = (
        False  # a host op that gives the same resource until one is removed
    )
    prompt: ClassVar[bool] = False
    control_flow: ClassVar[bool] = False
    variable_source: ClassVar[bool] = False
    implicit_state: ClassVar[bool] = False
    step_object: ClassVar[bool] = False
    """Whether it makes or uses an object that lives for one step (a TensorArray, a stack)."""
    NotDifferentiable: ClassVar[bool] = False
    devices: ClassVar[tuple[str, ...] | None] = None
    gpu_types: ClassVar[frozenset[DType] | None] = None

    run: ClassVar[Callable[..., Any] | None] = None
    gradient: ClassVar[Callable[..., Any] | None] = None

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ins = {a.name: a for a in cls.input_args}
        outs = {a.name: a for a in cls.output_args}
        attrs = dict(cls.attr_defs)
        for attribute, value in list(cls.__dict__.items()):
            if isinstance(value, _Declaration):
                made = value.make(attribute)
                delattr(cls, attribute)
                if isinstance(made, AttrDef):
                    attrs[made.name] = made
                elif made.is_output:
                    outs[made.name] = made
                else:
                    ins[made.name] = made
        cls.input_args = tuple(ins.values())
        cls.output_args = tuple(outs.values())
        cls.attr_defs = attrs
        cls.host = cls.run is not None
        if cls.implicit_state:
            cls.stateful = True
        if not abstract:
            if "op_type" not in cls.__dict__:
                cls.op_type = cls.__name__
            if cls.op_type in GROWING:
                cls.compute = guarded(cls.compute)  # type: ignore[method-assign]
            registry.register(cls)

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self.__dict__.update(attrs)
        self.attrs: dict[str, Any] = dict(attrs)

    # -- the four things a subclass defines ------------------------------------------------------

    def infer(self, ctx: InferenceContext, *shapes: Any) -> Any:
        """Static shapes of the outputs from those of the inputs; unknown by default."""
        return tuple(unknown_shape() for _ in self.output_dtypes())

    def compute(self, xp: Any, *inputs: Any) -> Any:
        """The pure kernel against the array namespace `xp`."""
        raise NotImplementedError(f"{self.op_type} has no compute kernel")

    def settled_kernel(self) -> Callable[..., Any]:
        """`compute` for NumPy arrays of shapes and dtypes that it has taken before, called where floating point errors are ignored:
        it need not check them again."""
        return self.compute

    def compute_in_place(self, *inputs: Any) -> None:
        """With `in_place`: what `compute` does, by NumPy, to the writable arrays that are given for the inputs of access "update". What
        is invalid is found before anything is changed."""
        raise NotImplementedError(f"{self.op_type} does not update in place")

    def initial_state(self) -> Any:
        """The first value of the implicit state (only with `implicit_state`)."""
        raise NotImplementedError(f"{self.op_type} keeps no state")

    # -- what follows from the declaration ----------------------------------------------------------

    def _arg_dtypes(self, args: Sequence[ArgDef]) -> list[DType]:
        result: list[DType] = []
        for arg in args:
            result.extend(self.arg_dtypes(arg))
        return result

    def arg_dtypes(self, arg: ArgDef) -> list[DType]:
        """The dtypes that `arg` stands for under this instance's attrs."""
        if arg.type_list_attr is not None:
            return list(self.attrs[arg.type_list_attr])
        dtype = arg.dtype if arg.dtype is not None else self.attrs[arg.type_attr or ""]
        if arg.ref:
            dtype = dtype._as_ref
        count = 1 if arg.number_attr is None else self.attrs[arg.number_attr]
        return [dtype] * count

    def input_dtypes(self) -> list[DType]:
        """The dtype of each flat input."""
        return self._arg_dtypes(self.input_args)

    def output_dtypes(self) -> list[DType]:
        """The dtype of each flat output."""
        return self._arg_dtypes(self.output_args)

    def group_inputs(self, flat: Sequence[Any]) -> list[Any]:
        """Turns flat inputs into one entry per declared input (a list for a list input)."""
        return self._group(self.input_args, flat)

    def group_outputs(self, flat: Sequence[Any]) -> list[Any]:
        """Turns flat outputs into one entry per declared output."""
        return self._group(self.output_args, flat)

    def _group(self, args: Sequence[ArgDef], flat: Sequence[Any]) -> list[Any]:
        grouped: list[Any] = []
        at = 0
        for arg in args:
            if arg.is_list:
                count = len(self.arg_dtypes(arg))
                grouped.append(list(flat[at : at + count]))
                at += count
            else:
                grouped.append(flat[at])
                at += 1
        return grouped

    def flat_input_args(self) -> list[ArgDef]:
        """The declared input that each flat input belongs to."""
        return [arg for arg in self.input_args for _ in self.arg_dtypes(arg)]

    def flat_output_args(self) -> list[ArgDef]:
        """The declared output that each flat output belongs to."""
        return [arg for arg in self.output_args for _ in self.arg_dtypes(arg)]

    def kernel_supported(self, device_type: str) -> bool:
        """Whether the op, with these attrs, has a kernel for devices of this type ("CPU", "GPU")."""
        if device_type == "CPU":
            return self.devices is None or "CPU" in self.devices
        if self.devices is not None:
            if device_type not in self.devices:
                return False
        elif self.host or self.numpy_only:
            return False
        for name, definition in self.attr_defs.items():
            if definition.type == "type":
                dtype = self.attrs[name]
                if dtype == dtypes.string:
                    return False
                if (
                    self.gpu_types is not None
                    and name in ("T", "dtype")
                    and dtype not in self.gpu_types
                ):
                    return False
        return True

    def __repr__(self) -> str:
        return f"<{self.op_type} {self.attrs}>"


def output_shapes(definition: OpDef, inferred: Any) -> list[TensorShape]:
    """Flattens what `infer` returned to one TensorShape per flat output."""
    count = len(definition.output_dtypes())
    if isinstance(inferred, TensorShape):
        shapes: list[TensorShape] = [inferred]
    elif inferred is None:
        shapes = []
    else:
        shapes = []
        for item in inferred:
            if isinstance(item, TensorShape):
                shapes.append(item)
            else:
                shapes.extend(item)
    if len(shapes) != count:
        raise ValueError(
            f"The attrs do not fit together: they make {len(shapes)} shapes for {count} outputs"
        )
    return shapes
