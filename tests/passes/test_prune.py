"""Pruning: what a run needs, in which order, and what feeds cut off."""

from __future__ import annotations

import pytest

from flowmesh.core import errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.passes.prune import prune, topological_order
from tests.passes.builders import const, placeholder


def names(ops):
    return [op.name for op in ops]


def test_only_what_is_needed_in_creation_order():
    with Graph().as_default() as graph:
        a, b = const(1.0, "a"), const(2.0, "b")
        raw.Add(a, b, name="unused")
        wanted = raw.Mul(b, a, name="wanted")
    assert names(prune(graph, [wanted])) == ["a", "b", "wanted"]


def test_targets_and_control_inputs_count():
    with Graph().as_default() as graph:
        a = const(1.0, "a")
        with graph.control_dependencies([a]):
            target = raw.NoOp(name="target")
    assert names(prune(graph, [], [target])) == ["a", "target"]


def test_a_feed_cuts_off_what_only_it_needs():
    with Graph().as_default() as graph:
        a = const(1.0, "a")
        x = raw.Neg(a, name="x")
        y = raw.Neg(x, name="y")
    assert names(prune(graph, [y], feeds=[x])) == ["y"]
    assert names(prune(graph, [x], feeds=[x])) == []


def test_a_fed_op_satisfies_control_edges():
    with Graph().as_default() as graph:
        x = placeholder("x")
        with graph.control_dependencies([x]):
            y = raw.NoOp(name="y")
    assert names(prune(graph, [], [y], feeds=[x])) == ["y"]


def test_one_output_fed_leaves_the_other():
    with Graph().as_default() as graph:
        parts = raw.Unpack(const([1.0, 2.0], "c"), num=2, name="parts")
        total = raw.Add(parts[0], parts[1], name="total")
    assert names(prune(graph, [total], feeds=[parts[0]])) == ["c", "parts", "total"]


def test_order_follows_edges_rather_than_ids():
    with Graph().as_default() as graph:
        early = raw.NoOp(name="early")
        late = raw.NoOp(name="late")
    early._add_control_input(late)
    assert names(topological_order(graph.get_operations())) == ["late", "early"]


def test_a_cycle_is_named():
    with Graph().as_default() as graph:
        a = const(1.0, "a")
        b = raw.Add(a, const(1.0), name="b")
        c = raw.Add(b, const(1.0), name="c")
        d = raw.Neg(c, name="d")
    b.op._update_input(0, c)
    with pytest.raises(errors.InvalidArgumentError) as caught:
        prune(graph, [d])
    assert "Graph is invalid, contains a cycle with 2 nodes, including: b, c" in str(caught.value)
    assert "test_prune.py" in str(caught.value)
