"""Reads the fixtures that tests/oracle/record_formats.py wrote with TensorFlow 1.15."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from flowmesh.core import dtypes

FIXTURES = Path(__file__).parent / "fixtures"


def rows(name: str) -> list[dict[str, Any]]:
    return json.loads((FIXTURES / name).read_text())


def as_array(row: dict[str, Any]) -> np.ndarray:
    """The array that a recorded row stands for."""
    values, shape, name = row["values"], row["shape"], row["dtype"]
    if name == "string":
        array = np.empty(len(values), object)
        array[:] = [value.encode("latin1") for value in values]
        return array.reshape(shape)
    numpy_dtype = dtypes.as_dtype(name).as_numpy_dtype
    array = np.array(values, np.float64).astype(numpy_dtype)
    if name.startswith("complex"):
        array = (array * (1 + 2j)).astype(numpy_dtype)
    return array.reshape(shape)


def label(row: dict[str, Any]) -> str:
    return f"{row['dtype']}{row['shape']}"
