"""Recurrent networks as loops (TensorFlow: `tf.nn.dynamic_rnn`, `bidirectional_dynamic_rnn`, `raw_rnn`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend import nest
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.rnn_cell import assert_like_rnncell
from flowmesh.frontend.variable_scope import variable_scope
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import fill, reduce_functions, sequence, shape_ops
from flowmesh.ops.cast import cast
from flowmesh.ops.concat import concat
from flowmesh.ops.constant import constant
from flowmesh.ops.control_flow import Assert
from flowmesh.ops.reverse import reverse, reverse_sequence
from flowmesh.ops.stack import stack
from flowmesh.ops.tensor_array import TensorArray
from flowmesh.ops.transpose import transpose
from flowmesh.ops.unique import where
from flowmesh.ops.while_loop import while_loop


def _device_of(op: Any) -> str:
    return str(op.device)


def _cache_variables(scope: Any) -> None:
    """Variables are read once, before the loop, unless this is inside another loop."""
    context = get_default_graph()._get_control_flow_context()
    loop = None if context is None else context.while_context
    if loop is None and scope.caching_device is None:
        scope.set_caching_device(_device_of)


def _transposed(tensor: Tensor) -> Tensor:
    """[batch, time, ...] <-> [time, batch, ...]; vectors and scalars stay as they are."""
    shape = tensor.shape
    if shape.ndims is not None and shape.ndims < 2:
        return tensor
    rank = shape_ops.rank(tensor)
    turned: Tensor = transpose(tensor, concat(([1, 0], sequence.range(2, rank)), axis=0))
    if shape.ndims is not None:
        first, second, *rest = shape.as_list()
        turned.set_shape([second, first, *rest])
    return turned


def _batch_size(flat: Any) -> Any:
    """The number of examples in time-major inputs: a number where it is known."""
    for tensor in flat:
        if tensor.shape.ndims is None:
            continue
        if tensor.shape.ndims < 2:
            raise ValueError(f"Expected input tensor {tensor} to have rank at least 2")
        size = tensor.shape.as_list()[1]
        if size is not None:
            return size
    return shape_ops.shape(flat[0])[1]


def _state_dtype(dtype: Any, state: Any) -> Any:
    if dtype is not None:
        return dtype
    if not nest.is_sequence(state):
        return state.dtype
    found = [leaf.dtype for leaf in nest.flatten(state)]
    if not found:
        raise ValueError("Unable to infer dtype from empty state.")
    if any(d != found[0] for d in found):
        raise ValueError(
            "State has tensors of different inferred_dtypes. Unable to infer a single representative dtype."
        )
    return found[0]


def _part(sizes: Any) -> Tensor | None:
    """Sizes as a vector tensor; None where they are not all known."""
    if isinstance(sizes, Tensor):
        return raw.ExpandDims(sizes, 0) if sizes.shape.ndims == 0 else sizes
    shape = TensorShape([sizes]) if isinstance(sizes, int) else as_shape(sizes)
    if not shape.is_fully_defined():
        return None
    return constant(np.array(shape.as_list(), np.int32), int32)


def _joined(prefix: Any, size: Any) -> Tensor:
    """The vector [prefix, *size]; ValueError where it is not known."""
    first, rest = _part(prefix), _part(size)
    if first is None or rest is None:
        raise ValueError(f"Provided a prefix or suffix of None: {prefix} and {size}")
    return concat((first, rest), 0)


def _element_shape(batch: int | None, size: Any) -> TensorShape:
    if isinstance(size, Tensor):
        known = constant_value(size)
        rest = TensorShape(None if known is None else known.tolist())
    else:
        rest = TensorShape([size]) if isinstance(size, int) else as_shape(size)
    return TensorShape([batch]).concatenate(rest)


def _checked_lengths(lengths: Any) -> Tensor:
    """The lengths of the examples, one for each, which is checked when it runs."""
    lengths = cast(lengths, int32)
    if lengths.shape.ndims not in (None, 1):
        raise ValueError(
            f"sequence_length must be a vector of length batch_size, but saw shape: {lengths.shape}"
        )
    return raw.Identity(lengths, name="sequence_length")  # type: ignore[no-any-return]


def _with_length_check(lengths: Tensor, batch: Any) -> Tensor:
    found, wanted = shape_ops.shape(lengths), stack([batch])
    check = Assert(
        reduce_functions.reduce_all(raw.Equal(found, wanted)),
        [f"Expected shape for Tensor {lengths.name} is ", wanted, " but saw shape: ", found],
    )
    with get_default_graph().control_dependencies([check]):
        checked: Tensor = raw.Identity(lengths, name="CheckSeqLen")
    return checked


def dynamic_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    initial_state: Any = None,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    swap_memory: bool = False,
    time_major: bool = False,
    scope: Any = None,
) -> tuple[Any, Any]:
    """A recurrent network over `inputs` [batch, time, size], or [time, batch, size] when `time_major` (tf.nn.dynamic_rnn).

    Returns `(outputs, final state)`, outputs in the layout of the inputs. `sequence_length` [batch] makes examples shorter: zeros
    past the length, and the state stands still. Raises TypeError for what is no cell, ValueError for inputs of unknown size, or
    neither initial_state nor dtype.
    """
    assert_like_rnncell("cell", cell)
    with variable_scope(scope or "rnn") as opened:
        _cache_variables(opened)
        flat = nest.flatten(inputs)
        if not time_major:
            flat = [_transposed(t) for t in [convert_to_tensor(t) for t in flat]]
        if sequence_length is not None:
            sequence_length = _checked_lengths(sequence_length)
        batch = _batch_size(flat)
        if initial_state is not None:
            state = initial_state
        elif not dtype:
            raise ValueError("If there is no initial_state, you must give a dtype.")
        elif getattr(cell, "get_initial_state", None) is not None:
            state = cell.get_initial_state(inputs=None, batch_size=batch, dtype=dtype)
        else:
            state = cell.zero_state(batch, dtype)
        if sequence_length is not None:
            sequence_length = _with_length_check(sequence_length, batch)
        packed = nest.pack_sequence_as(inputs, list(flat))
        loop = _DynamicLoop(cell, packed, state, sequence_length, dtype)
        outputs, final = loop.build(parallel_iterations or 32, swap_memory)
        if not time_major:
            outputs = nest.map_structure(_transposed, outputs)
        return outputs, final


class _DynamicLoop:
    """The loop of a `dynamic_rnn` over time-major inputs."""

    def __init__(self, cell: Any, inputs: Any, state: Any, lengths: Any, dtype: Any) -> None:
        self._cell = cell
        self._inputs = inputs
        self._state = state
        self._lengths = lengths
        self._dtype = dtype
        self._flat = nest.flatten(inputs)
        self._sizes = nest.flatten(cell.output_size)
        self._steps = shape_ops.shape(self._flat[0])[0]
        self._batch = _batch_size(self._flat)
        self._shapes = [t.shape.with_rank_at_least(3) for t in self._flat]
        self._known = self._shapes[0].as_list()[:2]
        self._check_inputs()

    def _check_inputs(self) -> None:
        for shape in self._shapes:
            if not shape[2:].is_fully_defined():
                raise ValueError(
                    "Input size (depth of inputs) must be accessible via shape inference, but saw value None."
                )
            steps, batch = shape.as_list()[:2]
            if steps != self._known[0]:
                raise ValueError(
                    "Time steps is not the same for all the elements in the input in a batch."
                )
            if batch != self._known[1]:
                raise ValueError("Batch_size is not the same for all the elements in the input.")

    def build(self, parallel_iterations: int, swap_memory: bool) -> tuple[Any, Any]:
        """(time-major outputs, the last state)."""
        kind = _state_dtype(self._dtype, self._state)
        zeros = [fill.zeros(_joined(self._batch, size), kind) for size in self._sizes]
        longest: Any = self._steps
        if self._lengths is not None:
            reduce_functions.reduce_min(self._lengths)
            longest = reduce_functions.reduce_max(self._lengths)
        time = constant(0, dtype=int32, name="time")
        with name_scope("dynamic_rnn") as base:
            pass
        batch = self._known[1]
        written = tuple(
            TensorArray(
                kind,
                size=self._steps,
                element_shape=_element_shape(batch, size),
                tensor_array_name=f"{base}output_{i}",
            )
            for i, size in enumerate(self._sizes)
        )
        read = tuple(
            TensorArray(
                t.dtype,
                size=self._steps,
                element_shape=t.shape[1:],
                tensor_array_name=f"{base}input_{i}",
            )
            for i, t in enumerate(self._flat)
        )
        read = tuple(a.unstack(t) for a, t in zip(read, self._flat))
        bound = raw.Minimum(self._steps, raw.Maximum(1, longest))
        _, written, final = while_loop(
            lambda time, *_: time < bound,
            lambda time, arrays, state: self._step(time, arrays, state, read, zeros),
            (time, written, self._state),
            parallel_iterations=parallel_iterations,
            maximum_iterations=self._steps,
            swap_memory=swap_memory,
        )
        outputs = [a.stack() for a in written]
        for output, size in zip(outputs, self._sizes):
            _part(self._known), _part(size)  # TensorFlow makes these constants, too
            rest = _element_shape(None, size).as_list()[1:]
            output.set_shape([*self._known, *rest])
        return nest.pack_sequence_as(self._cell.output_size, outputs), final

    def _step(self, time: Tensor, arrays: Any, state: Any, read: Any, zeros: list[Any]) -> Any:
        values = [a.read(time) for a in read]
        for value, shape in zip(values, self._shapes):
            value.set_shape(shape[1:])
        inputs = nest.pack_sequence_as(self._inputs, values)
        if self._lengths is None:
            output, state = self._cell(inputs, state)
            flat = nest.flatten(output)
        else:
            flat, state = self._masked(time, inputs, state, zeros)
        return time + 1, tuple(a.write(time, v) for a, v in zip(arrays, flat)), state

    def _masked(self, time: Tensor, inputs: Any, state: Any, zeros: list[Any]) -> tuple[Any, Any]:
        """A step in which examples that are over put out zeros and keep their state."""
        over = time >= self._lengths
        output, new = self._cell(inputs, state)
        nest.assert_same_structure(self._cell.output_size, output)
        nest.assert_same_structure(state, new)
        new_states, outputs = nest.flatten(new), nest.flatten(output)
        flat = [_kept(over, zero, value) for zero, value in zip(zeros, outputs)]
        states = [_kept(over, old, value) for old, value in zip(nest.flatten(state), new_states)]
        return flat, nest.pack_sequence_as(state, states)


def _kept(over: Tensor, old: Any, new: Any) -> Any:
    """`old` for the examples that are over, `new` for the others."""
    if isinstance(old, TensorArray) or old.shape.ndims == 0:
        return new
    with get_default_graph().colocate_with(new.op):
        return where(over, old, new)


def bidirectional_dynamic_rnn(
    cell_fw: Any,
    cell_bw: Any,
    inputs: Any,
    sequence_length: Any = None,
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    swap_memory: bool = False,
    time_major: bool = False,
    scope: Any = None,
) -> tuple[Any, Any]:
    """`dynamic_rnn` forwards and backwards: `((outputs_fw, outputs_bw), (state_fw, state_bw))`
    (tf.nn.bidirectional_dynamic_rnn)."""
    assert_like_rnncell("cell_fw", cell_fw)
    assert_like_rnncell("cell_bw", cell_bw)
    time_axis, batch_axis = (0, 1) if time_major else (1, 0)

    def turned(tensor: Any) -> Any:
        if sequence_length is None:
            return reverse(tensor, axis=[time_axis])
        return reverse_sequence(
            input=tensor,
            seq_lengths=sequence_length,
            seq_axis=time_axis,
            batch_axis=batch_axis,
        )

    def run(cell: Any, values: Any, state: Any, opened: Any) -> tuple[Any, Any]:
        return dynamic_rnn(
            cell, values, sequence_length, state, dtype, parallel_iterations, swap_memory,
            time_major, opened,
        )  # fmt: skip

    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as forward:
            ahead, state_fw = run(cell_fw, inputs, initial_state_fw, forward)
        with variable_scope("bw") as backward:
            back, state_bw = run(
                cell_bw, nest.map_structure(turned, inputs), initial_state_bw, backward
            )
    return (ahead, nest.map_structure(turned, back)), (state_fw, state_bw)


def raw_rnn(
    cell: Any,
    loop_fn: Callable[..., Any],
    parallel_iterations: int | None = None,
    swap_memory: bool = False,
    scope: Any = None,
) -> tuple[Any, Any, Any]:
    """A recurrent network that `loop_fn` feeds (tf.nn.raw_rnn): `(TensorArrays of what it emits, final state, final loop state)`.

    `loop_fn(time, cell_output, cell_state, loop_state)` returns `(finished [batch], next input, next state, what to emit, next loop
    state)`; it is first called with None for all but the time, and then says how the loop begins and what is emitted looks like.
    Raises TypeError for what is no cell or not callable.
    """
    assert_like_rnncell("cell", cell)
    if not callable(loop_fn):
        raise TypeError("loop_fn must be a callable")
    with variable_scope(scope or "rnn") as opened:
        _cache_variables(opened)
        return _RawLoop(cell, loop_fn).build(parallel_iterations or 32, swap_memory)


class _RawLoop:
    """The loop of a `raw_rnn`."""

    def __init__(self, cell: Any, loop_fn: Callable[..., Any]) -> None:
        self._cell = cell
        self._loop_fn = loop_fn

    def build(self, parallel_iterations: int, swap_memory: bool) -> tuple[Any, Any, Any]:
        """What is emitted, the last state and the last loop state."""
        time = constant(0, dtype=int32)
        finished, following, state, emitted, given = self._loop_fn(time, None, None, None)
        loop_state = constant(0, dtype=int32) if given is None else given
        flat = nest.flatten(following)
        known = flat[0].shape.as_list()[0] if flat[0].shape.ndims is not None else None
        batch: Any = shape_ops.shape(flat[0])[0] if known is None else known
        nest.assert_same_structure(state, self._cell.state_size)
        states = [convert_to_tensor(s) for s in nest.flatten(state)]
        state = nest.pack_sequence_as(state, states)
        if emitted is not None:
            leaves = nest.flatten(emitted)
            sizes: list[Any] = [
                e.shape if e.shape.is_fully_defined() else shape_ops.shape(e) for e in leaves
            ]
            kinds = [e.dtype for e in leaves]
        else:
            emitted = self._cell.output_size
            sizes = nest.flatten(emitted)
            kinds = [states[0].dtype] * len(sizes)
        arrays = [
            TensorArray(
                kind,
                dynamic_size=True,
                element_shape=_element_shape(known, size),
                size=0,
                name=f"rnn_output_{i}",
            )
            for i, (kind, size) in enumerate(zip(kinds, sizes))
        ]
        zeros = [fill.zeros(_joined(batch, size), kind) for size, kind in zip(sizes, kinds)]
        self._zeros = nest.pack_sequence_as(emitted, zeros)
        returned = while_loop(
            lambda _, finished, *rest: raw.LogicalNot(reduce_functions.reduce_all(finished)),
            self._step,
            [time, finished, following, nest.pack_sequence_as(emitted, arrays), state, loop_state],
            parallel_iterations=parallel_iterations,
            swap_memory=swap_memory,
        )
        written, final, last = returned[-3:]
        return written, final, None if given is None else last

    def _step(
        self, time: Any, finished: Any, inputs: Any, arrays: Any, state: Any, loop_state: Any
    ) -> tuple[Any, ...]:
        output, cell_state = self._cell(inputs, state)
        nest.assert_same_structure(state, cell_state)
        nest.assert_same_structure(self._cell.output_size, output)
        later = time + 1
        ends, following, next_state, emitted, next_loop_state = self._loop_fn(
            later, output, cell_state, loop_state
        )
        nest.assert_same_structure(state, next_state)
        nest.assert_same_structure(inputs, following)
        nest.assert_same_structure(arrays, emitted)

        def kept(old: Any, new: Any) -> Any:
            return nest.map_structure(lambda a, b: _kept(finished, a, b), old, new)

        emitted = kept(self._zeros, emitted)
        next_state = kept(state, next_state)
        arrays = nest.map_structure(lambda a, v: a.write(time, v), arrays, emitted)
        finished = raw.LogicalOr(finished, ends)
        if next_loop_state is None:
            next_loop_state = loop_state
        return later, finished, following, arrays, next_state, next_loop_state
