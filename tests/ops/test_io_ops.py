"""ReadFile, WriteFile and MatchingFiles, and checkpoints through SaveV2, RestoreV2 and MergeV2Checkpoints."""

import os
import pathlib

import numpy as np
import pytest

import flowmesh.ops  # noqa: F401  (registers every op)
from flowmesh.core import dtypes, errors
from flowmesh.formats.checkpoint import BundleReader, checkpoint_exists
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import io_ops
from tests.ops.interpreter import host_context


@pytest.fixture(autouse=True)
def graph():
    graph = Graph()
    with graph.as_default():
        yield graph


def string(value):
    return np.array(value, object)


def path(tmp_path, *parts):
    return string(os.fsencode(tmp_path.joinpath(*parts)))


def run(node, *inputs):
    return getattr(node, "op", node).definition.run(host_context(), *inputs)


def fails(call, cls, text):
    with pytest.raises(cls) as failure:
        call()
    assert failure.value.message == text


# -- files -----------------------------------------------------------------------------------------------


def test_write_makes_folders_and_read_gives_the_bytes_back(tmp_path):
    name = path(tmp_path, "a", "b", "file")
    run(io_ops.write_file("", ""), name, string(b"abc\x00"))
    contents = run(io_ops.read_file(""), name)
    assert contents.shape == () and contents.item() == b"abc\x00"


def test_file_errors_are_tensorflows(tmp_path):
    read, write = io_ops.read_file(""), io_ops.write_file("", "")
    missing = f"{tmp_path}/nope; No such file or directory"
    fails(lambda: run(read, path(tmp_path, "nope")), errors.NotFoundError, missing)
    folder = f"{tmp_path}; Is a directory"
    fails(lambda: run(read, path(tmp_path)), errors.FailedPreconditionError, folder)
    fails(lambda: run(write, path(tmp_path), string(b"")), errors.FailedPreconditionError, folder)
    fails(
        lambda: run(read, string([b"x"])),
        errors.InvalidArgumentError,
        "Input filename tensor must be scalar, but had shape: [1]",
    )
    fails(
        lambda: run(write, path(tmp_path, "x"), string([b"x"])),
        errors.InvalidArgumentError,
        "Contents tensor must be scalar, but had shape: [1]",
    )


def test_matching_files_are_sorted(tmp_path):
    for name in ("b1", "a2", "a1", ".a3"):
        tmp_path.joinpath(name).write_text("")
    match = io_ops.matching_files("")
    assert match.shape.as_list() == [None]
    found = run(match, path(tmp_path, "a*"))
    assert [os.path.basename(f) for f in found] == [b"a1", b"a2"]
    patterns = string([os.fsencode(tmp_path / "b?"), os.fsencode(tmp_path / "*[2]")])
    assert [os.path.basename(f) for f in run(match, patterns)] == [b"a2", b"b1"]
    assert run(match, path(tmp_path, "z*")).shape == (0,)
    fails(
        lambda: run(match, path(tmp_path, "no", "*")),
        errors.NotFoundError,
        f"{tmp_path}/no; No such file or directory",
    )


def test_strings_must_be_scalars_when_the_graph_is_built():
    with pytest.raises(ValueError, match="Shape must be rank 0 but is rank 1"):
        io_ops.read_file(["a"])


# -- checkpoints -----------------------------------------------------------------------------------------

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
WORDS = np.array([b"x", b"yy"], object)


def save(prefix, names, specs, tensors):
    node = raw.SaveV2("p", names, specs, [raw.Placeholder(dtype=_dtype(t)) for t in tensors])
    run(node, prefix, string(_bytes(names)), string(_bytes(specs)), tensors)


def restore(prefix, names, specs, types):
    node = raw.RestoreV2("p", names, specs, dtypes=types)
    (tensors,) = node[0].op.definition.run(
        host_context(), prefix, string(_bytes(names)), string(_bytes(specs))
    )
    return tensors


def _bytes(texts):
    return [t.encode() for t in texts]


def _dtype(array):
    return dtypes.as_dtype(np.asarray(array).dtype)


def test_what_is_saved_is_restored(tmp_path):
    prefix = path(tmp_path, "new", "model")
    counts = np.array(7, np.int64)
    save(prefix, ["w", "names", "n"], ["", "", ""], [ROWS, WORDS, counts])
    assert checkpoint_exists(os.fsdecode(prefix.item()))
    w, names, n = restore(prefix, ["w", "names", "n"], [""] * 3, ["float32", "string", "int64"])
    np.testing.assert_array_equal(w, ROWS)
    assert names.tolist() == [b"x", b"yy"] and n == 7


