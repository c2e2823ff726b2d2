"""Handles of resources as bytes that a program can keep and feed (TensorFlow: `ResourceHandleProto`)."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from flowmesh.core.errors import InvalidArgumentError
from flowmesh.proto import resource_handle_pb2


def encode(device: str, container: str, name: str, type_name: str) -> bytes:
    """The message for a resource."""
    message = resource_handle_pb2.ResourceHandleProto(
        device=device, container=container, name=name, maybe_type_name=type_name
    )
    return message.SerializeToString(deterministic=True)


def decode(data: bytes) -> tuple[str, str, str, str]:
    """(device, container, name, type name); InvalidArgumentError for bytes that are no handle."""
    message = resource_handle_pb2.ResourceHandleProto()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidArgumentError(
            None, None, "string_handle could not be parsed as a resource handle"
        ) from error
    return message.device, message.container, message.name, message.maybe_type_name
