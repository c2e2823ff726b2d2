"""Savers: nodes, files and errors are TensorFlow's, and each reads what the other wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.oracle import training_cases as cases
from tests.training.names import ORACLE, recorded, tf

SAVERS = recorded("savers")


@pytest.mark.parametrize("case", SAVERS)
def test_nodes_are_tensorflows(case: str) -> None:
    name, _, kind = case.rpartition(" ")
    found = cases.saver_nodes(tf, cases.SAVERS[name], kind == "resource")
    assert found == SAVERS[case]


@pytest.fixture
def model() -> Any:
    """A session over two variables, and a saver of them."""
    with tf.Graph().as_default():
        w = tf.Variable([[1.0, 2.0]], name="w")
        b = tf.Variable(3, name="b", use_resource=True)
        saver = tf.train.Saver(max_to_keep=2)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            yield session, w, b, saver


def test_save_and_restore(model: Any, tmp_path: Path) -> None:
    session, w, b, saver = model
    prefix = saver.save(session, tmp_path / "model", global_step=7)
    assert prefix == str(tmp_path / "model-7")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint", "model-7.data-00000-of-00001", "model-7.index", "model-7.meta",
    ]  # fmt: skip
    session.run([w.assign([[5.0, 6.0]]), b.assign(9)])
    saver.restore(session, prefix)
    assert session.run(w).tolist() == [[1.0, 2.0]]
    assert session.run(b) == 3


def test_old_checkpoints_are_deleted(model: Any, tmp_path: Path) -> None:
    session, _, _, saver = model
    for step in range(4):
        saver.save(session, tmp_path / "m", global_step=step)
    kept = [str(tmp_path / "m-2"), str(tmp_path / "m-3")]
    assert saver.last_checkpoints == kept
    state = tf.train.get_checkpoint_state(tmp_path)
    assert list(state.all_model_checkpoint_paths) == kept
    assert tf.train.latest_checkpoint(tmp_path) == kept[1]
    assert {p.name.partition(".")[0] for p in tmp_path.iterdir()} == {"checkpoint", "m-2", "m-3"}
    saver.save(session, tmp_path / "m", global_step=2)
    assert saver.last_checkpoints == [kept[1], kept[0]]


def test_some_checkpoints_are_kept_for_ever(tmp_path: Path) -> None:
    now = [0.0]
    with tf.Graph().as_default():
        tf.Variable(1.0)
        saver = tf.train.Saver(
            max_to_keep=1, keep_checkpoint_every_n_hours=1.0, clock=lambda: now[0]
        )
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for step in range(5):
                saver.save(session, tmp_path / "m", global_step=step, write_meta_graph=False)
                now[0] += 1500
    assert sorted(p.name for p in tmp_path.glob("*.index")) == ["m-3.index", "m-4.index"]


def test_names_of_files(model: Any, tmp_path: Path) -> None:
    session, w, _, _ = model
    step = tf.constant(12)
    padded = tf.train.Saver([w], pad_step_number=True)
    assert padded.save(session, tmp_path / "p", global_step=step).endswith("p-00000012")
    plain = tf.train.Saver({"renamed": w}, save_relative_paths=True)
    path = plain.save(session, tmp_path / "q", latest_filename="newest", write_meta_graph=False)
    assert path == str(tmp_path / "q")
    assert (tmp_path / "newest").read_text() == (
        'model_checkpoint_path: "q"\nall_model_checkpoint_paths: "q"\n'
    )
    assert tf.train.latest_checkpoint(tmp_path, "newest") == path
    assert tf.train.list_variables(path) == [("renamed", [1, 2])]
    assert not (tmp_path / "q.meta").exists()


def test_sharded(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        with tf.device("/cpu:0"):
            w = tf.Variable([1.0, 2.0], name="w")
        with tf.device("/cpu:1"):
            b = tf.Variable([3], name="b", use_resource=True)
        saver = tf.train.Saver(sharded=True)
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(tf.global_variables_initializer())
            prefix = saver.save(session, tmp_path / "m")
            assert sorted(p.name for p in tmp_path.iterdir()) == [
                "checkpoint", "m.data-00000-of-00002", "m.data-00001-of-00002", "m.index", "m.meta",
            ]  # fmt: skip
            session.run([w.assign([0.0, 0.0]), b.assign([0])])
            saver.restore(session, prefix)
            assert session.run(w).tolist() == [1.0, 2.0]
            assert session.run(b).tolist() == [3]


def test_reshape(model: Any, tmp_path: Path) -> None:
    session, _, _, saver = model
    prefix = saver.save(session, tmp_path / "m")
    flat = tf.Variable([0.0, 0.0], name="flat")
    tf.train.Saver({"w": flat}, reshape=True).restore(session, prefix)
    assert session.run(flat).tolist() == [1.0, 2.0]


def test_slices_of_a_partitioned_variable(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        parts = [
            tf.Variable([[1.0], [2.0]], name="w/part_0"),
            tf.Variable([[3.0]], name="w/part_1"),
        ]
        for part, (offset, size) in zip(parts, ((0, 2), (2, 1))):
            info = tf.Variable.SaveSliceInfo("w", [3, 1], [offset, 0], [size, 1])
            part._set_save_slice_info(info)
        saver = tf.train.Saver()
        whole = tf.Variable([[0.0]] * 3, name="whole")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            prefix = saver.save(session, tmp_path / "m")
            assert tf.train.list_variables(prefix) == [("w", [3, 1])]
            tf.train.Saver({"w": whole}).restore(session, prefix)
            assert session.run(whole).tolist() == [[1.0], [2.0], [3.0]]
            session.run([p.assign(p * 0.0) for p in parts])
            saver.restore(session, prefix)
            assert session.run(parts[1]).tolist() == [[3.0]]


def test_saver_def_round_trip(model: Any, tmp_path: Path) -> None:
    session, w, _, saver = model
    prefix = saver.save(session, tmp_path / "m")
    again = tf.train.Saver.from_proto(saver.to_proto())
    session.run(w.assign([[0.0, 0.0]]))
    again.restore(session, prefix)
    assert session.run(w).tolist() == [[1.0, 2.0]]
    assert saver.to_proto(export_scope="other") is None


def test_deferred_and_empty() -> None:
    with tf.Graph().as_default():
        empty = tf.train.Saver(allow_empty=True)
        late = tf.train.Saver(defer_build=True)
        with tf.Session() as session:
            with pytest.raises(RuntimeError, match="should be called before save"):
                late.save(session, "x")
            assert empty.save(session, "x", write_meta_graph=False) is None
            empty.restore(session, "x")
        tf.Variable(1.0, name="v")
        late.build()
        assert late.as_saver_def().restore_op_name == "save/restore_all"
        with pytest.raises(ValueError, match="then build cannot be deferred"):
            tf.train.Saver([1], defer_build=True)


def test_recovering_last_checkpoints(model: Any, tmp_path: Path) -> None:
    session, w, b, saver = model
    paths = [saver.save(session, tmp_path / "m", global_step=s) for s in (1, 2)]
    other = tf.train.Saver([w, b], max_to_keep=2)
    other.recover_last_checkpoints([*paths, str(tmp_path / "gone")])
    assert other.last_checkpoints == paths
    other.save(session, tmp_path / "m", global_step=3)
    assert not tf.train.checkpoint_exists(paths[0])
    assert len(tf.train.get_checkpoint_mtimes([paths[0], paths[1]])) == 1
    other.set_last_checkpoints(["a"])
    assert other.last_checkpoints == ["a"]


def test_build_errors() -> None:
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="No variables to save"):
            tf.train.Saver()
        v = tf.Variable(1.0, name="v")
        with pytest.raises(ValueError, match="At least two variables have the same name: v"):
            tf.train.Saver([v, v])
        with pytest.raises(TypeError, match="Variable to save is not a Variable: Tensor"):
            tf.train.Saver([v + 1.0])
        with pytest.raises(ValueError, match="will be restored with two names: y"):
            tf.train.Saver({"x": v, "y": v})
        with pytest.raises(TypeError, match="Not a variable: 3"):
            tf.train.Saver({"x": 3})
        with pytest.raises(TypeError, match="passed in a dict or a list"):
            tf.train.Saver(3)
        with pytest.raises(ValueError, match=r"must be a saver_pb2\.SaverDef"):
            tf.train.Saver(saver_def=3)


def test_run_errors(model: Any, tmp_path: Path) -> None:
    session, _, _, saver = model
    with pytest.raises(ValueError, match="not a valid checkpoint"):
        saver.restore(session, tmp_path / "nothing")
    with pytest.raises(ValueError, match="when it is None"):
        saver.restore(session, None)
    with pytest.raises(TypeError, match="'sess' must be a Session"):
        saver.save(3, tmp_path / "m")
    with pytest.raises(ValueError, match="must not contain path components"):
        saver.save(session, tmp_path / "m", latest_filename="a/b")
    with pytest.raises(ValueError, match="collides with 'save_path'"):
        saver.save(session, tmp_path / "checkpoint")
    prefix = saver.save(session, tmp_path / "m")
    tf.Variable(1.0, name="more")
    with pytest.raises(
        tf.errors.NotFoundError, match="Key more not found in checkpoint"
    ) as missing:
        tf.train.Saver().restore(session, prefix)
    assert "Variable name or other graph key that is missing" in str(missing.value)
    wrong = tf.train.Saver({"w": tf.Variable([1.0])})
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="a mismatch between the current graph"
    ):
        wrong.restore(session, prefix)
    kept = Path(f"{prefix}.index")
    kept.write_bytes(kept.read_bytes()[:20])
    with pytest.raises(tf.errors.DataLossError):
        saver.restore(session, prefix)


def test_reader(model: Any, tmp_path: Path) -> None:
    session, _, _, saver = model
    prefix = saver.save(session, tmp_path / "m")
    reader = tf.train.new_checkpoint_reader(prefix)
    assert reader.get_variable_to_shape_map() == {"b": [], "w": [1, 2]}
    assert {k: d.name for k, d in reader.get_variable_to_dtype_map().items()} == {
        "b": "int32", "w": "float32",
    }  # fmt: skip
    assert reader.debug_string() == b"b (DT_INT32) []\nw (DT_FLOAT) [1,2]\n"
    assert reader.has_tensor("w")
    assert not reader.has_tensor("x")
    assert reader.get_tensor("b") == 3
    assert tf.train.load_variable(tmp_path, "w:0").tolist() == [[1.0, 2.0]]
    with pytest.raises(tf.errors.NotFoundError, match="Key x not found in checkpoint"):
        reader.get_tensor("x")
    with pytest.raises(tf.errors.NotFoundError, match="Failed to find any matching files"):
        tf.train.new_checkpoint_reader(str(tmp_path / "other"))
    with pytest.raises(ValueError, match="Couldn't find 'checkpoint' file"):
        tf.train.load_checkpoint(tmp_path.parent)


def test_state_files(tmp_path: Path) -> None:
    assert tf.train.get_checkpoint_state(tmp_path) is None
    tf.train.update_checkpoint_state(
        tmp_path, str(tmp_path / "b"), [str(tmp_path / "a")], all_model_checkpoint_timestamps=[1, 2]
    )
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_paths) == [str(tmp_path / n) for n in "ab"]
    assert list(state.all_model_checkpoint_timestamps) == [1.0, 2.0]
    assert tf.train.latest_checkpoint(tmp_path) is None  # its files are gone
    (tmp_path / "checkpoint").write_text("no such field: 3")
    assert tf.train.get_checkpoint_state(tmp_path) is None
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: ""')
    with pytest.raises(ValueError, match="Invalid checkpoint state loaded from"):
        tf.train.get_checkpoint_state(tmp_path)
    with pytest.raises(RuntimeError, match="conflicts with path used for checkpoint state"):
        tf.train.update_checkpoint_state(tmp_path, str(tmp_path / "checkpoint"))
    with pytest.raises(ValueError, match="must match checkpoint paths"):
        tf.train.generate_checkpoint_state_proto("d", "b", ["a"], [1.0])


def test_a_model_that_tensorflow_saved() -> None:
    expected = recorded("model")
    directory = ORACLE / "training_model"
    prefix = tf.train.latest_checkpoint(directory)
    assert prefix == str(directory / "model-1")
    with tf.Graph().as_default() as graph:
        saver = tf.train.import_meta_graph(prefix + ".meta")
        assert graph.get_collection("sizes") == [3]
        assert graph.get_collection("rates") == [0.25]
        assert graph.get_collection("names") == [b"abc"]
        assert graph.get_collection("summaries")[0].name == "loss_value:0"
        variables = graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
        assert sorted(v.op.name for v in variables) == expected["names"]
        w, b = (v for v in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES))
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
            saver.restore(session, prefix)
            np.testing.assert_array_equal(session.run(w), np.float32(expected["w"]))
            np.testing.assert_array_equal(session.run(b), np.float32(expected["b"]))
            given = {"x:0": [[1.0, -1.0], [0.5, 2.0]]}
            np.testing.assert_allclose(session.run("y:0", given), expected["y"], rtol=1e-6)
            session.run("train", given)
            assert session.run("global_step:0") == 2
