"""Rows of the optimizer updates: what TensorFlow 1.15 made of the same inputs (tests/oracle/training_updates.json)."""

import json
import pathlib

import numpy as np

from tests.ops.table import Row

_RECORD = pathlib.Path(__file__).parents[1] / "oracle" / "training_updates.json"
_DTYPES = {"indices": np.int32, "global_step": np.int64}


def _row(case, number):
    inputs = [
        np.array(value, _DTYPES.get(name, np.float32))
        for name, value in zip(case["names"], case["inputs"])
    ]
    want = tuple(np.array(value, np.float32) for value in case["want"])
    return Row(
        case["op"],
        inputs,
        case["attrs"],
        want=want[0] if len(want) == 1 else want,
        id=str(number),
        rtol=3e-6,
        atol=1e-6,
    )


ROWS = [_row(case, number) for number, case in enumerate(json.loads(_RECORD.read_text()))]
