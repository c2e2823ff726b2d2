"""Meta graphs: what goes in comes out, below a scope too."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format

from flowmesh.frontend import meta_graph
from flowmesh.proto.meta_graph_pb2 import MetaGraphDef
from tests.training.names import tf


def _build() -> None:
    with tf.device("/job:ps/task:0"):
        w = tf.Variable([1.0, 2.0], name="w")
    v = tf.Variable(3.0, name="v", use_resource=True, trainable=False)
    total = tf.raw_ops.AddV2(tf.reduce_sum(w), v, name="total")
    graph = tf.get_default_graph()
    graph.add_to_collection("totals", total)
    graph.add_to_collection("train", total.op)
    graph.add_to_collection("numbers", 4)
    graph.add_to_collection("floats", 0.5)
    graph.add_to_collection("texts", "a")


def test_round_trip(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "model.meta")
    with tf.Graph().as_default():
        _build()
        saver = tf.train.Saver()
        made = tf.train.export_meta_graph(path, saver_def=saver.as_saver_def())
    assert MetaGraphDef.FromString(Path(path).read_bytes()) == made
    used = {op.name for op in made.meta_info_def.stripped_op_list.op}
    assert {"VariableV2", "VarHandleOp", "SaveV2", "AddV2"} <= used
    assert made.meta_info_def.tensorflow_version.startswith("1.15")
    with tf.Graph().as_default() as graph:
        again = tf.train.import_meta_graph(path)
        assert again.as_saver_def() == saver.as_saver_def()
        names = {
            key: [getattr(i, "name", i) for i in graph.get_collection(key)]
            for key in graph.get_all_collection_keys()
        }
        assert names == {
            "variables": ["w:0", "v:0"],
            "trainable_variables": ["w:0"],
            "totals": ["total:0"],
            "train": ["total"],
            "numbers": [4],
            "floats": [0.5],
            "texts": [b"a"],
        }
        first = graph.get_collection("variables")[0]
        assert graph.get_collection("trainable_variables")[0] is first
        assert first.device == "/job:ps/task:0"
        exported = tf.train.export_meta_graph(saver_def=again.as_saver_def())
        nodes, again = ({n.name: n for n in m.graph_def.node} for m in (made, exported))
        assert nodes == again
        assert exported.collection_def == made.collection_def


def test_import_below_a_scope(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        _build()
        saver = tf.train.Saver()
        with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
            meta = saver.export_meta_graph(clear_devices=True)
        assert session is not None
    with tf.Graph().as_default() as graph, tf.Session() as session:
        one = tf.train.import_meta_graph(meta, import_scope="one")
        two = tf.train.import_meta_graph(meta, import_scope="two")
        assert [v.name for v in graph.get_collection("variables")] == [
            "one/w:0", "one/v:0", "two/w:0", "two/v:0",
        ]  # fmt: skip
        assert one.as_saver_def().restore_op_name == "one/save/restore_all"
        session.run(tf.global_variables_initializer())
        prefix = one.save(session, tmp_path / "m", write_meta_graph=False)
        two.restore(session, prefix)
        assert session.run("two/total:0") == 6.0


def test_export_of_a_scope() -> None:
    with tf.Graph().as_default():
        x = tf.constant(2.0, name="x")
        with tf.name_scope("net"):
            w = tf.Variable(3.0, name="w")
            tf.raw_ops.Mul(w.value(), x, name="y")
        tf.Variable(1.0, name="other")
        made = meta_graph.export_meta_graph(export_scope="net")
        assert [n.name for n in made.graph_def.node] == [
            "w/initial_value", "w", "w/Assign", "w/read", "y",
        ]  # fmt: skip
        assert list(made.collection_def["unbound_inputs"].bytes_list.value) == [b"x"]
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match=r"unbound inputs: x\. Must provide these inputs"):
            meta_graph.import_scoped_meta_graph(made)
        fed = tf.constant(5.0)
        variables = meta_graph.import_scoped_meta_graph(
            made, import_scope="copy", input_map={"x": fed}
        )
        assert list(variables) == ["w"]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert session.run("copy/y:0") == 15.0
        with tf.name_scope("closed"):
            tf.Variable(4.0, name="u")
        copied = meta_graph.copy_scoped_meta_graph("closed", "more")
        assert copied["u"].value().name == "more/u/read:0"
        with pytest.raises(ValueError, match="need to be different"):
            meta_graph.copy_scoped_meta_graph("closed", "closed")


def test_options() -> None:
    with tf.Graph().as_default():
        _build()
        first, second = tf.train.Saver(), tf.train.Saver()
        tf.get_default_graph().add_to_collection(tf.GraphKeys.SAVERS, first)
        tf.get_default_graph().add_to_collection(tf.GraphKeys.SAVERS, second)
        plain = second.export_meta_graph()
        assert len(plain.collection_def["savers"].bytes_list.value) == 2
        stripped = second.export_meta_graph(clear_extraneous_savers=True, strip_default_attrs=True)
        names = {n.name for n in stripped.graph_def.node}
        assert "save_1/SaveV2" in names
        assert "save/SaveV2" not in names
        assert "savers" not in stripped.collection_def
        assert stripped.meta_info_def.stripped_default_attrs
        few = second.export_meta_graph(collection_list=["numbers"])
        assert list(few.collection_def) == ["numbers"]
        with tf.Graph().as_default():
            tf.train.import_meta_graph(stripped)


def test_what_cannot_be_written_is_left_out() -> None:
    with tf.Graph().as_default() as graph:
        tf.Variable(1.0)
        graph.add_to_collection("things", object())
        made = tf.train.export_meta_graph()
        assert set(made.collection_def) == {"trainable_variables", "variables"}


def test_text_form_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "m.pbtxt"
    with tf.Graph().as_default():
        _build()
        made = tf.train.export_meta_graph(str(path), as_text=True)
    with tf.Graph().as_default():
        assert tf.train.import_meta_graph(path) is not None
    assert text_format.Parse(path.read_text(), MetaGraphDef()) == made
    path.write_bytes(b"\xff\xfe nothing")
    with tf.Graph().as_default():
        with pytest.raises(OSError, match="Cannot parse file"):
            tf.train.import_meta_graph(str(path))
        with pytest.raises(OSError, match="does not exist"):
            tf.train.import_meta_graph(str(tmp_path / "none"))


def test_write_graph(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.constant(1.0, name="c")
        text = tf.train.write_graph(graph, tmp_path / "new", "g.pbtxt")
        binary = tf.train.write_graph(graph.as_graph_def(), str(tmp_path), "g.pb", as_text=False)
    assert text == str(tmp_path / "new" / "g.pbtxt")
    expected = tf.GraphDef.FromString(Path(binary).read_bytes())
    assert text_format.Parse(Path(text).read_text(), tf.GraphDef()) == expected
    assert [n.name for n in expected.node] == ["c"]


def test_graph_util() -> None:
    with tf.Graph().as_default() as graph:
        w = tf.Variable([2.0], name="w")
        v = tf.Variable([3.0], name="v", use_resource=True)
        y = tf.raw_ops.Mul(w.value(), v.value(), name="y")
        kept = tf.raw_ops.Identity(y, name="kept")
        tf.raw_ops.Neg(kept, name="z")
        tf.constant(1.0, name="unused")
        full = graph.as_graph_def()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            frozen = tf.graph_util.convert_variables_to_constants(session, full, ["z"])
            partly = tf.graph_util.convert_variables_to_constants(
                session, full, ["z"], variable_names_blacklist=["w"]
            )
    part = tf.graph_util.extract_sub_graph(full, ["y"])
    names = [n.name for n in part.node]
    assert "unused" not in names
    assert "z" not in names
    assert {n.op for n in frozen.node} == {"Const", "Identity", "Mul", "Neg"}
    assert [n.op for n in partly.node if n.name == "w"] == ["VariableV2"]
    small = tf.graph_util.remove_training_nodes(frozen, protected_nodes=["kept"])
    assert sorted(n.name for n in small.node) == ["kept", "v", "w", "y", "z"]
    for graph_def in (frozen, small):
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            with tf.Session() as session:
                assert session.run("z:0").tolist() == [-6.0]
            shape = tf.graph_util.tensor_shape_from_node_def_name(graph, "y")
            assert shape.as_list() == [1]
    with pytest.raises(AssertionError, match="nothing is not in graph"):
        tf.graph_util.extract_sub_graph(full, ["nothing"])
    with pytest.raises(TypeError, match="dest_nodes must be a list"):
        tf.graph_util.extract_sub_graph(full, "y")
    with pytest.raises(TypeError, match=r"graph_def must be a graph_pb2\.GraphDef proto"):
        tf.graph_util.extract_sub_graph(3, ["y"])
