"""Our op functions under the names that the recorded `tf` programs use."""

from __future__ import annotations

import importlib
import pkgutil
from types import SimpleNamespace
from typing import Any

import flowmesh.ops
from flowmesh.core import dtypes
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw


def vocabulary() -> Any:
    """A module-like object with `nn`, `image`, `raw_ops` and the common names at its top."""
    functions: dict[str, Any] = {}
    for module in pkgutil.iter_modules(flowmesh.ops.__path__):
        loaded = importlib.import_module(f"flowmesh.ops.{module.name}")
        for name, value in vars(loaded).items():
            own = getattr(value, "__module__", None) == loaded.__name__
            if own and not name.startswith("_") and not isinstance(value, type):
                functions[name] = value
    types = {t: getattr(dtypes, t) for t in ("float16", "float32", "int32", "int64", "uint8")}
    return SimpleNamespace(
        **{
            **functions,
            **types,
            "nn": SimpleNamespace(**functions),
            "image": SimpleNamespace(**functions),
            "raw_ops": raw,
            "Graph": Graph,
            "SparseTensor": SparseTensor,
            "gradients": gradients,
            "convert_to_tensor": convert_to_tensor,
        }
    )
