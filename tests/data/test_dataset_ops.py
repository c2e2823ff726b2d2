"""Each dataset op gives its elements; what it cannot take is an error that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.graph import registry
from flowmesh.graph.functions import trace, unique_function_name
from flowmesh.graph.raw import raw

INT = {"output_types": [tf.int64], "output_shapes": [[]]}
INTS = {"output_types": [tf.int64], "output_shapes": [[None]]}
STRING = {"output_types": [tf.string], "output_shapes": [[]]}


def elements(variant: Any, output_types: Any, output_shapes: Any) -> list[Any]:
    """All elements of a dataset, as lists."""
    resource = raw.IteratorV2(
        container="", shared_name="", output_types=output_types, output_shapes=output_shapes
    )
    begin = raw.MakeIterator(variant, resource)
    following = raw.IteratorGetNext(
        resource, output_types=output_types, output_shapes=output_shapes
    )
    out = []
    with tf.Session() as sess:
        sess.run(begin)
        while True:
            try:
                values = [np.asarray(v).tolist() for v in sess.run(following)]
            except errors.OutOfRangeError:
                return out
            out.append(values[0] if len(values) == 1 else values)


def numbers(*bounds: int) -> Any:
    start, stop, step = {1: (0, *bounds, 1), 3: bounds}[len(bounds)]
    return raw.RangeDataset(start, stop, step, **INT)


def function(body: Callable[..., Any], shape: Any = ()) -> Any:
    made = trace(body, unique_function_name("body"), [tf.int64], [shape])
    tf.get_default_graph().add_function(made)
    return made


def thrice() -> Any:
    return function(lambda x: [x * 3])


def counting() -> Any:
    return function(lambda x: [numbers(0, 5, 1) if x is None else raw.RangeDataset(0, x, 1, **INT)])


def small() -> Any:
    return function(lambda x: [x < 3])


def interleaved(name: str, *more: Any) -> Any:
    """0, 0 1, 0 1 2 in turn of two."""
    arguments = [numbers(1, 4, 1), [], 2, 1, *more]
    return getattr(raw, name)(*arguments, f=counting(), **INT)


IN_TURN = [0, 0, 1, 0, 1, 2]
PADDED = [[[0, 9], [1, 9]], [[2, 9]]]

CASES: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "BatchDataset": (lambda: raw.BatchDataset(numbers(5), 2, **INTS), INTS, [[0, 1], [2, 3], [4]]),
    "BatchDatasetV2": (
        lambda: raw.BatchDatasetV2(numbers(5), 2, True, **INTS),
        INTS,
        [[0, 1], [2, 3]],
    ),
    "CacheDataset": (lambda: raw.CacheDataset(numbers(3), "", **INT), INT, [0, 1, 2]),
    "ConcatenateDataset": (
        lambda: raw.ConcatenateDataset(numbers(2), numbers(7, 9, 1), **INT),
        INT,
        [0, 1, 7, 8],
    ),
    "FilterDataset": (
        lambda: raw.FilterDataset(numbers(1, 9, 2), [], predicate=small(), **INT),
        INT,
        [1],
    ),
    "FlatMapDataset": (
        lambda: raw.FlatMapDataset(numbers(4), [], f=counting(), **INT),
        INT,
        [0, 0, 1, 0, 1, 2],
    ),
    "IgnoreErrorsDataset": (
        lambda: raw.IgnoreErrorsDataset(
            raw.MapDataset(numbers(3), [], f=function(_fails_at_one), **INT), **INT
        ),
        INT,
        [0, 2],
    ),
    "InterleaveDataset": (lambda: interleaved("InterleaveDataset"), INT, IN_TURN),
    "ParallelInterleaveDatasetV2": (
        lambda: interleaved("ParallelInterleaveDatasetV2", 2),
        INT,
        IN_TURN,
    ),
    "ParallelInterleaveDataset": (
        lambda: interleaved("ParallelInterleaveDataset", False, 2, 4),
        INT,
        IN_TURN,
    ),
    "ExperimentalParallelInterleaveDataset": (
        lambda: interleaved("ExperimentalParallelInterleaveDataset", False, 2, 4),
        INT,
        IN_TURN,
    ),
    "MapAndBatchDataset": (
        lambda: raw.MapAndBatchDataset(numbers(3), [], 2, 4, False, f=thrice(), **INTS),
        INTS,
        [[0, 3], [6]],
    ),
    "ExperimentalMapAndBatchDataset": (
        lambda: raw.ExperimentalMapAndBatchDataset(numbers(3), [], 2, -1, True, f=thrice(), **INTS),
        INTS,
        [[0, 3]],
    ),
    "MapDataset": (lambda: raw.MapDataset(numbers(3), [], f=thrice(), **INT), INT, [0, 3, 6]),
    "ParallelMapDataset": (
        lambda: raw.ParallelMapDataset(numbers(3), [], 2, f=thrice(), **INT),
        INT,
        [0, 3, 6],
    ),
    "MaxIntraOpParallelismDataset": (
        lambda: raw.MaxIntraOpParallelismDataset(numbers(2), 1, **INT),
        INT,
        [0, 1],
    ),
    "PrivateThreadPoolDataset": (
        lambda: raw.PrivateThreadPoolDataset(numbers(2), 1, **INT),
        INT,
        [0, 1],
    ),
    "ModelDataset": (lambda: raw.ModelDataset(numbers(2), **INT), INT, [0, 1]),
    "OptimizeDataset": (
        lambda: raw.OptimizeDataset(numbers(2), ["shuffle_and_repeat_fusion"], **INT),
        INT,
        [0, 1],
    ),
    "PaddedBatchDataset": (
        lambda: raw.PaddedBatchDataset(_rows(), 2, [[2]], [np.int64(9)], output_shapes=[[None, 2]]),
        {"output_types": [tf.int64], "output_shapes": [[None, 2]]},
        PADDED,
    ),
    "PaddedBatchDatasetV2": (
        lambda: raw.PaddedBatchDatasetV2(
            _rows(), 2, [[2]], [np.int64(9)], False, output_shapes=[[None, 2]]
        ),
        {"output_types": [tf.int64], "output_shapes": [[None, 2]]},
        PADDED,
    ),
    "PrefetchDataset": (lambda: raw.PrefetchDataset(numbers(5), 2, **INT), INT, [0, 1, 2, 3, 4]),
    "RangeDataset": (lambda: numbers(9, 0, -4), INT, [9, 5, 1]),
    "RepeatDataset": (lambda: raw.RepeatDataset(numbers(2), 2, **INT), INT, [0, 1, 0, 1]),
    "ShardDataset": (lambda: raw.ShardDataset(numbers(5), 2, 1, **INT), INT, [1, 3]),
    "ShuffleDataset": (
        lambda: raw.ShuffleDataset(numbers(6), 3, 1, 2, reshuffle_each_iteration=False, **INT),
        INT,
        None,
    ),
    "ShuffleAndRepeatDataset": (
        lambda: raw.ShuffleAndRepeatDataset(numbers(3), 2, 1, 2, 2, **INT),
        INT,
        None,
    ),
    "SkipDataset": (lambda: raw.SkipDataset(numbers(3), 2, **INT), INT, [2]),
    "SparseTensorSliceDataset": (
        lambda: raw.SparseTensorSliceDataset(
            np.array([[0, 1], [2, 0]]), [5.0, 6.0], np.array([3, 2])
        ),
        {
            "output_types": [tf.int64, tf.float32, tf.int64],
            "output_shapes": [[None, 1], [None], [1]],
        },
        [[[[1]], [5.0], [2]], [[], [], [2]], [[[0]], [6.0], [2]]],
    ),
    "TakeDataset": (lambda: raw.TakeDataset(numbers(3), 2, **INT), INT, [0, 1]),
    "TakeWhileDataset": (
        lambda: raw.TakeWhileDataset(numbers(1, 9, 2), [], predicate=small(), **INT),
        INT,
        [1],
    ),
    "TensorDataset": (
        lambda: raw.TensorDataset([np.int64(4)], output_shapes=[[]]),
        INT,
        [4],
    ),
    "TensorSliceDataset": (
        lambda: raw.TensorSliceDataset([np.array([4, 5])], output_shapes=[[]]),
        INT,
        [4, 5],
    ),
    "UnbatchDataset": (
        lambda: raw.UnbatchDataset(raw.BatchDataset(numbers(3), 2, **INTS), **INT),
        INT,
        [0, 1, 2],
    ),
    "ExperimentalUnbatchDataset": (
        lambda: raw.ExperimentalUnbatchDataset(raw.BatchDataset(numbers(3), 2, **INTS), **INT),
        INT,
        [0, 1, 2],
    ),
    "ZipDataset": (
        lambda: raw.ZipDataset(
            [numbers(3), numbers(5, 0, -3)], output_types=[tf.int64] * 2, output_shapes=[[]] * 2
        ),
        {"output_types": [tf.int64] * 2, "output_shapes": [[]] * 2},
        [[0, 5], [1, 2]],
    ),
}
ELSEWHERE = {
    "CSVDataset",
    "ExperimentalCSVDataset",
    "FixedLengthRecordDataset",
    "FixedLengthRecordDatasetV2",
    "GeneratorDataset",
    "GroupByWindowDataset",
    "ExperimentalGroupByWindowDataset",
    "MatchingFilesDataset",
    "TFRecordDataset",
    "TextLineDataset",
    "WindowDataset",
}
"""Ops with tests of their own below."""


def _fails_at_one(x: Any) -> Any:
    with tf.control_dependencies([tf.Assert(tf.not_equal(x, 1), [x])]):
        return [tf.identity(x)]


def _rows() -> Any:
    return raw.MapDataset(
        numbers(3),
        [],
        f=function(lambda x: [tf.expand_dims(x, 0)]),
        output_types=[tf.int64],
        output_shapes=[[1]],
    )


@pytest.mark.parametrize("name", sorted(CASES))
def test_elements(name: str) -> None:
    with tf.Graph().as_default():
        make, attrs, wanted = CASES[name]
        found = elements(make(), **attrs)
        if wanted is None:  # in random order
            assert sorted(found) in ([0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2])
        else:
            assert found == wanted


def test_each_dataset_op_is_tested() -> None:
    ours = {n for n in registry.op_types() if "Dataset" in n}
    ours = {n for n in ours if registry.lookup(n).__module__.startswith("flowmesh.")}
    assert ours == {*CASES, *ELSEWHERE, "DatasetToSingleElement", "ReduceDataset"}


@pytest.mark.parametrize("name", ["CSVDataset", "ExperimentalCSVDataset"])
def test_csv_records(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("h,h\n" + "".join(f"{i},{i / 4}\n" for i in range(600)) + '7,"8"\n9,\n')
    with tf.Graph().as_default():
        variant = getattr(raw, name)(
            str(path), "", 1 << 12, True, ",", True, "", np.zeros([0], np.int64),
            [np.zeros([0], np.int32), np.float32(0.5)], output_shapes=[[], []],
        )  # fmt: skip
        found = elements(variant, [tf.int32, tf.float32], [[], []])
    assert found == [[i, i / 4] for i in range(600)] + [[7, 8.0], [9, 0.5]]


@pytest.mark.parametrize("name", ["FixedLengthRecordDataset", "FixedLengthRecordDatasetV2"])
def test_fixed_length_records(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"HabcdF")
    with tf.Graph().as_default():
        more = [""] if name.endswith("V2") else []
        variant = getattr(raw, name)(str(path), 1, 2, 1, 0, *more)
        assert elements(variant, **STRING) == [b"ab", b"cd"]


def test_lines_records_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    with tf.python_io.TFRecordWriter(str(tmp_path / "r")) as writer:
        writer.write(b"record")
    with tf.Graph().as_default():
        lines = raw.TextLineDataset(str(tmp_path / "a"), "", 0)
        assert elements(lines, **STRING) == [b"one", b"two"]
        records = raw.TFRecordDataset([str(tmp_path / "r")] * 2, "", 0)
        assert elements(records, **STRING) == [b"record"] * 2
        names = raw.MatchingFilesDataset([str(tmp_path / "*")])
        assert elements(names, **STRING) == [str(tmp_path / n).encode() for n in "ar"]


def test_generator_dataset_begins_goes_on_and_ends() -> None:
    told: list[str] = []

    def begin(x: Any) -> Any:
        told.append("begin")
        return np.int64(3)

    def step(state: Any) -> Any:
        told.append("next")
        if told.count("next") > 2:
            raise StopIteration
        return np.int64(state + told.count("next"))

    def end(state: Any) -> Any:
        told.append("end")
        return np.int64(0)

    with tf.Graph().as_default():
        bodies = [
            function(lambda x, f=f: [tf.py_func(f, [x], tf.int64)]) for f in (begin, step, end)
        ]
        variant = raw.GeneratorDataset(
            [np.int64(0)], [], [],
            init_func=bodies[0], next_func=bodies[1], finalize_func=bodies[2], **INT,
        )  # fmt: skip
        assert elements(variant, **INT) == [4, 5]
    assert told == ["begin", "next", "next", "next", "end"]


def test_window_dataset_gives_datasets() -> None:
    with tf.Graph().as_default():
        windows = raw.WindowDataset(
            numbers(5), 2, 2, 1, False, output_types=[tf.variant], output_shapes=[[]]
        )
        inner = trace(
            lambda d: [raw.BatchDataset(d, 9, **INTS)],
            unique_function_name("f"),
            [tf.variant],
            [[]],
        )
        tf.get_default_graph().add_function(inner)
        variant = raw.FlatMapDataset(windows, [], f=inner, **INTS)
        assert elements(variant, **INTS) == [[0, 1], [2, 3], [4]]


def test_what_is_no_dataset_is_refused() -> None:
    with tf.Graph().as_default():
        fed = tf.placeholder(tf.variant, [])
        batch = raw.BatchDataset(fed, 2, **INTS)
        with tf.Session() as sess, pytest.raises((errors.OpError, TypeError, ValueError)):
            sess.run(raw.TakeDataset(batch, 1, **INTS).op, {fed: np.zeros(())})


def test_functions_that_the_graph_does_not_have_are_named() -> None:
    with tf.Graph().as_default():
        variant = raw.MapDataset(numbers(2), [], f="nowhere", **INT)
        with pytest.raises(errors.NotFoundError, match="Function nowhere is not defined"):
            elements(variant, **INT)


@pytest.mark.parametrize("name", ["GroupByWindowDataset", "ExperimentalGroupByWindowDataset"])
def test_groups_by_window(name: str) -> None:
    with tf.Graph().as_default():
        key = function(lambda x: [x % 2])
        size = function(lambda x: [x + 2])
        batch = trace(
            lambda k, w: [raw.BatchDataset(w, 9, **INTS)],
            unique_function_name("f"),
            [tf.int64, tf.variant],
            [[], []],
        )
        tf.get_default_graph().add_function(batch)
        variant = getattr(raw, name)(
            numbers(7), [], [], [],
            key_func=key, reduce_func=batch, window_size_func=size, **INTS,
        )  # fmt: skip
        assert elements(variant, **INTS) == [[0, 2], [1, 3, 5], [4, 6]]
