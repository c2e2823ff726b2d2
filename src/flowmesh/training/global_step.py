"""The global step: the variable that counts the steps of a training, shared by all workers."""

from __future__ import annotations

from typing import Any

from flowmesh.core import dtypes
from flowmesh.frontend.initializers import Zeros
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variable_scope import get_variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The value of the global step in a session, as an int (TensorFlow: `tf.train.global_step`)."""
    return int(sess.run(global_step_tensor))


def get_global_step(graph: Any = None) -> Any:
    """The global step variable of a graph, or None (TensorFlow: `tf.train.get_global_step`).

    It is the one item of the collection GLOBAL_STEP, else the tensor "global_step:0". Raises TypeError when that is no
    integer scalar.
    """
    graph = graph or get_default_graph()
    found = graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(found) == 1:
        tensor = found[0]
    elif not found:
        try:
            tensor = graph.get_tensor_by_name("global_step:0")
        except KeyError:
            return None
    else:
        return None
    assert_global_step(tensor)
    return tensor


def create_global_step(graph: Any = None) -> Any:
    """Makes the int64 variable `global_step` in a graph (TensorFlow: `tf.train.create_global_step`).

    Raises ValueError when there is one already.
    """
    graph = graph or get_default_graph()
    if get_global_step(graph) is not None:
        raise ValueError('"global_step" already exists.')
    with graph.as_default(), name_scope(None):
        return get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype=dtypes.int64,
            initializer=Zeros(),
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )


def get_or_create_global_step(graph: Any = None) -> Any:
    """The global step variable of a graph, made if it is not there (TensorFlow: `tf.train.get_or_create_global_step`)."""
    graph = graph or get_default_graph()
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found


def assert_global_step(global_step_tensor: Any) -> None:
    """Raises TypeError unless the argument is an integer scalar variable or tensor."""
    is_tensor = hasattr(global_step_tensor, "dtype") and hasattr(global_step_tensor, "get_shape")
    if not is_tensor:
        raise TypeError(
            f'Existing "global_step" must be a Variable or Tensor: {global_step_tensor}.'
        )
    if not global_step_tensor.dtype.base_dtype.is_integer:
        raise TypeError(
            f'Existing "global_step" does not have integer type: {global_step_tensor.dtype}'
        )
    shape = global_step_tensor.shape
    if shape.ndims != 0 and shape.is_fully_defined():
        raise TypeError(f'Existing "global_step" is not scalar: {shape}')
