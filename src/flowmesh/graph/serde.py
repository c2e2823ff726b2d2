"""The only place of the graph layer that knows protobuf: nodes and attrs to NodeDef, OpDef and GraphDef, and back."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.shapes import TensorShape
from flowmesh.formats.tensor import from_tensor_proto, to_tensor_proto
from flowmesh.graph import registry
from flowmesh.graph.attrs import FunctionRef, check_allowed, convert
from flowmesh.graph.function import Function, reachable
from flowmesh.graph.newer_attrs import is_neutral
from flowmesh.graph.op_def import ArgDef, AttrDef, OpDef
from flowmesh.proto import (
    function_pb2,
    graph_pb2,
    node_def_pb2,
    op_def_pb2,
    tensor_pb2,
    versions_pb2,
)

if TYPE_CHECKING:
    from flowmesh.graph.graph import Graph
    from flowmesh.graph.operation import Operation

_MAX_OUTPUTS = 1 << 16

PRODUCER_VERSION = 134
"""The GraphDef version that TensorFlow 1.15 writes."""

_FUNCTIONS_CONSUMER = 12
"""The oldest consumer of graphs with functions."""

_SCALAR_FIELDS = {"int": "i", "float": "f", "bool": "b", "string": "s", "type": "type"}


# -- attrs -------------------------------------------------------------------------------------------


def attr_to_proto(value: Any, kind: str, proto: Any, dtype: DType | None = None) -> None:
    """Writes an attr value of TensorFlow type `kind` into an AttrValue message."""
    if kind.startswith("list("):
        _list_to_proto(value, kind[5:-1], proto.list)
    elif kind == "type":
        proto.type = value.as_datatype_enum
    elif kind in _SCALAR_FIELDS:
        setattr(proto, _SCALAR_FIELDS[kind], value)
    elif kind == "shape":
        proto.shape.CopyFrom(value.as_proto())
    elif kind == "tensor":
        _tensor_to_proto(value, dtype, proto.tensor)
    elif kind == "func":
        proto.func.name = value.name
        for name, item in value.attrs:
            guess_attr(item, proto.func.attr[name])
    else:
        raise ValueError(f"unknown attr type {kind!r}")


def _is_repeated(value: np.ndarray) -> bool:
    """Whether an array is one element over and over, which is written once."""
    return value.size > 1 and not any(value.strides)


def _written(value: np.ndarray) -> int:
    """The bytes that the elements of a constant take in a message."""
    return value.itemsize if _is_repeated(value) else value.nbytes


def _tensor_to_proto(value: np.ndarray, dtype: DType | None, proto: Any) -> None:
    if _is_repeated(value):
        proto.CopyFrom(to_tensor_proto(value.reshape(-1)[:1].reshape(()), dtype))
        for size in value.shape:
            proto.tensor_shape.dim.add(size=size)
    else:
        proto.CopyFrom(to_tensor_proto(value, dtype))


def _list_to_proto(values: Any, kind: str, proto: Any) -> None:
    proto.SetInParent()
    if kind == "type":
        proto.type.extend(v.as_datatype_enum for v in values)
    elif kind in _SCALAR_FIELDS:
        getattr(proto, _SCALAR_FIELDS[kind]).extend(values)
    elif kind == "shape":
        for v in values:
            proto.shape.add().CopyFrom(v.as_proto())
    elif kind == "tensor":
        for v in values:
            proto.tensor.add().CopyFrom(to_tensor_proto(v))
    elif kind == "func":
        for v in values:
            proto.func.add().name = v.name


def value_to_proto(value: Any, dtype: DType | None = None) -> Any:
    """The TensorShapeProto of a shape, the TensorProto of an array."""
    if isinstance(value, TensorShape):
        return value.as_proto()
    proto = tensor_pb2.TensorProto()
    _tensor_to_proto(value, dtype, proto)
    return proto


def versions() -> Any:
    """The VersionDef of the graphs that are written."""
    return versions_pb2.VersionDef(producer=PRODUCER_VERSION)


def guess_attr(value: Any, proto: Any) -> None:
    """Writes an attr whose type no op definition tells ("_class" ...), by the Python type of its value."""
    if isinstance(value, bytes):
        proto.s = value
    elif isinstance(value, tuple):
        kinds = {_kind_of(v) for v in value} or {"string"}
        _list_to_proto(value, kinds.pop(), proto.list)
    else:
        attr_to_proto(value, _kind_of(value), proto)


def _kind_of(value: Any) -> str:
    for kind, types in (
        ("bool", bool),
        ("int", int),
        ("float", float),
        ("string", bytes),
        ("type", DType),
        ("shape", TensorShape),
        ("tensor", np.ndarray),
        ("func", FunctionRef),
    ):
        if isinstance(value, types):  # type: ignore[arg-type]
            return kind
    raise TypeError(f"{value!r} cannot be the value of an attr")


def attr_from_proto(proto: Any) -> Any:
    """The plain value of an AttrValue message."""
    kind = proto.WhichOneof("value")
    if kind == "list":
        return _list_from_proto(proto.list)
    if kind == "type":
        return as_dtype(proto.type)
    if kind == "shape":
        return TensorShape(proto.shape)
    if kind == "tensor":
        return _tensor_from_proto(proto.tensor)
    if kind == "func":
        return _func_from_proto(proto.func)
    if kind == "placeholder":
        raise ValueError(f"attr placeholder {proto.placeholder!r} outside of a function")
    return None if kind is None else getattr(proto, kind)


def _tensor_from_proto(proto: Any) -> np.ndarray:
    """The array of a TensorProto; one element that stands for many is kept as such, and so written again as one."""
    array = from_tensor_proto(proto)
    if array.size > 1 and not proto.tensor_content:
        stored = sum(len(values) for f, values in proto.ListFields() if f.name.endswith("_val"))
        width = 2 if array.dtype.kind == "c" else 1
        if stored == width:
            return np.broadcast_to(array.reshape(-1)[:1].copy().reshape(()), array.shape)
    return array


def _func_from_proto(proto: Any) -> FunctionRef:
    return FunctionRef(
        proto.name, tuple((k, attr_from_proto(v)) for k, v in sorted(proto.attr.items()))
    )


def _list_from_proto(proto: Any) -> tuple[Any, ...]:
    if proto.type:
        return tuple(as_dtype(v) for v in proto.type)
    if proto.shape:
        return tuple(TensorShape(v) for v in proto.shape)
    if proto.tensor:
        return tuple(from_tensor_proto(v) for v in proto.tensor)
    if proto.func:
        return tuple(_func_from_proto(v) for v in proto.func)
    for name in ("s", "i", "f", "b"):
        values = getattr(proto, name)
        if values:
            return tuple(values)
    return ()


# -- nodes and graphs ----------------------------------------------------------------------------------


def to_node_def(op: Operation, add_shapes: bool = False) -> Any:
    """The NodeDef of an operation."""
    node = node_def_pb2.NodeDef(name=op.name, op=op.type, device=op.device, input=_inputs(op))
    _fill_node(op, node, add_shapes)
    return node


def _inputs(op: Operation) -> list[str]:
    names = [t._as_node_def_input() for t in op.inputs]
    names += [f"^{c.name}" for c in op._control_inputs]
    return names


def _fill_node(op: Operation, node: Any, add_shapes: bool) -> None:
    definition = op.definition
    values, attrs = definition.attrs, node.attr
    for name, attr in definition.attr_defs.items():
        value = values[name]
        if value is None:
            continue
        kind = attr.type
        if kind == "type":
            attrs[name].type = value.as_datatype_enum
        elif kind == "tensor":
            _tensor_to_proto(value, values.get("dtype"), attrs[name].tensor)
        else:
            attr_to_proto(value, kind, attrs[name])
    for name, value in op.extra_attrs.items():
        guess_attr(value, attrs[name])
    if add_shapes and op.outputs:
        shapes = node.attr["_output_shapes"].list
        for tensor in op.outputs:
            shapes.shape.add().CopyFrom(tensor.shape.as_proto())


def to_graph_def(graph: Graph, from_version: int | None = None, add_shapes: bool = False) -> Any:
    """The GraphDef of a graph, or of the nodes made after `from_version` (an operation id).

    Raises ValueError, naming the largest constants, when the message would be over 2 GB.
    """
    graph_def = graph_pb2.GraphDef()
    graph_def.versions.CopyFrom(versions())
    with graph.lock:
        ops = graph.get_operations() if not from_version else graph.operations_since(from_version)
        _check_size(ops)
        functions = list(
            (reachable(ops, graph.functions) if from_version else graph.functions).values()
        )
        add = graph_def.node.add
        for op in ops:
            node = add(name=op.name, op=op.type, device=op.device, input=_inputs(op))
            _fill_node(op, node, add_shapes)
    for function in functions:
        graph_def.library.function.add().CopyFrom(function_to_proto(function))
    if functions:
        graph_def.versions.min_consumer = _FUNCTIONS_CONSUMER
    return graph_def


# -- functions -------------------------------------------------------------------------------------------


def function_to_proto(function: Function) -> Any:
    """The FunctionDef of a function."""
    if function.message is not None:
        return function.message
    body = function.body
    message = function_pb2.FunctionDef()
    signature = message.signature
    signature.name, signature.description = function.name, function.description
    signature.is_stateful = function.stateful
    places = ((function.inputs, signature.input_arg), (function.outputs, signature.output_arg))
    for declared, place in places:
        for argument in declared:
            place.add(name=argument.name, type=argument.dtype.as_datatype_enum)
    for number, argument in enumerate(function.inputs):
        message.arg_attr[number].SetInParent()
        for name, value in argument.attrs:
            guess_attr(value, message.arg_attr[number].attr[name])
    names = {t: a.name for t, a in zip(body.inputs, function.inputs)}
    arguments = {t.op for t in body.inputs}
    for op in body.graph.get_operations():
        if op in arguments:
            continue
        for tensor, name in zip(op.outputs, _output_names(op)):
            names[tensor] = f"{op.name}:{name}"
    for op in body.graph.get_operations():
        if op not in arguments:
            inputs = [names[t] for t in op.inputs] + _inputs(op)[len(op.inputs) :]
            node = message.node_def.add(name=op.name, op=op.type, device=op.device, input=inputs)
            _fill_node(op, node, False)
    for argument, tensor in zip(function.outputs, body.outputs):
        message.ret[argument.name] = names[tensor]
    for op in body.controls:
        signature.control_output.append(op.name)
        message.control_ret[op.name] = op.name
    for name, value in function.attrs.items():
        guess_attr(value, message.attr[name])
    return message


def _output_names(op: Operation) -> list[str]:
    """What a function calls each output: the name of the declared output, and the number within it."""
    return [
        f"{arg.name}:{number}"
        for arg in op.definition.output_args
        for number in range(len(op.definition.arg_dtypes(arg)))
    ]


def _check_size(ops: list[Operation]) -> None:
    sizes = [(_written(op.definition.attrs["value"]), op.name) for op in ops if op.type == "Const"]
    if sum(size for size, _ in sizes) < 2**31 - 2**20:
        return
    largest = ", ".join(f"{name} ({size:,} bytes)" for size, name in sorted(sizes)[-1:-6:-1])
    raise ValueError(
        f"GraphDef cannot be larger than 2GB; the largest constants are {largest}. Feed these values, or load "
        "them into variables, instead of keeping them in the graph."
    )


# -- op definitions ------------------------------------------------------------------------------------


@cache
def to_op_def(cls: type[OpDef]) -> Any:
    """The OpDef message of an op class."""
    message = op_def_pb2.OpDef(name=cls.op_type, is_stateful=cls.stateful)
    for arg in cls.input_args:
        _arg_to_proto(arg, message.input_arg.add())
    for arg in cls.output_args:
        _arg_to_proto(arg, message.output_arg.add())
    for attr in cls.attr_defs.values():
        _attr_def_to_proto(attr, message.attr.add())
    return message


def _arg_to_proto(arg: ArgDef, message: Any) -> None:
    message.name = arg.name
    message.is_ref = arg.ref
    if arg.dtype is not None:
        message.type = arg.dtype.as_datatype_enum
    message.type_attr = arg.type_attr or ""
    message.number_attr = arg.number_attr or ""
    message.type_list_attr = arg.type_list_attr or ""


def _attr_def_to_proto(attr: AttrDef, message: Any) -> None:
    message.name, message.type = attr.name, attr.type
    if not attr.required and attr.default is not None:
        attr_to_proto(convert(attr.default, attr, message.name), attr.type, message.default_value)
    if attr.minimum is not None:
        message.has_minimum, message.minimum = True, attr.minimum
    if attr.allowed is not None:
        allowed = message.allowed_values.list
        if attr.type in ("type", "list(type)"):
            allowed.type.extend(sorted(d.as_datatype_enum for d in attr.allowed))
        else:
            allowed.s.extend(a if isinstance(a, bytes) else a.encode() for a in attr.allowed)


def _check_counts(cls: type[OpDef], attrs: dict[str, Any], node: Any) -> None:
    """InvalidArgumentError for lists of so many inputs or outputs that they cannot be meant."""
    for args, most in ((cls.input_args, len(node.input)), (cls.output_args, _MAX_OUTPUTS)):
        for arg in args:
            count = attrs[arg.number_attr] if arg.number_attr is not None else 0
            if not 0 <= count <= most:
                raise errors.InvalidArgumentError(
                    None,
                    None,
                    f"NodeDef '{node.name}' (op: '{node.op}'): attr '{arg.number_attr}' is {count}, but '{arg.name}' can "
                    f"have 0 to {most} tensors",
                )


def definition_from_node(node: Any, name: str | None = None) -> tuple[OpDef, dict[str, Any]]:
    """The op definition bound to a NodeDef's attrs, and the attrs that are the node's own ("_class" ...); errors call
    the node `name`.

    Raises NotFoundError for an unknown op type, InvalidArgumentError for a missing or malformed attr.
    """
    cls = registry.lookup(node.op)
    shown = name or node.name
    attrs: dict[str, Any] = {}
    for name, attr in cls.attr_defs.items():
        try:
            if name in node.attr:
                value = attr_from_proto(node.attr[name])
                attrs[name] = convert(() if value is None else value, attr, node.op)
                if value is None and not attr.type.startswith("list("):
                    raise ValueError("it has no value")
            elif attr.required:
                raise errors.InvalidArgumentError(
                    None,
                    None,
                    f"NodeDef missing attr '{name}' from Op<name={node.op}>; NodeDef: {{{{node {shown}}}}}",
                )
            else:
                attrs[name] = None if attr.default is None else convert(attr.default, attr, node.op)
            if attrs[name] is not None:
                check_allowed(attrs[name], attr, node.op, None)
        except (TypeError, ValueError, OverflowError) as error:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"NodeDef '{node.name}' (op: '{node.op}'): attr '{name}' is not valid: {error}",
            ) from error
    _check_counts(cls, attrs, node)
    extra: dict[str, Any] = {}
    for name in node.attr:
        if name in cls.attr_defs:
            continue
        value = attr_from_proto(node.attr[name])
        if name.startswith("_"):
            extra[name] = value
        elif not is_neutral(name, () if value is None else value):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"NodeDef mentions attr '{name}' not in Op<name={node.op}>; NodeDef: {{{{node {shown}}}}}. (Check "
                "whether your GraphDef-interpreting binary is up to date with your GraphDef-generating binary.).",
            )
    return cls(attrs), extra
