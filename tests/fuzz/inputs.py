"""Inputs for a server, most of them nearly right: graphs, calls, frames and bytes, drawn from a `random.Random`."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core import dtypes
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.direct import frames
from flowmesh.formats.tensor import to_tensor_proto
from flowmesh.graph import registry
from flowmesh.graph.op_def import REQUIRED
from flowmesh.proto import graph_pb2, types_pb2

# Compiling takes a while, and is not what is looked for here.
# other test modules define ops of their own, some of which end the process
OP_TYPES = sorted(
    t
    for t, cls in registry._OPS.items()
    if not cls.xla_only and cls.__module__.startswith("flowmesh.")
)

_INTS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 1 << 16, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1)
_TEXTS = (b"", b"a", b"/", b"NHWC", b"SAME", b"\xff\xfe", b"x" * 300, b"/etc/passwd", b"none")
_TYPES = (
    dtypes.float32,
    dtypes.int32,
    dtypes.int64,
    dtypes.string,
    dtypes.bool,
    dtypes.float64,
    dtypes.complex64,
    dtypes.uint8,
    dtypes.float16,
    dtypes.qint8,
    dtypes.resource,
    dtypes.variant,
)
MASTER_METHODS = tuple(messages.MASTER_PATHS)
WORKER_METHODS = tuple(messages.WORKER_PATHS)


def array(r: random.Random, dtype: Any) -> np.ndarray:
    """A small tensor, at times with hostile numbers."""
    rank = r.choice((0, 0, 1, 1, 1, 2, 2, 3, 4))
    shape = [r.choice((0, 1, 1, 2, 2, 3, 4)) for _ in range(rank)]
    count = int(np.prod(shape))
    if dtype == dtypes.string:
        flat = np.empty(count, object)
        flat[:] = [r.choice(_TEXTS) for _ in range(count)]
        return flat.reshape(shape)
    kind = np.dtype(dtype.as_numpy_dtype)
    wild = r.random() < 0.3
    if dtype.is_integer or dtype == dtypes.bool:
        values = [r.choice(_INTS) if wild else r.randint(0, 3) for _ in range(count)]
        wrapped = np.array([v & 0xFFFFFFFFFFFFFFFF for v in values], np.uint64)
        return wrapped.astype(kind).reshape(shape)
    pool = (0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e38)
    floats = [r.choice(pool) if wild else r.uniform(-2, 2) for _ in range(count)]
    with np.errstate(all="ignore"):
        return np.array(floats, np.float64).astype(kind).reshape(shape)


class GraphMaker:
    """Builds one GraphDef."""

    def __init__(self, r: random.Random):
        self.r = r
        self.graph = graph_pb2.GraphDef()
        self.graph.versions.producer = 134
        self.outputs: list[tuple[str, Any]] = []

    def make(self) -> Any:
        """A graph of a few nodes."""
        for _ in range(self.r.choice((1, 1, 2, 3, 5))):
            self.node(self.r.choice(OP_TYPES))
        return self.graph

    def node(self, op_type: str) -> None:
        """A node of that type, with inputs made for it or taken from earlier nodes."""
        r, cls = self.r, registry.lookup(op_type)
        values: dict[str, Any] = {}
        for attr in cls.attr_defs.values():
            values[attr.name] = self._attr(attr)
        inputs: list[str] = []
        for arg in cls.input_args:
            for dtype in self._dtypes(arg, values):
                inputs.append(self._input(dtype, arg.ref))
        name = self._name()
        node = self.graph.node.add(name=name, op=op_type)
        for key, (kind, value) in values.items():
            if value is not None and r.random() > 0.01:
                _write(node.attr[key], kind, value)
        node.input.extend(inputs)
        if r.random() < 0.03:
            node.device = r.choice(("/cpu:0", "/gpu:7", "//x", "/job:local/task:9"))
        if r.random() < 0.03:
            node.input.append(r.choice(("^n0", "^zz", "n0:7", ":", "n0:-1", name)))
        made = [d for arg in cls.output_args for d in self._dtypes(arg, values)]
        self.outputs += [(f"{name}:{i}", dtype) for i, dtype in enumerate(made)]

    def _name(self) -> str:
        return f"n{len(self.graph.node)}"

    def _dtypes(self, arg: Any, values: dict[str, Any]) -> list[Any]:
        if arg.type_list_attr is not None:
            return list(values[arg.type_list_attr][1] or ())[:8]
        dtype = arg.dtype
        if dtype is None:
            dtype = values[arg.type_attr][1] or dtypes.float32
        count = 1
        if arg.number_attr is not None:
            count = values[arg.number_attr][1] or 0
        return [dtype] * max(0, min(count, 6))

    def _input(self, dtype: Any, ref: bool) -> str:
        r = self.r
        fitting = [name for name, have in self.outputs if have == dtype]
        if fitting and (ref or r.random() < 0.4):
            return r.choice(fitting)
        if ref or dtype in (dtypes.resource, dtypes.variant) or dtype.is_quantized:
            return self._source(dtype)
        node = self.graph.node.add(name=self._name(), op="Const")
        node.attr["dtype"].type = dtype.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(to_tensor_proto(array(r, dtype), dtype))
        if r.random() < 0.5:
            return node.name
        # No shape function knows what comes out of this: the kernel has to look for itself.
        hidden = self.graph.node.add(name=self._name(), op="PlaceholderWithDefault")
        hidden.input.append(node.name)
        hidden.attr["dtype"].type = dtype.as_datatype_enum
        hidden.attr["shape"].shape.unknown_rank = True
        return hidden.name

    def _source(self, dtype: Any) -> str:
        """A variable, a queue or a placeholder."""
        name = self._name()
        op = {dtypes.resource: "VarHandleOp", dtypes.string: "FIFOQueue"}.get(dtype, "VariableV2")
        if dtype in (dtypes.resource, dtypes.string) and self.r.random() < 0.3:
            op = "FIFOQueueV2" if dtype == dtypes.resource else "VariableV2"
        node = self.graph.node.add(name=name, op=op)
        if op.startswith("FIFO"):
            node.attr["component_types"].list.type.append(types_pb2.DT_FLOAT)
        else:
            base = dtypes.float32 if dtype == dtypes.resource else dtype
            node.attr["dtype"].type = base.as_datatype_enum
            node.attr["shape"].shape.dim.add(size=self.r.choice((0, 1, 2, 3)))
        return name

    def _attr(self, attr: Any) -> tuple[str, Any]:
        r, kind = self.r, attr.type
        if attr.default is not REQUIRED and r.random() < 0.6:
            return kind, None if kind not in ("type", "int", "list(type)") else attr.default
        if kind.startswith("list("):
            allowed = attr.allowed
            count = r.choice((0, 1, 1, 2, 3, 4, 4, 5))
            return kind, [self._scalar(kind[5:-1], allowed) for _ in range(count)]
        return kind, self._scalar(kind, attr.allowed)

    def _scalar(self, kind: str, allowed: Any) -> Any:
        r = self.r
        if allowed and r.random() < 0.97:
            options = sorted(allowed, key=str)
            value = r.choice(options)
            return value.encode() if isinstance(value, str) else value
        if kind == "type":
            return r.choice(_TYPES)
        if kind == "int":
            return r.choice(_INTS) if r.random() < 0.3 else r.randint(0, 4)
        if kind == "float":
            return r.choice((0.0, 1.0, -1.0, float("nan"), float("inf"), 0.5))
        if kind == "bool":
            return r.random() < 0.5
        if kind == "string":
            return r.choice(_TEXTS)
        if kind == "shape":
            return [r.choice((-1, 0, 1, 2, 3, -7, 1 << 40)) for _ in range(r.randint(0, 3))]
        if kind == "tensor":
            return array(r, r.choice(_TYPES[:6]))
        return None


def _write(proto: Any, kind: str, value: Any) -> None:
    if kind.startswith("list("):
        proto.list.SetInParent()
        for item in value:
            one = type(proto)()
            _write(one, kind[5:-1], item)
            field = one.WhichOneof("value")
            if field is not None:
                getattr(proto.list, field).extend([getattr(one, field)])
    elif kind == "type":
        proto.type = value.as_datatype_enum
    elif kind == "int":
        proto.i = value
    elif kind == "float":
        proto.f = value
    elif kind == "bool":
        proto.b = bool(value)
    elif kind == "string":
        proto.s = value
    elif kind == "shape":
        proto.shape.SetInParent()
        for size in value:
            proto.shape.dim.add(size=size)
    elif kind == "tensor":
        proto.tensor.CopyFrom(to_tensor_proto(value))


def graph_def(r: random.Random) -> Any:
    """A GraphDef; one in four is damaged as bytes."""
    made = GraphMaker(r).make()
    return damaged(r, made) if r.random() < 0.25 else made


def damaged(r: random.Random, message: Any) -> Any:
    """The message with a few of its bytes changed, if that is a message still."""
    data = bytearray(message.SerializeToString())
    for _ in range(r.randint(1, 4)):
        if data:
            data[r.randrange(len(data))] = r.choice((0, 1, 0x7F, 0x80, 0xFF, r.randrange(256)))
    try:
        return type(message).FromString(bytes(data))
    except Exception:
        return message


def call(r: random.Random) -> tuple[str, bytes]:
    """A method, and a request for it: made up field by field, or any bytes."""
    method = r.choice(MASTER_METHODS + WORKER_METHODS * 2)
    if r.random() < 0.1:
        return method, r.randbytes(r.randint(0, 60))
    request = messages.request_type(method)()
    fill(r, request, 3)
    data = bytearray(request.SerializeToString())
    if data and r.random() < 0.2:
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    return method, bytes(data)


def fill(r: random.Random, message: Any, depth: int) -> None:
    """Sets some fields of a message."""
    for field in message.DESCRIPTOR.fields:
        if r.random() < 0.4:
            continue
        if field.message_type is not None:
            if depth and field.message_type.GetOptions().map_entry is False:
                _fill_message(r, message, field, depth)
            continue
        values = [_plain(r, field) for _ in range(r.randint(0, 2))]
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        elif values:
            setattr(message, field.name, values[0])


def _fill_message(r: random.Random, message: Any, field: Any, depth: int) -> None:
    target = getattr(message, field.name)
    if field.is_repeated:
        for _ in range(r.randint(0, 2)):
            fill(r, target.add(), depth - 1)
    elif field.message_type.name == "GraphDef":
        target.CopyFrom(graph_def(r))
    elif field.message_type.name == "TensorProto" and r.random() < 0.5:
        target.CopyFrom(to_tensor_proto(array(r, r.choice(_TYPES[:6]))))
    elif field.message_type.name not in ("ClusterDef", "ServerDef"):
        fill(r, target, depth - 1)


_DEVICE = "/job:local/replica:0/task:0/device:CPU:0"


def _plain(r: random.Random, field: Any) -> Any:
    kinds = type(field)
    if field.type in (kinds.TYPE_STRING, kinds.TYPE_BYTES):
        key = f"{_DEVICE};0000000000000001;{_DEVICE};x:0;0:0"
        text = r.choice(("", "a", "n0", "n0:0", "n1:0", key, ";;;;", key[:-3], "x" * 99))
        return text.encode() if field.type == kinds.TYPE_BYTES else text
    if field.type == kinds.TYPE_BOOL:
        return r.random() < 0.5
    if field.type == kinds.TYPE_ENUM:
        return r.choice(list(field.enum_type.values)).number
    if field.type in (kinds.TYPE_FLOAT, kinds.TYPE_DOUBLE):
        return r.choice((0.0, 1.0, -1.0, float("nan"), float("inf")))
    if field.type in (kinds.TYPE_UINT32, kinds.TYPE_UINT64, kinds.TYPE_FIXED64):
        return r.choice((0, 1, 2, 255, (1 << 32) - 1))
    return r.choice((0, 1, -1, 2, 100, (1 << 31) - 1, -(1 << 31)))


def stream(r: random.Random) -> bytes:
    """What somebody sends on the direct plane after the greeting."""
    parts = []
    for _ in range(r.randint(1, 3)):
        kind = r.choice([*map(int, frames.Kind), 0, 99, 65535])
        head = r.choice(
            (
                r.randbytes(r.randint(0, 48)),
                frames.pack_strings([r.choice(("", "a", "n0:0", "x" * 50)) for _ in range(3)]),
                struct.pack("<qdB7x", r.choice(_INTS), -1.0, r.choice((0, 1, 2, 3, 4, 12, 255)))
                + frames.pack_strings(["", "a"]),
                struct.pack("<dB7x", r.choice((0.0, -1.0, 0.2)), r.choice((0, 1, 2, 3, 255)))
                + b"".join(frames.pack_strings(["", "a"][: r.randint(0, 2)]) for _ in range(3)),
            )
        )
        tensors = [
            frames.encode(array(r, r.choice(_TYPES[:6]))) for _ in range(r.choice((0, 0, 1, 2)))
        ]
        parts.append(bytes(frames.frame(kind, r.randint(0, 9), head, tensors, r.choice((0, 1, 9)))))
    data = bytearray(b"".join(parts))
    for _ in range(r.choice((0, 1, 1, 3))):
        data[r.randrange(len(data))] = r.choice((0, 1, 0xFF, r.randrange(256)))
    return bytes(data[: r.randint(1, len(data))]) if r.random() < 0.2 else bytes(data)
