"""`ResourceHandle`: the name of a resource as a value that ops and messages can carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ResourceHandle:
    """Where a resource lives and what it is called (TensorFlow: `ResourceHandleProto`)."""

    device: str
    """The full name of the device, such as `/job:ps/replica:0/task:0/device:CPU:0`."""
    container: str
    """The container on that device's task."""
    name: str
    """The name within the container."""
    type_name: str
    """What kind of resource it is: the `type_name` of a `Resource` class."""
