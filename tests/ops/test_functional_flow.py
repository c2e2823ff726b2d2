"""If, StatelessIf, Case, StatelessCase, While and StatelessWhile: functions as branches and bodies."""

from __future__ import annotations

from typing import Any

import pytest

import flowmesh as tf
from flowmesh.graph.functions import trace
from flowmesh.graph.raw import raw


def add(graph: tf.Graph, name: str, function: Any, types: list[Any]) -> Any:
    made = trace(function, name, types)
    graph.functions[name] = made
    return made.ref


@pytest.mark.parametrize("kind", ["If", "StatelessIf"])
def test_if_runs_one_of_two_functions(kind: str) -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        double = add(graph, "double", lambda x: [x * 2.0], [tf.float32])
        negate = add(graph, "negate", lambda x: [-x], [tf.float32])
        choice = tf.placeholder(tf.int32, None)
        make = getattr(raw, kind)
        result = make(
            choice, [tf.constant(3.0)], Tout=[tf.float32], then_branch=double, else_branch=negate
        )
        found = [session.run(result, {choice: c})[0] for c in (1, 0, [], [0])]
        assert found == [6.0, -3.0, -3.0, 6.0]


@pytest.mark.parametrize("kind", ["Case", "StatelessCase"])
def test_case_runs_the_last_function_for_a_number_that_is_none(kind: str) -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        branches = [
            add(graph, f"times_{k}", lambda x, k=k: [x * float(k)], [tf.float32]) for k in range(3)
        ]
        number = tf.placeholder(tf.int32, [])
        make = getattr(raw, kind)
        result = make(number, [tf.constant(3.0)], Tout=[tf.float32], branches=branches)
        assert [session.run(result, {number: k})[0] for k in (0, 1, 2, 7, -1)] == [0, 3, 6, 6, 6]


@pytest.mark.parametrize("kind", ["While", "StatelessWhile"])
def test_while_repeats_a_function(kind: str) -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        types = [tf.int32, tf.float32]
        cond = add(graph, "cond", lambda i, a: [i < 4], types)
        body = add(graph, "body", lambda i, a: [i + 1, a * 2.0], types)
        result = getattr(raw, kind)([tf.constant(0), tf.constant(3.0)], cond=cond, body=body)
        assert session.run(result) == [4, 48.0]
        assert session.run(tf.import_graph_def(graph.as_graph_def(), return_elements=[result[1].name])) == [48.0]  # fmt: skip


def test_an_endless_while_ends_with_its_time() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        cond = add(graph, "cond", lambda i: [i > -1], [tf.int32])
        body = add(graph, "body", lambda i: [i * 1], [tf.int32])
        result = raw.While([tf.constant(0)], cond=cond, body=body)
        with pytest.raises(tf.errors.DeadlineExceededError):
            session.run(result, options=tf.RunOptions(timeout_in_ms=50))
