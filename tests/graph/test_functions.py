"""Functions: tracing with captures, the library of a graph, FunctionDef in and out."""

from __future__ import annotations

from typing import Any

import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.graph import serde
from flowmesh.graph.function import reachable
from flowmesh.graph.functions import trace, unique_function_name


def traced(function: Any, *dtypes: Any, name: str = "f", **kwargs: Any) -> Any:
    return trace(function, unique_function_name(name), dtypes, [[]] * len(dtypes), **kwargs)


def test_a_body_has_its_own_names_and_takes_tensors_from_outside_as_arguments() -> None:
    with tf.Graph().as_default():
        y = tf.constant(2.0, name="y")
        function = traced(lambda x: [x * y + y, x], tf.float32)
        assert function.captured == (y,)
        assert [a.name for a in function.inputs] == ["args_0", "mul_y"]
        assert [a.name for a in function.outputs] == ["identity", "identity_1"]
        ops = [(op.name, op.type) for op in function.body.graph.get_operations()]
        assert ops == [
            ("args_0", "Placeholder"),
            ("mul/y", "Placeholder"),
            ("mul", "Mul"),
            ("add", "AddV2"),
            ("Identity", "Identity"),
            ("Identity_1", "Identity"),
        ]
        assert tf.get_default_graph().get_operations() == [y.op]


def test_functions_in_functions_take_tensors_from_all_around() -> None:
    with tf.Graph().as_default():
        y = tf.constant(2.0, name="y")
        inner: list[Any] = []

        def outer(x: Any) -> Any:
            inner.append(traced(lambda z: [z + y], tf.float32, name="inner"))
            tf.get_default_graph().add_function(inner[0])
            return [tf.identity(inner[0].captured[0]) + x]

        function = traced(outer, tf.float32)
        assert inner[0].captured == (y,)
        assert function.captured == (y,)
        tf.get_default_graph().add_function(function)
        assert set(tf.get_default_graph().functions) == {function.name, inner[0].name}


def test_effects_keep_their_order_and_results_wait_for_them() -> None:
    with tf.Graph().as_default():
        v = tf.get_variable("v", [], use_resource=True)

        def body(x: Any) -> Any:
            v.assign_add(x)
            return [v.read_value()]

        function = traced(body, tf.float32)
        graph = function.body.graph
        assert next(op.type for op in function.body.controls) == "AssignAddVariableOp"
        (result,) = function.body.outputs
        assert set(result.op.control_inputs) >= set(function.body.controls)
        read = next(op for op in graph.get_operations() if op.type == "ReadVariableOp")
        assert graph.get_operation_by_name("AssignAddVariableOp") in read.control_inputs
        assert function.stateful


def test_what_is_copied_by_value_makes_no_arguments() -> None:
    with tf.Graph().as_default():
        y = tf.constant(2.0, name="y") * 3.0
        function = traced(lambda: [y], capture_by_value=True, wrap_outputs=False)
        assert function.captured == () and function.inputs == ()
        assert [op.type for op in function.body.graph.get_operations()] == ["Const", "Const", "Mul"]
        fed = tf.placeholder(tf.float32)
        with pytest.raises(ValueError, match="Cannot capture a placeholder"):
            traced(lambda: [fed + 1.0], capture_by_value=True)
        drawn = tf.random_uniform([])
        with pytest.raises(ValueError, match="Cannot capture a stateful node"):
            traced(lambda: [drawn + 1.0], capture_by_value=True)


def test_function_definitions_are_written_and_read() -> None:
    def body(a: Any, b: Any) -> Any:
        with tf.control_dependencies([tf.no_op(name="first")]):
            parts = tf.split([a, b], 2)
        return [parts[1], tf.unstack([a, b])[1]]

    with tf.Graph().as_default() as graph:
        function = traced(body, tf.float32, tf.float32)
        graph.add_function(function)
        graph_def = graph.as_graph_def()
    assert graph_def.versions.min_consumer == 12
    (message,) = graph_def.library.function
    assert dict(message.ret) == {
        "identity": "Identity:output:0",
        "identity_1": "Identity_1:output:0",
    }
    pack = next(n for n in message.node_def if n.name == "split/value")
    assert list(pack.input) == ["args_0", "args_1", "^first"]
    identity = next(n for n in message.node_def if n.name == "Identity")
    assert list(identity.input) == ["split:output:1"]
    with tf.Graph().as_default() as other:
        tf.import_graph_def(graph_def, name="")
        assert other.as_graph_def().library == graph_def.library
        read = other.functions[function.name]
        read.body  # noqa: B018  (builds it)
        read.message = None
        again = serde.function_to_proto(read)
        assert list(again.node_def) == list(message.node_def)
        assert again.ret == message.ret


def test_functions_that_cannot_be_built_fail_when_they_are_needed() -> None:
    with tf.Graph().as_default() as graph:
        graph.add_function(traced(lambda x: [x + 1.0], tf.float32))
        graph_def = graph.as_graph_def()
    graph_def.library.function[0].node_def[1].op = "NoSuchOp"
    with tf.Graph().as_default() as other:
        tf.import_graph_def(graph_def, name="")
        (function,) = other.functions.values()
        with pytest.raises(errors.NotFoundError, match=r"Function __inference_f_.*NoSuchOp"):
            function.body  # noqa: B018


def test_two_functions_of_one_name_are_refused() -> None:
    with tf.Graph().as_default() as graph:
        first, second = (trace(lambda x: [x], "same", [tf.float32]) for _ in range(2))
        graph.add_function(first)
        graph.add_function(first)
        with pytest.raises(ValueError, match="different function with the same name"):
            graph.add_function(second)


def test_only_what_ops_need_is_reachable() -> None:
    with tf.Graph().as_default() as graph:
        graph.add_function(traced(lambda x: [x], tf.float32))
        assert reachable(graph.get_operations(), graph.functions) == {}


def test_the_name_of_a_hashed_function_depends_on_its_body() -> None:
    with tf.Graph().as_default():
        names = [trace(lambda x, k=k: [x + k], "g*", [tf.float32]).name for k in (1.0, 1.0, 2.0)]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("g_")
