"""Partial shapes and dimensions."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes, shapes
from flowmesh.core.shapes import Dimension, TensorShape


def text(function: Any, *args: Any) -> str:
    """What a call gives: the repr, or the error."""
    try:
        return repr(function(*args))
    except Exception as e:
        return f"{type(e).__name__}: {e}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "Dimension(None)"),
        (3, "Dimension(3)"),
        ("3", "Dimension(3)"),
        (Dimension(4), "Dimension(4)"),
        (True, "Dimension(1)"),
        (np.int64(3), "Dimension(3)"),
        (np.float32(3), "Dimension(3)"),
        (-1, "ValueError: Dimension -1 must be >= 0"),
        (2.5, "ValueError: Ambiguous dimension: 2.5"),
        (dtypes.float32, "TypeError: Cannot convert <dtype: 'float32'> to Dimension"),
        ("x", "ValueError: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_dimension(value: Any, expected: str) -> None:
    assert text(Dimension, value) == expected


def test_dimension_comparison() -> None:
    d, unknown = Dimension(3), Dimension(None)
    assert (d == 3) is True
    assert (d != 3) is False
    assert (d == "x") is False
    assert (d < 4, d <= 2, d > 2, d >= 4) == (True, False, True, False)
    for result in (unknown == Dimension(None), unknown == 3, d == None, d != None, unknown < 4):  # noqa: E711
        assert result is None
    assert text(lambda: d < "x") == "ValueError: invalid literal for int() with base 10: 'x'"
    assert bool(Dimension(0)) is bool(unknown) is True
    assert text(hash, d) == "TypeError: unhashable type: 'Dimension'"


def test_dimension_arithmetic() -> None:
    d, unknown = Dimension(7), Dimension(None)
    results = [d + 2, 2 + d, d - 2, 9 - d, d * 2, 2 * d, d // 2, 15 // d, d % 4, 9 % d]
    assert [r.value for r in results] == [9, 9, 5, 2, 14, 14, 3, 2, 3, 2]
    for result in (d + None, unknown + 1, 1 - unknown, unknown * d, unknown // 2, 5 % unknown):
        assert result.value is None
    assert text(lambda: d - 9) == "ValueError: Dimension -2 must be >= 0"
    with pytest.raises(TypeError, match="'Dimension' and 'int', please use // instead"):
        _ = d / 2
    with pytest.raises(TypeError, match="'int' and 'Dimension', please use // instead"):
        _ = 14 / d
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = d + [1]
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = 5.5 * d


def test_dimension_other() -> None:
    d, unknown = Dimension(3), Dimension(None)
    assert (int(d), range(5)[d], str(d), str(unknown)) == (3, 3, "3", "?")
    assert d.merge_with(None).value == unknown.merge_with(3).value == 3
    assert text(d.merge_with, 4) == "ValueError: Dimensions 3 and 4 are not compatible"
    assert d.is_compatible_with(unknown) and not d.is_compatible_with(4)
    assert copy.deepcopy(d).value == pickle.loads(pickle.dumps(d)).value == 3
    with pytest.raises(TypeError):
        int(unknown)
    assert shapes.dimension_value(d) == shapes.dimension_value(3) == 3
    assert shapes.as_dimension(d) is d


def proto(*sizes: int, unknown_rank: bool = False) -> Any:
    return SimpleNamespace(dim=[SimpleNamespace(size=s) for s in sizes], unknown_rank=unknown_rank)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "<unknown>"),
        ([], "()"),
        ([1], "(1,)"),
        ((None, 3), "(?, 3)"),
        (3, "(3,)"),
        (["3"], "(3,)"),
        (TensorShape([2]), "(2,)"),
        (Dimension(3), "(3,)"),
        ([Dimension(None), np.int32(4)], "(?, 4)"),
        (np.array([2, 3]), "(2, 3)"),
        (range(2), "(0, 1)"),
        (proto(-1, 2), "(?, 2)"),
        (proto(), "()"),
        (proto(unknown_rank=True), "<unknown>"),
    ],
)
def test_construction(value: Any, expected: str) -> None:
    assert str(TensorShape(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "abc",
            "TypeError: A string has ambiguous TensorShape, "
            "please wrap in a list or convert to an int: abc",
        ),
        ([-1], "ValueError: Dimension -1 must be >= 0"),
        ([1.5], "ValueError: Ambiguous dimension: 1.5"),
        (dtypes.float32, "TypeError: Cannot convert <dtype: 'float32'> to Dimension"),
    ],
)
def test_construction_refuses(value: Any, expected: str) -> None:
    assert text(TensorShape, value) == expected


def test_looks() -> None:
    assert repr(TensorShape([None, 3])) == "TensorShape([Dimension(None), Dimension(3)])"
    assert repr(TensorShape(None)) == "TensorShape(None)"
    s = TensorShape([None, 3])
    assert (s.rank, s.ndims, len(s), s.key, s.as_list()) == (2, 2, 2, (None, 3), [None, 3])
    assert [d.value for d in s] == [None, 3]
    unknown = TensorShape(None)
    assert (unknown.rank, unknown.dims, unknown.key) == (None, None, None)
    assert text(len, unknown) == "ValueError: Cannot take the length of shape with unknown rank."
    assert text(list, unknown) == "ValueError: Cannot iterate over a shape with unknown rank."
    assert text(unknown.as_list) == (
        "ValueError: as_list() is not defined on an unknown TensorShape."
    )
    assert bool(TensorShape([])) and not unknown
    assert pickle.loads(pickle.dumps(s)).key == s.key
    assert copy.deepcopy(s) is s


def test_equality() -> None:
    s = TensorShape([None])
    assert s == s
    assert TensorShape([2, 3]) == [2, 3]
    assert TensorShape([2, 3]) == (2, 3)
    assert TensorShape([2]) == 2
    assert TensorShape(None) == TensorShape(None)
    assert TensorShape(None) == None  # noqa: E711
    assert (TensorShape([2]) == None) is False  # noqa: E711
    assert (TensorShape([None]) == TensorShape([None])) is False
    assert TensorShape([None]) != TensorShape([None])
    assert TensorShape([2]) != [3]
    assert (TensorShape([2]) != [2]) is False
    assert TensorShape([2]) != "a"
    with pytest.raises(ValueError, match=r"The inequality of unknown TensorShapes is undefined."):
        _ = TensorShape([2]) != TensorShape(None)
    assert text(hash, s) == "TypeError: unhashable type: 'TensorShape'"


def test_indexing() -> None:
    s, unknown = TensorShape([1, 2, None]), TensorShape(None)
    assert (s[0].value, s[-1].value) == (1, None)
    assert s[1:].key == (2, None)
    assert s[::2].key == (1, None)
    with pytest.raises(IndexError):
        s[5]
    assert unknown[0].value is None
    assert unknown[1:].key is unknown[-1:3].key is None
    assert unknown[1:3].key == (None, None)
    assert unknown[3:1].key == ()
    assert text(lambda: unknown[:3:2]) == "ValueError: Steps are not yet handled"


def test_counts() -> None:
    assert TensorShape([2, 3]).num_elements() == 6
    assert TensorShape([]).num_elements() == 1
    assert TensorShape([0, None]).num_elements() is TensorShape(None).num_elements() is None
    assert TensorShape([2]).is_fully_defined()
    assert text(TensorShape([None]).assert_is_fully_defined) == (
        "ValueError: Shape (?,) is not fully defined"
    )
    assert text(TensorShape(None).assert_is_fully_defined) == (
        "ValueError: Shape <unknown> is not fully defined"
    )


def test_combination() -> None:
    s = TensorShape([2, None])
    assert s.merge_with([None, 3]).key == (2, 3)
    assert s.merge_with(None).key == TensorShape(None).merge_with(s).key == (2, None)
    for other in ("(4, 3)", "(4,)"):
        size = [4, 3] if other == "(4, 3)" else [4]
        assert text(s.merge_with, size) == (
            f"ValueError: Shapes (2, ?) and {other} are not compatible"
        )
    assert s.concatenate([3]).key == (s + [3]).key == (2, None, 3)
    assert s.concatenate(3).key == (2, None, 3)
    assert ([3] + s).key == (3, 2, None)
    assert s.concatenate(None).key is None
    assert TensorShape([2, 3]).most_specific_compatible_shape([2, 4]).key == (2, None)
    assert s.most_specific_compatible_shape([2, 4, 5]).key is None
    assert s.is_compatible_with([2, 7]) and s.is_compatible_with(None)
    assert not s.is_compatible_with([2]) and not s.is_compatible_with([3, 1])
    assert text(TensorShape([2]).assert_is_compatible_with, [3]) == (
        "ValueError: Shapes (2,) and [3] are incompatible"
    )


def test_rank_requirements() -> None:
    s, unknown = TensorShape([2]), TensorShape(None)
    assert s.with_rank(1) is s.with_rank(None) is s.with_rank_at_least(1) is s.with_rank_at_most(1)
    assert unknown.with_rank(2).key == (None, None)
    assert unknown.with_rank_at_least(2) is unknown.with_rank_at_most(0) is unknown
    for function, args, says in [
        (s.with_rank, (2,), "Shape (2,) must have rank 2"),
        (s.assert_has_rank, (2,), "Shape (2,) must have rank 2"),
        (s.with_rank_at_least, (2,), "Shape (2,) must have rank at least 2"),
        (s.with_rank_at_most, (0,), "Shape (2,) must have rank at most 0"),
        (s.assert_same_rank, ([3, 4],), "Shapes (2,) and (3, 4) must have the same rank"),
    ]:
        assert text(function, *args) == f"ValueError: {says}"


def test_constructors() -> None:
    assert shapes.unknown_shape().key is None
    assert shapes.unknown_shape(3).key == (None, None, None)
    assert shapes.unknown_shape(rank=0).key == shapes.scalar().key == ()
    assert shapes.vector(3).key == (3,)
    assert shapes.matrix(2, None).key == (2, None)
    assert shapes.as_shape([1]).key == (1,)
    s = shapes.vector(1)
    assert shapes.as_shape(s) is s


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([2, 3], [3], (2, 3)),
        ([None, 3], [2, 1], (2, 3)),
        ([None], [1], (None,)),
        ([None], [None], (None,)),
        (None, [2], None),
        ([4, 1], [1, 5], (4, 5)),
        ([0], [1], (0,)),
        ([0], [None], (None,)),
        ([5, None], [3], (5, 3)),
        ([], [2, None], (2, None)),
    ],
)
def test_broadcast(a: Any, b: Any, expected: Any) -> None:
    assert shapes.broadcast_shapes(a, b).key == expected
    assert shapes.broadcast_shapes(b, a).key == expected


@pytest.mark.parametrize(
    ("a", "b", "sizes"), [([2], [3], (2, 3)), ([2, 2], [3, 2], (2, 3)), ([2, 3], [4], (3, 4))]
)
def test_broadcast_refuses(a: Any, b: Any, sizes: tuple[int, int]) -> None:
    assert text(shapes.broadcast_shapes, a, b) == (
        "ValueError: Dimensions must be equal, but are {} and {}".format(*sizes)
    )


def test_as_proto_round_trip() -> None:
    for key in (None, (), (None, 2), (0, 3)):
        assert TensorShape(TensorShape(key).as_proto()).key == key
