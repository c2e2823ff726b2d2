"""Small graphs for the tests of passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core import dtypes
from flowmesh.graph import hooks
from flowmesh.graph.raw import raw


@dataclass
class FakeDevice:
    """A device by name and type."""

    name: str
    device_type: str
    physical_device_desc: str = ""


def devices(*names: str) -> list[FakeDevice]:
    """Devices from full names; short ones are of /job:localhost/replica:0/task:0."""
    made = []
    for name in names:
        full = name if name.startswith("/job") else f"/job:localhost/replica:0/task:0/device:{name}"
        made.append(FakeDevice(full, full.rsplit(":", 2)[1]))
    return made


def const(value: Any, name: str = "Const") -> Any:
    """A float32 constant."""
    return hooks.constant(np.asarray(value, np.float32), name=name)


def placeholder(name: str = "x", shape: Any = None, dtype: Any = dtypes.float32) -> Any:
    """A placeholder."""
    return raw.Placeholder(dtype=dtype, shape=shape, name=name)


def variable(name: str = "v", shape: Any = (), dtype: Any = dtypes.float32) -> Any:
    """A ref variable."""
    return raw.VariableV2(shape=shape, dtype=dtype, name=name)
