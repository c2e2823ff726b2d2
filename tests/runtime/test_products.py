"""Matrix products in pieces are NumPy's products, with the same bits whoever computes the pieces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.runtime import cost, helpers, products
from flowmesh.runtime.blas import single_thread
from flowmesh.runtime.helpers import Helper, Piece
from tests.runtime.helping import LIMIT, Team, in_time

SIZES = [
    (2, 3, 2),
    (3, 2, 2),
    (2, 2, 3),
    (31, 7, 31),
    (32, 8, 33),
    (33, 9, 32),
    (47, 1, 49),
    (1, 50, 100),
    (100, 50, 1),
    (128, 784, 100),
    (100, 128, 784),
    (257, 129, 63),
    (63, 129, 257),
]
"""Rows, what is summed over, and columns."""
SHARED = (128, 784, 100)
FLIPS = [(False, False), (False, True), (True, False), (True, True)]


class Alone(Helper):
    """One that never comes; notes what it is offered."""

    def __init__(self) -> None:
        super().__init__(wanted=lambda: False)
        self.offers = 0
        self.shapes: list[tuple[int, ...]] = []
        """Of what the latest pieces give."""

    def share(self, pieces: list[Piece], is_last: bool = False) -> None:
        self.offers += 1
        self.shapes = [arguments[2].shape for _, arguments in pieces]
        super().share(pieces, is_last)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Alone:
    made = Alone()
    monkeypatch.setattr(products, "helper", lambda: made)
    return made


@pytest.fixture
def team() -> Iterator[Team]:
    made = Team(helpers.make_gate)
    yield made
    made.dismiss()


def matrices(size: tuple[int, int, int], dtype: Any, flips: tuple[bool, bool]) -> tuple[Any, Any]:
    """Factors of a product of this size, stored the other way round where they are to be flipped."""
    rows, inner, columns = size
    rng = np.random.default_rng(rows + 7 * inner + 31 * columns)
    a, b = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    a, b = (a.T if flips[0] else a), (b.T if flips[1] else b)
    return np.ascontiguousarray(a, dtype), np.ascontiguousarray(b, dtype)


def matmul(dtype: dtypes.DType, flips: tuple[bool, bool] = (False, False)) -> Operation:
    """A MatMul of matrices whose sizes are open."""
    with Graph().as_default():
        a, b = raw.Placeholder(dtype=dtype), raw.Placeholder(dtype=dtype)
        return raw.MatMul(a, b, transpose_a=flips[0], transpose_b=flips[1]).op


def close(got: Any, a: Any, b: Any) -> bool:
    """Whether `got` is `a @ b` but for the last bits, which depend on the order of the sums."""
    epsilon = np.finfo(got.dtype).eps
    bound = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    return bool(np.all(np.abs(got - wanted) <= a.shape[1] * epsilon * bound + epsilon))


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_a_product_in_pieces_is_the_product(
    size: tuple[int, int, int], dtype: Any, flips: tuple[bool, bool], alone: Alone
) -> None:
    a, b = matrices(size, dtype, flips)
    a, b = (a.T if flips[0] else a), (b.T if flips[1] else b)
    got = products.product(a, b)
    assert got.shape == (size[0], size[2]) and got.dtype == dtype
    assert got.flags.c_contiguous and got.flags.writeable
    assert close(got, a, b)
    np.testing.assert_allclose(got, np.matmul(a, b), rtol=1e-4, atol=1e-4)
    assert alone.offers == 1


@pytest.mark.parametrize(
    ("rows", "columns", "shapes"),
    [
        (128, 100, [(56, 100), (72, 100)]),
        (100, 784, [(100, 360), (100, 424)]),
        (100, 100, [(44, 100), (56, 100)]),
        (31, 30, [(15, 30), (16, 30)]),
    ],
)
def test_the_longer_side_is_divided(
    rows: int, columns: int, shapes: list[tuple[int, int]], alone: Alone
) -> None:
    products.product(np.ones((rows, 8)), np.ones((8, columns)))
    assert alone.shapes == shapes


@pytest.mark.parametrize("size", range(2, 200))
def test_the_caller_takes_a_little_more(size: int) -> None:
    larger = products._larger(size)
    assert 0 < larger < size
    assert 0 <= 2 * larger - size <= (1 if size < 64 else 0.08 * size + 16)
    assert size < 64 or larger % 8 == 0


@pytest.mark.parametrize("size", [(128, 784, 100), (100, 128, 784), (63, 129, 257)])
@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_are_the_same_whoever_computes_them(
    size: tuple[int, int, int],
    flips: tuple[bool, bool],
    dtype: Any,
    team: Team,
    alone: Alone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = matrices(size, dtype, flips)
    a, b = (a.T if flips[0] else a), (b.T if flips[1] else b)

    class Both:
        """Has both pieces computed at the same time."""

        def share(self, pieces: list[Piece], is_last: bool = False) -> None:
            barrier = threading.Barrier(2)

            def met(piece: Piece) -> None:
                barrier.wait(LIMIT)
                piece[0](*piece[1])

            team.helper.share([(met, (piece,)) for piece in pieces])

    def together() -> list[Any]:
        with team.called():
            return [products.product(a, b) for _ in range(5)]

    with single_thread:
        expected = products.product(a, b)
        monkeypatch.setattr(products, "helper", Both)
        found = in_time(together)
    for got in found:
        np.testing.assert_array_equal(got, expected, strict=True)
    assert team.helper.taken == 5


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64])
@pytest.mark.parametrize("size", [*SIZES, (400, 400, 400)])
def test_the_kernel_is_that_of_matmul(
    size: tuple[int, int, int], dtype: dtypes.DType, flips: tuple[bool, bool], alone: Alone
) -> None:
    op = matmul(dtype, flips)
    a, b = matrices(size, dtype.as_numpy_dtype, flips)
    got, expected = products.shared_kernel(op)(np, a, b), op.definition.compute(np, a, b)
    assert got.shape == expected.shape and got.dtype == expected.dtype
    assert close(got, a.T if flips[0] else a, b.T if flips[1] else b)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    worth = size[0] * size[1] * size[2] >= products.WORTH * cost.MULTIPLY_ADDS_PER_UNIT
    assert alone.offers == worth
    if not worth:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("more", "offers"), [(-1, 0), (0, 1)])
def test_what_is_worth_it_is_shared(more: int, offers: int, alone: Alone) -> None:
    inner = products.WORTH * cost.MULTIPLY_ADDS_PER_UNIT // (100 * 100) + more
    a, b = np.ones((100, inner), np.float32), np.ones((inner, 100), np.float32)
    got = products.shared_kernel(matmul(dtypes.float32))(np, a, b)
    assert np.all(got == inner)
    assert alone.offers == offers


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (5, 3, 0), (0, 0, 0)])
def test_empty_products(shape: tuple[int, int, int], alone: Alone) -> None:
    rows, inner, columns = shape
    a, b = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    got = products.shared_kernel(matmul(dtypes.float32))(np, a, b)
    np.testing.assert_array_equal(got, np.zeros((rows, columns), np.float32), strict=True)
    assert alone.offers == 0


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (4, 5)),
        ((300, 301), (302, 303)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((), (2, 2)),
        ((2, 2, 2), (2, 2)),
        ((300, 300), (1, 300, 300)),
    ],
)
def test_the_errors_are_those_of_matmul(
    a: tuple[int, ...], b: tuple[int, ...], flips: tuple[bool, bool], alone: Alone
) -> None:
    op = matmul(dtypes.float32, flips)
    given = np.zeros(a, np.float32), np.zeros(b, np.float32)
    with pytest.raises(InvalidArgumentError) as expected:
        op.definition.compute(np, *given)
    with pytest.raises(InvalidArgumentError) as got:
        products.shared_kernel(op)(np, *given)
    assert str(got.value) == str(expected.value)
    assert alone.offers == 0


def test_numbers_that_are_none_are_products_too(alone: Alone) -> None:
    a, b = matrices(SHARED, np.float32, (False, False))
    a[3, 5], a[100, 7], b[9, 2] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            products.product(a, b), np.matmul(a, b), rtol=1e-3, atol=1e-3, strict=True
        )


@pytest.mark.parametrize(
    ("dtype", "shared"),
    [
        (dtypes.float32, True),
        (dtypes.float64, True),
        (dtypes.float16, False),
        (dtypes.bfloat16, False),
        (dtypes.int32, False),
        (dtypes.complex64, False),
    ],
)
def test_products_of_plain_floats_can_be_shared(dtype: dtypes.DType, shared: bool) -> None:
    assert products.can_be_shared(matmul(dtype)) == shared


def test_a_product_with_a_variable_can_be_shared() -> None:
    with Graph().as_default():
        x = raw.Placeholder(dtype=dtypes.float32, shape=[2, 2])
        w = raw.VariableV2(shape=[2, 2], dtype=dtypes.float32)
        assert products.can_be_shared(raw.MatMul(w, x).op)


def test_other_ops_cannot_be_shared() -> None:
    with Graph().as_default():
        x = raw.Placeholder(dtype=dtypes.float32, shape=[2, 2, 2])
        for result in (raw.BatchMatMul(x, x), raw.Mul(x, x), raw.Exp(x)):
            assert not products.can_be_shared(result.op)


@pytest.mark.parametrize(
    ("product", "rest", "mostly"),
    [(300, 100, True), (299, 100, False), (300, 101, False), (1, 0, True), (0, 1, False)],
)
def test_three_quarters_are_most(product: int, rest: int, mostly: bool) -> None:
    first, second = matmul(dtypes.float32), matmul(dtypes.float64)
    others = [matmul(dtypes.int32), matmul(dtypes.float16)]
    works = [(first, product // 3), (second, product - product // 3)]
    works += [(others[0], rest // 2), (others[1], rest - rest // 2)]
    assert products.mostly_products(works) == mostly
    assert products.mostly_products(works[::-1]) == mostly