def test_slices_are_saved_and_restored(tmp_path):
    prefix = path(tmp_path, "model")
    save(prefix, ["w", "v"], ["4 3 0,2:-", ""], [ROWS, ROWS])
    (part,) = restore(prefix, ["w"], ["4 3 1,1:-"], ["float32"])
    np.testing.assert_array_equal(part, ROWS[1:])
    (part,) = restore(prefix, ["v"], ["2 3 -:1,2"], ["float32"])
    np.testing.assert_array_equal(part, ROWS[:, 1:])


def test_restored_shapes_are_known_from_the_slices():
    tensors = raw.RestoreV2("p", ["a", "b"], ["4 3 1,1:-", ""], dtypes=["float32", "float32"])
    assert tensors[0].shape.as_list() == [1, 3] and tensors[1].shape.ndims is None


def test_checkpoint_errors_are_tensorflows(tmp_path):
    prefix = path(tmp_path, "model")
    save(prefix, ["a", "b"], ["", "4 3 0,2:-"], [ROWS[0], ROWS])
    invalid = errors.InvalidArgumentError
    fails(
        lambda: restore(prefix, ["a"], [""], ["int32"]),
        invalid,
        "tensor_name = a; expected dtype int32 does not equal original dtype float",
    )
    fails(
        lambda: restore(prefix, ["b"], ["4 4 1,1:-"], ["float32"]),
        invalid,
        "tensor_name = b; shape in shape_and_slice spec [4,4] does not match the shape stored in "
        "checkpoint: [4,3]",
    )
    fails(
        lambda: restore(prefix, ["b"], ["4 3 1,3:-"], ["float32"]),
        invalid,
        "Does not have sufficient slices for partitioned tensor b to restore in slice_spec: 1,3:-",
    )
    fails(
        lambda: restore(prefix, ["zz", "a", "yy"], [""] * 3, ["int32", "float32", "int32"]),
        errors.NotFoundError,
        "Key yy not found in checkpoint",
    )
    fails(
        lambda: restore(path(tmp_path, "other"), ["a"], [""], ["float32"]),
        errors.NotFoundError,
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
        f"{tmp_path}/other",
    )
    with pytest.raises(errors.InvalidArgumentError, match="does not match the shape of the tensor"):
        save(prefix, ["c"], ["4 3 0,3:-"], [ROWS])
    with pytest.raises(ValueError, match="Dimension must be 1 but is 2 for 'S'"):
        raw.SaveV2("p", ["a", "b"], ["", ""], [ROWS], name="S")


def test_the_number_of_names_is_checked_in_the_run(tmp_path):
    prefix = path(tmp_path, "model")
    names = raw.Placeholder(dtype="string")
    node = raw.SaveV2("p", names, names, [ROWS])
    two = string([b"a", b"b"])
    with pytest.raises(errors.InvalidArgumentError, match="2 tensor names but 1 tensors"):
        run(node, prefix, two, string([b"", b""]), [ROWS])
    with pytest.raises(errors.InvalidArgumentError, match="different number of elements"):
        run(node, prefix, two, string([b""]), [ROWS])
    with pytest.raises(errors.InvalidArgumentError, match="should be an 1-D tensor"):
        run(node, prefix, string(b"a"), string([b""]), [ROWS])
    with pytest.raises(errors.InvalidArgumentError, match="should have a single element, got 2"):
        run(node, two, string([b"a"]), string([b""]), [ROWS])


def test_shards_are_merged(tmp_path):
    parts = [path(tmp_path, "parts", f"p{i}") for i in range(2)]
    save(parts[0], ["a"], [""], [ROWS])
    save(parts[1], ["b"], [""], [WORDS])
    target = path(tmp_path, "model")
    run(raw.MergeV2Checkpoints(["p"], "t"), string([p.item() for p in parts]), target)
    with BundleReader(f"{tmp_path}/model") as reader:
        assert reader.keys() == ["a", "b"]
        np.testing.assert_array_equal(reader.read("a"), ROWS)
    assert sorted(os.listdir(tmp_path)) == [
        "model.data-00000-of-00002",
        "model.data-00001-of-00002",
        "model.index",
    ]


