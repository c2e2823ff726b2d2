"""Whether two programs saw the same."""

from __future__ import annotations

from typing import Any

import numpy as np

TOLERANCE = {"float16": 1e-2, "bfloat16": 1e-2, "float64": 1e-9, "complex128": 1e-9}


def check_same(actual: Any, expected: Any, where: str = "result") -> None:
    """AssertionError, naming the place, unless values, dtypes and shapes agree; floats within rounding."""
    if isinstance(expected, dict) and "dtype" in expected:
        assert isinstance(actual, dict) and "dtype" in actual, (
            f"{where}: {actual} is not {expected}"
        )
        for key in ("dtype", "shape"):
            assert actual[key] == expected[key], (
                f"{where}: {key} {actual[key]} is not {expected[key]}"
            )
        if expected["dtype"] == "string":
            assert actual["data"] == expected["data"], where
            return
        tolerance = TOLERANCE.get(expected["dtype"], 2e-5)
        np.testing.assert_allclose(
            np.asarray(actual["data"], float),
            np.asarray(expected["data"], float),
            rtol=tolerance,
            atol=tolerance,
            err_msg=where,
        )
    elif isinstance(expected, dict):
        assert isinstance(actual, dict) and set(actual) == set(expected), where
        for key, value in expected.items():
            check_same(actual[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, list):
        assert isinstance(actual, list) and len(actual) == len(expected), (
            f"{where}: {actual} is not {expected}"
        )
        for number, (a, e) in enumerate(zip(actual, expected)):
            check_same(a, e, f"{where}[{number}]")
    elif isinstance(expected, float):
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5, err_msg=where)
    else:
        assert actual == expected, f"{where}: {actual!r} is not {expected!r}"
