"""Variables beyond what recordings show: long initial values, slices, closed graphs, threads of reads."""

from __future__ import annotations

import numpy as np
import pytest

import flowmesh as tf


@pytest.mark.parametrize("resource", [False, True])
def test_an_initial_value_may_be_a_long_computation(resource: bool) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        value = tf.constant(0.0)
        for _ in range(3000):
            value = tf.identity(value)
        v = tf.Variable(value + 1.0, use_resource=resource)
        session.run(v.initializer)
        assert session.run(v) == 1.0


@pytest.mark.parametrize("resource", [False, True])
def test_an_assignment_can_be_chained_and_waited_for(resource: bool) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([1.0, 2.0], use_resource=resource)
        once = v.assign([3.0, 4.0])
        with tf.control_dependencies([once]):
            read = v.read_value()
        session.run(v.initializer)
        assert session.run(read).tolist() == [3.0, 4.0]
        doubled = once * 2.0
        assert session.run(doubled).tolist() == [6.0, 8.0]
        session.run(tf.group(v.assign_add([1.0, 1.0])))
        assert session.run(v).tolist() == [4.0, 5.0]


def test_resource_assignments_follow_each_other() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable(1.0, use_resource=True)
        session.run(v.initializer)
        assert session.run(v.assign(5.0).read_value()) == 5.0
        assert session.run(v.assign_add(1.0).value()) == 6.0


def test_a_shape_that_is_not_validated_may_change() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([1.0], validate_shape=False)
        session.run(v.initializer)
        session.run(tf.assign(v, [[1.0, 2.0]], validate_shape=False))
        assert session.run(v).shape == (1, 2)


def test_load_sets_a_value_without_new_nodes() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        v = tf.Variable([1.0, 2.0])
        session.run(v.initializer)
        graph.finalize()
        v.load(np.array([7.0, 8.0]), session)
        assert session.run(v).tolist() == [7.0, 8.0]


def test_slice_information_is_written_and_read() -> None:
    with tf.Graph().as_default():
        v = tf.Variable([1.0, 2.0], name="part_0")
        v._set_save_slice_info(tf.Variable.SaveSliceInfo("whole", [4], [2], [2]))
        proto = v.to_proto()
        again = tf.Variable.from_proto(proto)
        info = again._get_save_slice_info()
        assert info.spec == "4 2,2"
        assert again.to_proto() == proto


def test_variables_of_one_graph_are_not_those_of_another() -> None:
    with tf.Graph().as_default():
        tf.get_variable("v", [1])
        assert len(tf.global_variables()) == 1
    with tf.Graph().as_default():
        assert tf.global_variables() == []
        assert tf.get_variable("v", [2]).name == "v:0"


def test_default_use_of_resource_variables_can_be_switched() -> None:
    from flowmesh.frontend import variable_scope

    variable_scope.enable_resource_variables()
    try:
        with tf.Graph().as_default():
            assert tf.Variable(1.0).op.type == "VarHandleOp"
            assert tf.get_variable("v", [1]).op.type == "VarHandleOp"
    finally:
        variable_scope.disable_resource_variables()
    with tf.Graph().as_default():
        assert tf.Variable(1.0).op.type == "VariableV2"
