"""Recurrent networks over sequences (TensorFlow: `tf.nn.static_rnn`, `dynamic_rnn` and their bidirectional forms)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.frontend import nest
from flowmesh.frontend.rnn_cell import assert_like_rnncell
from flowmesh.frontend.variable_scope import variable_scope
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import comparison, fill, shape_ops
from flowmesh.ops.cast import cast
from flowmesh.ops.concat import concat
from flowmesh.ops.reverse import reverse_sequence
from flowmesh.ops.stack import stack, unstack
from flowmesh.ops.unique import where

_NO_DTYPE = "If no initial_state is provided, dtype must be specified"


def _device_of(op: Any) -> str:
    return str(op.device)


def _batch_size(inputs: Sequence[Any]) -> Any:
    """The static batch size, or the tensor of the first input's; ValueError for inputs of unknown size."""
    batch = None
    for tensor in nest.flatten(inputs[0]):
        sizes = tensor.shape.with_rank_at_least(1).as_list()
        for axis, size in enumerate(sizes[1:]):
            if size is None:
                raise ValueError(
                    f"Input size (dimension {axis} of inputs) must be accessible via shape inference, but saw value None."
                )
        batch = sizes[0] if batch is None else batch
    if batch is not None:
        return batch
    return shape_ops.shape(nest.flatten(inputs[0])[0])[0]


def _lengths(sequence_length: Any) -> Any:
    if sequence_length is None:
        return None
    lengths = convert_to_tensor(sequence_length, name="sequence_length")
    if lengths.shape.ndims not in (None, 1):
        raise ValueError("sequence_length must be a vector of length batch_size")
    return cast(lengths, int32)


def _masked(time: int, lengths: Any, new: Any, old: Any) -> Any:
    """`new` for the examples that last longer than `time`, `old` for the others."""
    alive = comparison.less(np.int32(time), lengths)
    return nest.map_structure(lambda a, b: where(alive, a, b), new, old, check_types=False)


def _unrolled(
    cell: Any, inputs: Sequence[Any], state: Any, lengths: Any, scope: Any
) -> tuple[list[Any], Any]:
    """Calls the cell for each step; past its length an example puts out zeros and keeps its state."""
    outputs: list[Any] = []
    for time, step in enumerate(inputs):
        if time > 0:
            scope.reuse_variables()
        output, new_state = cell(step, state)
        if lengths is not None:
            blank = nest.map_structure(fill.zeros_like, output)
            output = _masked(time, lengths, output, blank)
            new_state = _masked(time, lengths, new_state, state)
        state = new_state
        outputs.append(output)
    return outputs, state


def _prepared(cell: Any, inputs: Sequence[Any], state: Any, dtype: Any, scope: Any) -> Any:
    if scope.caching_device is None:
        scope.set_caching_device(_device_of)
    batch = _batch_size(inputs)
    if state is not None:
        return state
    if dtype is None:
        raise ValueError(_NO_DTYPE)
    if hasattr(cell, "zero_state"):
        return cell.zero_state(batch, dtype)
    return cell.get_initial_state(inputs=None, batch_size=batch, dtype=dtype)


def static_rnn(
    cell: Any,
    inputs: Sequence[Any],
    initial_state: Any = None,
    dtype: Any = None,
    sequence_length: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """A recurrent network over a list of inputs, each [batch, size] (tf.nn.static_rnn): `(outputs, final state)`.

    Give `initial_state` or `dtype`. With `sequence_length` [batch], outputs past the length are zero and the state stands still.
    Raises TypeError for what is no cell or no list, ValueError for no inputs, unknown input sizes, or neither of the two.
    """
    assert_like_rnncell("cell", cell)
    if not nest.is_sequence(inputs):
        raise TypeError("inputs must be a sequence")
    if not inputs:
        raise ValueError("inputs must not be empty")
    with variable_scope(scope or "rnn") as opened:
        state = _prepared(cell, inputs, initial_state, dtype, opened)
        return _unrolled(cell, inputs, state, _lengths(sequence_length), opened)


def static_bidirectional_rnn(
    cell_fw: Any,
    cell_bw: Any,
    inputs: Sequence[Any],
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    dtype: Any = None,
    sequence_length: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any, Any]:
    """One network forwards and one backwards over a list of inputs (tf.nn.static_bidirectional_rnn).

    Returns the joined outputs of each step, and the two final states.
    """
    assert_like_rnncell("cell_fw", cell_fw)
    assert_like_rnncell("cell_bw", cell_bw)
    if not nest.is_sequence(inputs):
        raise TypeError("inputs must be a sequence")
    if not inputs:
        raise ValueError("inputs must not be empty")
    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as forward:
            ahead, state_fw = static_rnn(
                cell_fw, inputs, initial_state_fw, dtype, sequence_length, scope=forward
            )
        with variable_scope("bw") as backward:
            turned = _reversed(inputs, sequence_length)
            back, state_bw = static_rnn(
                cell_bw, turned, initial_state_bw, dtype, sequence_length, scope=backward
            )
    back = _reversed(back, sequence_length)
    joined = [concat([a, b], 1) for a, b in zip(nest.flatten(ahead), nest.flatten(back))]
    return nest.pack_sequence_as(ahead, joined), state_fw, state_bw


def _reversed(steps: Sequence[Any], lengths: Any) -> list[Any]:
    if lengths is None:
        return list(reversed(steps))
    whole = reverse_sequence(stack(list(steps)), _lengths(lengths), seq_axis=0, batch_axis=1)
    parts = unstack(whole, len(steps))
    for part, step in zip(parts, steps):
        part.set_shape(step.shape)
    return list(parts)


def static_state_saving_rnn(
    cell: Any,
    inputs: Sequence[Any],
    state_saver: Any,
    state_name: Any,
    sequence_length: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """`static_rnn` whose state comes from and goes to `state_saver` (tf.nn.static_state_saving_rnn).

    `state_name` names the states: one name, or as many as the cell has states.
    """
    nested = nest.is_sequence(cell.state_size)
    if nested != nest.is_sequence(state_name):
        raise ValueError(
            f"state_name should be the same type as cell.state_size.  state_name: {state_name}, cell.state_size: {cell.state_size}"
        )
    names = nest.flatten(state_name) if nested else [state_name]
    first = [state_saver.state(name) for name in names]
    initial = nest.pack_sequence_as(cell.state_size, first) if nested else first[0]
    outputs, state = static_rnn(cell, inputs, initial, None, sequence_length, scope)
    saved = [state_saver.save_state(n, s) for n, s in zip(names, nest.flatten(state))]
    with get_default_graph().control_dependencies(saved):
        last = [raw.Identity(t) for t in nest.flatten(outputs[-1])]
    outputs[-1] = nest.pack_sequence_as(outputs[-1], last)
    return outputs, state
