"""Between plain objects and the messages of MasterService and WorkerService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flowmesh.core import errors, limits
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure
from flowmesh.distributed.interfaces import DeviceAttributes
from flowmesh.formats.tensor import from_tensor_proto, to_tensor_proto
from flowmesh.proto import (
    device_attributes_pb2,
    master_pb2,
    resource_handle_pb2,
    tensor_pb2,
    types_pb2,
    worker_pb2,
)
from flowmesh.resources.handle import ResourceHandle
from flowmesh.resources.manager import Resource
from flowmesh.runtime.rendezvous import parse_key
from flowmesh.runtime.values import DEAD

_MASTER = "/tensorflow.MasterService/"
_WORKER = "/tensorflow.WorkerService/"
_MASTER_METHODS = (
    "CreateSession",
    "ExtendSession",
    "PartialRunSetup",
    "RunStep",
    "CloseSession",
    "ListDevices",
    "Reset",
    "MakeCallable",
    "RunCallable",
    "ReleaseCallable",
)
_WORKER_METHODS = (
    "GetStatus",
    "CreateWorkerSession",
    "DeleteWorkerSession",
    "RegisterGraph",
    "DeregisterGraph",
    "RunGraph",
    "CleanupGraph",
    "CleanupAll",
    "RecvTensor",
    "Logging",
    "Tracing",
    "MarkRecvFinished",
)

MASTER_PATHS = {name: _MASTER + name for name in _MASTER_METHODS}
WORKER_PATHS = {name: _WORKER + name for name in _WORKER_METHODS}

TIMEOUT_HEADER = "flowmesh-timeout-ms"
"""Tells how long a run may take, so that the task can say what it waited for before the call itself times out."""


def request_type(method: str) -> Any:
    """The message class of a method's request."""
    module = master_pb2 if method in MASTER_PATHS else worker_pb2
    return getattr(module, f"{method}Request")


def response_type(method: str) -> Any:
    """The message class of a method's response."""
    module = master_pb2 if method in MASTER_PATHS else worker_pb2
    return getattr(module, f"{method}Response")


# -- tensors -------------------------------------------------------------------------------------------


def value_to_proto(value: Any) -> Any:
    """A runtime value as a TensorProto; InvalidArgumentError for one that cannot leave its task."""
    if isinstance(value, (Resource, ResourceHandle)):
        return _handle_to_proto(value)
    try:
        return to_tensor_proto(np.asarray(value), as_content=True)
    except (TypeError, ValueError) as error:
        raise errors.InvalidArgumentError(
            None, None, f"A {type(value).__name__} cannot be sent to another task: {error}"
        ) from error


def _handle_to_proto(value: Any) -> Any:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_RESOURCE)
    proto.tensor_shape.SetInParent()
    proto.resource_handle_val.append(
        resource_handle_pb2.ResourceHandleProto(
            device=getattr(value, "device", ""),
            container=getattr(value, "container", ""),
            name=getattr(value, "name", ""),
            maybe_type_name=value.type_name,
        )
    )
    return proto


def value_from_proto(proto: Any) -> Any:
    """The runtime value of a TensorProto: an array, or a ResourceHandle. InvalidArgumentError where it is malformed."""
    array = from_tensor_proto(proto)
    if not proto.tensor_content and array.nbytes > limits.current().tensor:
        limits.check_shape(array.shape, array.itemsize)  # one value stands for many
    if proto.dtype == types_pb2.DT_RESOURCE and array.size == 1:
        handle = array.reshape(-1)[0]
        return ResourceHandle(handle.device, handle.container, handle.name, handle.maybe_type_name)
    return array


def dead_proto() -> Any:
    """What stands for the value of a dead tensor."""
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    proto.tensor_shape.dim.add(size=0)
    return proto


def fill_named(field: Any, values: Iterable[tuple[str, Any]]) -> None:
    """Appends named tensors to a repeated field."""
    for name, value in values:
        entry = field.add(name=name)
        entry.tensor.CopyFrom(value_to_proto(value))


def named_values(field: Any) -> list[tuple[str, Any]]:
    """The names and values of a repeated field of named tensors."""
    return [(entry.name, value_from_proto(entry.tensor)) for entry in field]


def delivery_from_proto(response: Any) -> tuple[Any, bool]:
    """The value of a RecvTensorResponse, and whether it is dead."""
    if response.is_dead:
        return DEAD, True
    return value_from_proto(response.tensor), False


def tensor_name_of(key: str) -> str:
    """The tensor that a rendezvous key, or a plain name, means."""
    return parse_key(key)[3] if ";" in key else key


def keyed(names: Sequence[str], keys: Mapping[str, str]) -> list[str]:
    """The rendezvous keys of feeds or fetches."""
    return [keys.get(name, name) for name in names]


# -- devices -------------------------------------------------------------------------------------------


def device_to_proto(device: DeviceAttributes) -> Any:
    """A DeviceAttributes message."""
    proto = device_attributes_pb2.DeviceAttributes(
        name=device.name,
        device_type=device.device_type,
        memory_limit=device.memory_limit,
        incarnation=device.incarnation & 0xFFFFFFFFFFFFFFFF,
        physical_device_desc=device.physical_device_desc,
    )
    proto.locality.SetInParent()
    if device.bus_id or device.numa_node:
        proto.locality.bus_id, proto.locality.numa_node = device.bus_id, device.numa_node
    return proto


def device_from_proto(proto: Any) -> DeviceAttributes:
    """The plain form of a DeviceAttributes message."""
    return DeviceAttributes(
        proto.name,
        proto.device_type,
        proto.memory_limit,
        proto.incarnation,
        proto.physical_device_desc,
        proto.locality.bus_id,
        proto.locality.numa_node,
    )


# -- errors --------------------------------------------------------------------------------------------


def store_error(response: Any, error: OpError) -> None:
    """Writes an error into a response that has fields for it."""
    code, message = failure.to_wire(error)
    # A code that is none of TensorFlow's would be lost on the way.
    response.status_code = code if 0 < code <= errors.UNAUTHENTICATED else errors.UNKNOWN
    response.status_error_message = message


def stored_error(response: Any) -> OpError | None:
    """The error that a response carries, or None."""
    if not response.status_code:
        return None
    return failure.from_wire(response.status_code, response.status_error_message)