# -- the first format: Save, SaveSlices, Restore, RestoreSlice ---------------------------------------------

RECORDED = pathlib.Path(__file__).parents[1] / "oracle" / "slice_checkpoint"
RECORDED_VALUES = {
    "w": np.array([[1, 2], [3, 4]], np.float32),
    "s": WORDS,
    "i": np.array(7, np.int64),
    "b": np.array([True, False]),
    "h": np.array([1.5], np.float16),
    "d": np.array([2.5], np.float64),
    "c": np.array([1 + 2j], np.complex64),
}


def save_old(target, names, specs, tensors):
    holders = [raw.Placeholder(dtype=_dtype(t)) for t in tensors]
    if specs is None:
        run(raw.Save("f", names, holders), target, string(_bytes(names)), tensors)
    else:
        node = raw.SaveSlices("f", names, specs, holders)
        run(node, target, string(_bytes(names)), string(_bytes(specs)), tensors)


def restore_old(pattern, name, dtype, spec=None):
    if spec is None:
        return run(raw.Restore("f", "n", dt=dtype), pattern, string(name.encode()))
    node = raw.RestoreSlice("f", "n", "", dt=dtype)
    return run(node, pattern, string(name.encode()), string(spec.encode()))


def test_old_files_are_tensorflows(tmp_path):
    """What TensorFlow 1.15 wrote is read, and written to the byte."""
    recorded = string(os.fsencode(RECORDED))
    for name, value in RECORDED_VALUES.items():
        read = restore_old(recorded, name, _dtype(value))
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, value)
    target = path(tmp_path, "model")
    save_old(target, list(RECORDED_VALUES), None, list(RECORDED_VALUES.values()))
    assert (tmp_path / "model").read_bytes() == RECORDED.read_bytes()
    (w,) = restore(target, ["w"], [""], ["float32"])
    np.testing.assert_array_equal(w, RECORDED_VALUES["w"])


def test_old_slices_are_joined_over_files(tmp_path):
    first, second = (path(tmp_path, f"s-0000{i}-of-00002") for i in range(2))
    save_old(first, ["v"], ["4 3 0,2:-"], [ROWS])
    save_old(second, ["v", "u"], ["4 3 2,2:-", ""], [ROWS + 6, np.array([1, 2])])
    pattern = path(tmp_path, "s-?????-of-00002")
    whole = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(restore_old(pattern, "v", "float32"), whole)
    part = restore_old(pattern, "v", "float32", "4 3 1,2:0,2")
    np.testing.assert_array_equal(part, whole[1:3, :2])
    assert restore_old(pattern, "u", "int64").tolist() == [1, 2]
    invalid = errors.InvalidArgumentError
    fails(lambda: restore_old(first, "v", "float32"), invalid, "Error copying slice data")
    assert raw.RestoreSlice("f", "n", "2 3 -:0,1", dt="float32").shape.as_list() == [2, 1]


def test_old_checkpoint_errors_are_tensorflows(tmp_path):
    recorded = string(os.fsencode(RECORDED))
    fails(
        lambda: restore_old(recorded, "zz", "float32"),
        errors.NotFoundError,
        f'Tensor name "zz" not found in checkpoint files {RECORDED}',
    )
    fails(
        lambda: restore_old(recorded, "w", "float64"),
        errors.InvalidArgumentError,
        "Expected to restore a tensor of type double, got a tensor of type float instead: "
        "tensor_name = w",
    )
    fails(
        lambda: restore_old(recorded, "w", "float32", "2 3 -:-"),
        errors.InvalidArgumentError,
        "Shape in shape_and_slice spec does not match the shape in the save file: [2,3], "
        "save file shape: [2,2]",
    )
    fails(
        lambda: restore_old(path(tmp_path, "no"), "w", "float32"),
        errors.NotFoundError,
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
        f"{tmp_path}/no",
    )
    (tmp_path / "bad").write_bytes(b"hello")
    with pytest.raises(errors.DataLossError):
        restore_old(path(tmp_path, "bad"), "w", "float32")
    data = bytearray(RECORDED.read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "flipped").write_bytes(bytes(data))
    with pytest.raises(errors.DataLossError):
        restore_old(path(tmp_path, "flipped"), "w", "float32")
    with pytest.raises(ValueError, match="Dimension must be 2 but is 1 for 'S'"):
        raw.Save("f", ["a"], [[1.0], [2.0]], name="S")
