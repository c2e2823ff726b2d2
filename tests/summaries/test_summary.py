"""Summary nodes are TensorFlow's: names, tags, collections and what they give."""

from __future__ import annotations

import pytest

from flowmesh.summaries.summary import clean_tag
from tests.oracle import training_cases as cases
from tests.training.names import recorded, tf

SUMMARIES = recorded("summaries")


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries(name: str) -> None:
    found, expected = cases.summary(tf, name), SUMMARIES[name]
    assert found[:2] == expected[:2]
    messages = [tf.Summary.FromString(bytes.fromhex(hexed)) for hexed in (found[2], expected[2])]
    assert messages[0] == messages[1]


def test_collections() -> None:
    with tf.Graph().as_default() as graph:
        assert tf.summary.merge_all() is None
        a = tf.summary.scalar("a", tf.constant(1.0), collections=["mine", "yours"])
        b = tf.summary.scalar("b", tf.constant(2.0))
        assert graph.get_collection("mine") == [a]
        assert graph.get_collection(tf.GraphKeys.SUMMARIES) == [b]
        merged = tf.summary.merge([a, b], collections=["merged"], name="both")
        assert merged.op.name == "both/both"
        assert graph.get_collection("merged") == [merged]
        assert tf.summary.merge_all("mine").op.name == "Merge/MergeSummary"
        again = tf.summary.scalar("a", tf.constant(3.0))
        assert again.op.name == "a_1"
        with tf.Session() as session:
            tags = [v.tag for v in tf.Summary.FromString(session.run(merged)).value]
            assert tags == ["a", "b"]
            double = tf.summary.merge([a, a])
            with pytest.raises(tf.errors.InvalidArgumentError, match="Duplicate tag a"):
                session.run(double)


def test_tags() -> None:
    assert clean_tag("a b$c/d-e.f") == "a_b_c/d-e.f"
    assert clean_tag("//x") == "x"
    assert clean_tag(None) is None


def test_text_needs_strings() -> None:
    with (
        tf.Graph().as_default(),
        pytest.raises(ValueError, match=r"to have dtype string, got tf\.int32"),
    ):
        tf.summary.text("t", tf.constant(1))


def test_description() -> None:
    with tf.Graph().as_default():
        node = tf.raw_ops.TensorSummary(tf.constant(1), description='{"typeHint": "x"}').op.node_def
        assert tf.summary.get_summary_description(node).type_hint == "x"
        other = tf.constant(1).op.node_def
        with pytest.raises(ValueError, match="Can't get_summary_description on Const"):
            tf.summary.get_summary_description(other)
