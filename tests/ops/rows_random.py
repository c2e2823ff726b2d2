"""Rows of the random ops: ranges and moments here, TensorFlow's very numbers in the modules named below."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.table import Row

FLOATS = ["float16", "bfloat16", "float32", "float64"]
PAIR = np.int64([3, 2**40])
SHAPE = np.int32([40, 25])


def inside(low: float, high: float) -> Any:
    def check(values: Any) -> None:
        assert values.shape == (40, 25)
        assert (values.astype(float) >= low).all()
        assert (values.astype(float) <= high).all()
        assert len(np.unique(values.astype(float))) > 50

    return check


def standard(values: Any) -> None:
    wide = values.astype(float)
    assert abs(wide.mean()) < 0.1
    assert abs(wide.std() - 1) < 0.1


def of_type(op: str, check: Any) -> list[Row]:
    return [Row(op, [SHAPE], {"dtype": t, "seed": 3}, check=check, id=t) for t in FLOATS]


def permuted(values: Any) -> None:
    assert sorted(values.tolist()) == list(range(50))
    assert values.tolist() != list(range(50))


def mostly_last(values: Any) -> None:
    assert values.shape == (2, 100)
    assert (values[0] == 2).mean() > 0.9
    assert (values[1] == 1).all()


LOG_PROBABILITIES = np.float32([[0, 0, 5], [-np.inf, 1, -np.inf]])
ROWS = [
    *of_type("RandomUniform", inside(0, 1)),
    *of_type("RandomStandardNormal", standard),
    *of_type("TruncatedNormal", inside(-2, 2)),
    Row("RandomUniformInt", [SHAPE, np.int32(-5), np.int32(95)], {"seed": 1}, check=inside(-5, 94)),
    Row(
        "RandomUniformInt",
        [SHAPE, np.int64(0), np.int64(2**40)],
        {"seed": 1},
        check=inside(0, 2**40),
    ),
    Row("RandomShuffle", [np.arange(50)], {"seed": 1}, check=permuted),
    Row("Multinomial", [LOG_PROBABILITIES, np.int32(100)], {"seed": 2}, check=mostly_last),
    Row("StatelessRandomUniform", [SHAPE, PAIR], check=inside(0, 1)),
    Row("StatelessRandomNormal", [SHAPE, PAIR], {"dtype": "float64"}, check=standard),
    Row("StatelessTruncatedNormal", [SHAPE, PAIR], check=inside(-2, 2)),
    Row("StatelessRandomUniformInt", [SHAPE, PAIR, 0, 1000], check=inside(0, 999)),
    Row("StatelessMultinomial", [LOG_PROBABILITIES, np.int32(100), PAIR], check=mostly_last),
    Row(
        "RandomGamma",
        [SHAPE, np.float32([0.5])],
        {"seed": 2},
        check=lambda v: inside(0, 50)(v[..., 0]),
    ),
]
