"""Branches of conds, and loops, survive an export and an import: names, nesting, and gradients through them."""

from __future__ import annotations

import pytest

import flowmesh as tf


def build() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    inner = lambda: tf.cond(x > 10.0, lambda: x * 5.0, lambda: x * x)  # noqa: E731
    tf.identity(tf.cond(x > 0.0, inner, lambda: -x), name="y")


@pytest.mark.parametrize("scope", [None, "again"])
def test_a_gradient_through_an_imported_cond(scope: str | None) -> None:
    with tf.Graph().as_default() as graph:
        build()
        meta_graph = tf.train.export_meta_graph(graph=graph)
    kept = meta_graph.collection_def["cond_context"].bytes_list.value
    assert len(kept) == 2
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.train.import_meta_graph(meta_graph, import_scope=scope)
        prefix = f"{scope}/" if scope else ""
        x, y = (graph.get_tensor_by_name(f"{prefix}{name}:0") for name in "xy")
        contexts = graph.get_collection("cond_context")
        assert [c.name for c in contexts] == [
            f"{prefix}cond/cond_text",
            f"{prefix}cond/cond_text_1",
        ]
        slope = tf.gradients(y, x)[0]
        assert [session.run(slope, {x: v}) for v in (20.0, 3.0, -2.0)] == [5.0, 6.0, -1.0]
        if scope is None:
            again = tf.train.export_meta_graph(graph=graph, clear_devices=False)
            assert list(again.collection_def["cond_context"].bytes_list.value) == list(kept)


def test_a_scope_keeps_its_own_branches() -> None:
    with tf.Graph().as_default() as graph:
        build()
        with tf.name_scope("part"):
            build()
        meta_graph = tf.train.export_meta_graph(graph=graph, export_scope="part")
    kept = meta_graph.collection_def["cond_context"].bytes_list.value
    assert len(kept) == 2
    assert all(b"part/" not in text for text in kept)


def build_loop() -> None:
    x = tf.placeholder(tf.float32, [], name="x")

    def body(i: tf.Tensor, a: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inner = tf.while_loop(lambda j, b: j < i, lambda j, b: (j + 1, b * x), [0, a])[1]
        return i + 1, tf.cond(i > 1, lambda: inner + x, lambda: inner)

    y = tf.while_loop(lambda i, a: i < 3, body, (0, x), maximum_iterations=9, name="outer")[1]
    tf.identity(y, name="y")


@pytest.mark.parametrize("scope", [None, "again"])
def test_a_gradient_through_an_imported_loop(scope: str | None) -> None:
    with tf.Graph().as_default() as graph:
        build_loop()
        meta_graph = tf.train.export_meta_graph(graph=graph)
    kept = meta_graph.collection_def["while_context"].bytes_list.value
    assert len(kept) == 1
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.train.import_meta_graph(meta_graph, import_scope=scope)
        prefix = f"{scope}/" if scope else ""
        x, y = (graph.get_tensor_by_name(f"{prefix}{name}:0") for name in "xy")
        (context,) = graph.get_collection("while_context")
        assert context.name == f"{prefix}outer/while_context"
        slope = tf.gradients(y, x)[0]
        # y = x^4 + x
        assert session.run([y, slope], {x: 2.0}) == [18.0, 33.0]
        if scope is None:
            with tf.Graph().as_default() as other:
                tf.train.import_meta_graph(meta_graph)
            again = tf.train.export_meta_graph(graph=other, clear_devices=False)
            assert list(again.collection_def["while_context"].bytes_list.value) == list(kept)


def test_a_loop_from_a_graph_def_runs_but_has_no_gradient() -> None:
    with tf.Graph().as_default() as graph:
        build_loop()
        graph_def = graph.as_graph_def()
    with tf.Graph().as_default(), tf.Session() as session:
        x, y = tf.import_graph_def(graph_def, return_elements=["x:0", "y:0"])
        assert session.run(y, {x: 2.0}) == 18.0
        with pytest.raises(ValueError, match="Import it with its MetaGraphDef"):
            tf.gradients(y, x)
