"""What rows of the op table cannot say: kernel errors, gradients through symmetric matrices, operators on values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flowmesh.ops  # noqa: F401
from flowmesh.core import dtypes, errors
from flowmesh.graph.composite import IndexedSlices, SparseTensor
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import clip, contraction, math_functions, matrix_functions, reduce_functions
from flowmesh.ops.constant import constant
from tests.ops.interpreter import evaluate

SQUARE = np.array([[3.0, 0.5, -0.4], [0.7, 2.5, 0.3], [-0.2, 0.6, 4.0]])


def run(build: Callable[[], Any]) -> Any:
    """The value of a tensor built in a new graph."""
    with Graph().as_default():
        return evaluate([build()], {})[0]


FAILURES: list[tuple[str, Callable[[], Any]]] = [
    ("Integer division by zero", lambda: constant([1, 2]) // 0),
    ("Integer division by zero", lambda: constant([1, 2]) % 0),
    ("Integers to negative integer powers are not allowed", lambda: constant([1, 2]) ** -1),
    ("Input is not invertible.", lambda: raw.MatrixInverse([[1.0, 1.0], [1.0, 1.0]])),
    ("Cholesky decomposition was not successful", lambda: raw.Cholesky([[1.0, 2.0], [2.0, 1.0]])),
    ("Input matrix is not invertible.", lambda: raw.MatrixSolve([[0.0]], [[1.0]])),
    ("segment ids are not increasing", lambda: raw.SegmentSum([1.0, 2.0, 3.0], [1, 0, 2])),
    (
        r"segment_ids\[1\] = 5 is out of range \[0, 3\)",
        lambda: raw.UnsortedSegmentSum([1.0, 2.0], [0, 5], 3),
    ),
    (
        r"Bad: indices\[2\] == 5 out of range \[0, 3\)",
        lambda: raw.SparseSegmentMean([1.0, 2.0, 3.0], [0, 1, 5], [0, 0, 1]),
    ),
    ("Input arr must be non-negative!", lambda: raw.Bincount([1, -1], 2, np.array([], np.int32))),
    (
        r"Reduction axis 0 is empty in shape \[0,2\]",
        lambda: raw.ArgMax(np.zeros([0, 2], np.float32), 0),
    ),
    ("input must be at least 2-dim", lambda: raw.MatrixBandPart([1.0, 2.0], 0, 0)),
]


@pytest.mark.parametrize(("message", "build"), FAILURES, ids=[m[:24] for m, _ in FAILURES])
def test_kernel_refuses(message: str, build: Callable[[], Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        run(build)


def test_shapes_known_at_run_time_only_are_checked_by_the_kernel() -> None:
    with Graph().as_default():
        x = raw.Placeholder(dtype=dtypes.float32)
        for result in (x + [1.0, 2.0], raw.Less(x, [1.0, 2.0])):
            with pytest.raises(
                errors.InvalidArgumentError, match=r"Incompatible shapes: \[3\] vs. \[2\]"
            ):
                evaluate([result], {x: np.zeros(3, np.float32)})
        total = raw.AddN([raw.Identity([1.0, 2.0]), x])
        with pytest.raises(errors.InvalidArgumentError, match=r"Input 0: \[2\] != input 1: \[3\]"):
            evaluate([total], {x: np.zeros(3, np.float32)})
        product = raw.MatMul(x, [[1.0, 2.0]])
        with pytest.raises(errors.InvalidArgumentError, match="Matrix size-incompatible"):
            evaluate([product], {x: np.zeros([2, 3], np.float32)})


def differences(function: Callable[[Tensor], Tensor], value: np.ndarray) -> tuple[Any, Any]:
    """The built gradient of the sum of `function(x)` squared and the one from central differences."""
    with Graph().as_default():
        x = raw.Placeholder(dtype=dtypes.float64, shape=value.shape)
        y = reduce_functions.reduce_sum(raw.Square(function(x)))
        (built,) = gradients(y, x)
        slope = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * 1e-6
                ends.append(evaluate([y], {x: moved})[0])
            slope[index] = (ends[0] - ends[1]) / 2e-6
        return evaluate([built], {x: value})[0], slope


def symmetric(x: Tensor) -> Any:
    return raw.MatMul(x, x, transpose_b=True) + np.diag([1.0, 2.0, 3.0])


SPECIAL = np.array([[1.0, -0.5, 0.25], [0.75, 2.0, 1.5], [0.5, 0.3, -1.0]])
WEIGHTS = np.array([[1.0, 2.0, 3.0], [0.5, 1.5, 2.5], [2.0, 0.25, 1.0]])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: raw.Cholesky(symmetric(x)) * WEIGHTS,
        lambda x: raw.SelfAdjointEigV2(symmetric(x))[0] * WEIGHTS[0],
        lambda x: raw.Abs(raw.SelfAdjointEigV2(symmetric(x))[1]) * WEIGHTS,
        lambda x: raw.Abs(raw.Svd(x)[1]) * WEIGHTS,
        lambda x: raw.Abs(raw.Svd(x)[2]) * WEIGHTS,
        lambda x: raw.Abs(raw.Svd(x[:2])[2]) * WEIGHTS[:, :2],
        lambda x: raw.Abs(raw.Svd(x[:, :2])[1]) * WEIGHTS[:, :2],
        lambda x: raw.Svd(x[:, :2])[0] * WEIGHTS[0, :2],
        lambda x: clip.clip_by_norm(x, 1.5) * WEIGHTS,
        lambda x: clip.clip_by_global_norm([x, x], 1.5)[0][1] * WEIGHTS,
        lambda x: reduce_functions.reduce_logsumexp(x * WEIGHTS, 1),
        lambda x: reduce_functions.reduce_std(x * WEIGHTS, 0),
        lambda x: matrix_functions.logdet(symmetric(x)),
        lambda x: matrix_functions.norm(x, 2, axis=[0, 1]),
        lambda x: matrix_functions.norm(x, np.inf, axis=[0, 1]),
        lambda x: contraction.einsum("ij,jk,kl->il", x, x, x) * WEIGHTS,
        lambda x: contraction.tensordot(x, x, [[0], [1]]) * WEIGHTS,
    ],
)
def test_gradient_through(function: Callable[[Tensor], Tensor]) -> None:
    built, slope = differences(function, SPECIAL)
    np.testing.assert_allclose(built, slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bij,bik->bjk", [(2, 3, 4), (2, 3, 5)]),
        ("i,j->ij", [(2,), (3,)]),
        ("ij,ij->", [(2, 3), (2, 3)]),
        ("abc,cde->abde", [(2, 3, 4), (4, 5, 2)]),
        ("abc,bad->dc", [(2, 3, 4), (3, 2, 5)]),
        ("ijk->ki", [(2, 3, 4)]),
        ("ij,jk,kl->li", [(2, 3), (3, 4), (4, 5)]),
        ("ba,bc", [(2, 3), (2, 4)]),
    ],
)
def test_einsum_value(equation: str, shapes: list[tuple[int, ...]]) -> None:
    random = np.random.default_rng(1)
    arrays = [random.normal(size=s) for s in shapes]
    got = run(lambda: contraction.einsum(equation, *[constant(a) for a in arrays]))
    np.testing.assert_allclose(got, np.einsum(equation, *arrays), rtol=1e-10)


def test_equality_stays_identity() -> None:
    with Graph().as_default():
        a, b = constant(1.0), constant(1.0)
        assert a == a
        assert a != b
        assert len({a, b}) == 2


def test_sparse_values_keep_their_kind() -> None:
    with Graph().as_default():
        sparse = SparseTensor(
            constant(np.array([[0], [2]], np.int64)), constant([-1.0, 2.0]), np.array([3])
        )
        result = math_functions.abs(sparse)
        assert isinstance(result, SparseTensor)
        np.testing.assert_array_equal(evaluate([result.values], {})[0], [1.0, 2.0])
        slices = IndexedSlices(constant([[3.0, 4.0]]), constant([1]), constant([2, 2]))
        clipped, norm = clip.clip_by_global_norm([slices, None], 1.0)
        assert isinstance(clipped[0], IndexedSlices)
        assert clipped[1] is None
        values = evaluate([clipped[0].values, norm], {})
        np.testing.assert_allclose(values[0], [[0.6, 0.8]], rtol=1e-6)
        np.testing.assert_allclose(values[1], 5.0)
        scaled = math_functions.scalar_mul(2.0, slices)
        assert isinstance(scaled, IndexedSlices)
