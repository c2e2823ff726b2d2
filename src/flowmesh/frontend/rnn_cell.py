"""Recurrent cells: one step of a recurrent network (TensorFlow: `tf.nn.rnn_cell`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flowmesh.core.dtypes import float32, int32
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend import nest
from flowmesh.frontend.initializers import Constant, Zeros
from flowmesh.frontend.layers.base import InputSpec, Layer
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variable_scope import get_variable_scope, variable_scope
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import clip, elementwise, math_functions, nn_misc
from flowmesh.ops.concat import concat
from flowmesh.ops.constant import constant
from flowmesh.ops.fill import zeros
from flowmesh.ops.reshape import expand_dims
from flowmesh.ops.slicing import slice_
from flowmesh.ops.split import split

_sigmoid = elementwise.sigmoid


class LSTMStateTuple(NamedTuple):
    """The state of an LSTM: the cell's memory `c` and its output `h`."""

    c: Any
    h: Any

    @property
    def dtype(self) -> Any:
        """The dtype of both; TypeError when they differ."""
        if self.c.dtype != self.h.dtype:
            raise TypeError(f"Inconsistent internal state: {self.c.dtype} vs {self.h.dtype}")
        return self.c.dtype


def assert_like_rnncell(cell_name: str, cell: Any) -> None:
    """Raises TypeError unless `cell` has what an RNNCell has."""
    found = (
        (hasattr(cell, "output_size"), "'output_size' property is missing"),
        (hasattr(cell, "state_size"), "'state_size' property is missing"),
        (
            hasattr(cell, "zero_state") or hasattr(cell, "get_initial_state"),
            "either 'zero_state' or 'get_initial_state' method is required",
        ),
        (callable(cell), "is not callable"),
    )
    missing = [text for there, text in found if not there]
    if missing:
        raise TypeError(
            f"The argument {cell_name!r} ({cell}) is not an RNNCell: {', '.join(missing)}."
        )


def _batch_and(batch_size: Any, size: Any) -> list[Any]:
    """The batch size and the sizes of one state as vectors."""
    if isinstance(batch_size, Tensor):
        first = expand_dims(batch_size, 0) if batch_size.shape.ndims == 0 else batch_size
    else:
        first = constant(as_shape([batch_size]).as_list(), int32)
    sizes = list(as_shape(size).as_list()) if not isinstance(size, int) else [size]
    return [first, constant(sizes, int32)]


def _zeros(state_size: Any, batch_size: Any, dtype: Any) -> Any:
    def make(size: Any) -> Any:
        result = zeros(concat(_batch_and(batch_size, size), 0), dtype=dtype)
        _batch_and(batch_size, size)
        known = batch_size if not isinstance(batch_size, Tensor) else None
        sizes = [size] if isinstance(size, int) else as_shape(size).as_list()
        result.set_shape([known, *sizes])
        return result

    return nest.map_structure(make, state_size)


class RNNCell(Layer):
    """Base of recurrent cells: `cell(inputs, state)` gives `(output, next_state)`.

    Subclasses define `state_size` (a size, or a structure of sizes), `output_size` and `call(inputs, state)`.
    """

    def __init__(
        self, trainable: bool = True, name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(trainable=trainable, name=name, dtype=dtype, **kwargs)
        self._cell_scope: Any = None

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:  # type: ignore[override]
        """`(output, next_state)` for `inputs` [batch, n] and the state."""
        if not hasattr(self, "_trainable_weights"):
            RNNCell.__init__(self)
        if scope is not None:
            with variable_scope(scope, custom_getter=self._noting) as opened:
                return super().__call__(inputs, state, scope=opened)
        if self._cell_scope is None:
            self._cell_scope = variable_scope(get_variable_scope(), custom_getter=self._noting)
        with self._cell_scope:
            return super().__call__(inputs, state)

    def _noting(self, getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Adds the variables that `call` makes to those of the cell."""
        variable = getter(*args, **kwargs)
        known = [*self._trainable_weights, *self._non_trainable_weights]
        if not any(variable is v for v in known):
            trainable = getattr(variable, "trainable", True)
            (self._trainable_weights if trainable else self._non_trainable_weights).append(variable)
        return variable

    @property
    def state_size(self) -> Any:
        """The size of the state, or a structure of sizes."""
        raise NotImplementedError("Abstract method")

    @property
    def output_size(self) -> Any:
        """The size of the output."""
        raise NotImplementedError("Abstract method")

    def build(self, _: Any) -> None:
        """Nothing: variables are made by `call`."""

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Zeros for the state of a batch; `batch_size` is an int or a scalar tensor."""
        with _scope_of(self, batch_size):
            return _zeros(self.state_size, batch_size, dtype)

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        """The zero state for a batch as large as `inputs`, or of `batch_size`; ValueError without either or a dtype."""
        if inputs is not None:
            batch_size, dtype = raw.Shape(inputs)[0], inputs.dtype
        if batch_size is None or dtype is None:
            raise ValueError(
                "batch_size and dtype cannot be None while constructing initial state: "
                f"batch_size={batch_size}, dtype={dtype}"
            )
        return self.zero_state(batch_size, dtype)


def _scope_of(cell: Any, batch_size: Any) -> Any:
    return name_scope(type(cell).__name__ + "ZeroState", values=[batch_size])


class LayerRNNCell(RNNCell):
    """A cell that makes its variables in `build`, as layers do."""

    def __call__(
        self, inputs: Any, state: Any, scope: Any = None, *args: Any, **kwargs: Any
    ) -> Any:  # type: ignore[override]
        """`(output, next_state)`."""
        return Layer.__call__(self, inputs, state, *args, scope=scope, **kwargs)

    def _input_depth(self, shape: Any) -> int:
        sizes = TensorShape(shape).as_list()
        if sizes[-1] is None:
            raise ValueError(
                f"Expected inputs.shape[-1] to be known, saw shape: {TensorShape(shape)}"
            )
        self.input_spec = InputSpec(ndim=2)
        return int(sizes[-1])


class BasicRNNCell(LayerRNNCell):
    """`output = new_state = activation(W * [input, state] + b)`; variables `kernel`, `bias`."""

    def __init__(
        self,
        num_units: int,
        activation: Any = None,
        reuse: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, _reuse=reuse, **kwargs)
        self._num_units = num_units
        self._activation = activation or elementwise.tanh

    @property
    def state_size(self) -> Any:
        """The number of units."""
        return self._num_units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def build(self, inputs_shape: Any) -> None:
        """Makes `kernel` and `bias`."""
        depth = self._input_depth(inputs_shape)
        self._kernel = self.add_variable("kernel", [depth + self._num_units, self._num_units])
        self._bias = self.add_variable("bias", [self._num_units], initializer=Zeros(self.dtype))
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(output, output)`."""
        gate = raw.MatMul(concat([inputs, state], 1), self._kernel)
        output = self._activation(nn_misc.bias_add(gate, self._bias))
        return output, output


class GRUCell(LayerRNNCell):
    """The gated recurrent unit (Cho et al. 2014); variables `gates/*` and `candidate/*`."""

    def __init__(
        self,
        num_units: int,
        activation: Any = None,
        reuse: Any = None,
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, _reuse=reuse, **kwargs)
        self._num_units = num_units
        self._activation = activation or elementwise.tanh
        self._kernel_initializer, self._bias_initializer = kernel_initializer, bias_initializer

    @property
    def state_size(self) -> Any:
        """The number of units."""
        return self._num_units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def build(self, inputs_shape: Any) -> None:
        """Makes the variables of the gates and of the candidate."""
        depth, units = self._input_depth(inputs_shape), self._num_units
        given = self._bias_initializer
        for part, width, bias in (
            ("gate", 2 * units, given if given is not None else Constant(1.0, self.dtype)),
            ("candidate", units, given if given is not None else Zeros(self.dtype)),
        ):
            folder = "gates" if part == "gate" else part
            kernel = self.add_variable(
                f"{folder}/kernel", [depth + units, width], initializer=self._kernel_initializer
            )
            setattr(self, f"_{part}_kernel", kernel)
            made = self.add_variable(f"{folder}/bias", [width], initializer=bias)
            setattr(self, f"_{part}_bias", made)
        self.built = True

    _gate_kernel: Any
    _gate_bias: Any
    _candidate_kernel: Any
    _candidate_bias: Any

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(new_state, new_state)`."""
        gates = raw.MatMul(concat([inputs, state], 1), self._gate_kernel)
        value = _sigmoid(nn_misc.bias_add(gates, self._gate_bias))
        r, u = split(value=value, num_or_size_splits=2, axis=1)
        candidate = raw.MatMul(concat([inputs, r * state], 1), self._candidate_kernel)
        c = self._activation(nn_misc.bias_add(candidate, self._candidate_bias))
        new = u * state + (1 - u) * c
        return new, new


class BasicLSTMCell(LayerRNNCell):
    """The LSTM without peepholes (Zaremba et al. 2014); variables `kernel`, `bias`.

    The state is an `LSTMStateTuple`, or one joined tensor with `state_is_tuple=False`.
    """

    def __init__(
        self,
        num_units: int,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("input_size", None)  # TensorFlow 0.x
        super().__init__(name=name, dtype=dtype, _reuse=reuse, **kwargs)
        self._num_units, self._forget_bias = num_units, forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = activation or elementwise.tanh

    @property
    def state_size(self) -> Any:
        """The sizes of c and h, or their sum."""
        units = self._num_units
        return LSTMStateTuple(units, units) if self._state_is_tuple else 2 * units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def build(self, inputs_shape: Any) -> None:
        """Makes `kernel` and `bias` of the four gates i, j, f, o."""
        depth, units = self._input_depth(inputs_shape), self._num_units
        self._kernel = self.add_variable("kernel", [depth + units, 4 * units])
        self._bias = self.add_variable("bias", [4 * units], initializer=Zeros(self.dtype))
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(new_h, new_state)`."""
        add, multiply = math_functions.add, math_functions.multiply
        one = constant(1, dtype=int32)
        c, h = state if self._state_is_tuple else split(value=state, num_or_size_splits=2, axis=one)
        gates = nn_misc.bias_add(raw.MatMul(concat([inputs, h], 1), self._kernel), self._bias)
        i, j, f, o = split(value=gates, num_or_size_splits=4, axis=one)
        bias = constant(self._forget_bias, dtype=f.dtype)
        kept = multiply(c, _sigmoid(add(f, bias)))
        new_c = add(kept, multiply(_sigmoid(i), self._activation(j)))
        new_h = multiply(self._activation(new_c), _sigmoid(o))
        if self._state_is_tuple:
            return new_h, LSTMStateTuple(new_c, new_h)
        return new_h, concat([new_c, new_h], 1)


class LSTMCell(LayerRNNCell):
    """The LSTM with optional peepholes, projection and clipping (Sak et al. 2014)."""

    def __init__(
        self,
        num_units: int,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        initializer: Any = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        num_unit_shards: Any = None,
        num_proj_shards: Any = None,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, _reuse=reuse, **kwargs)
        self._num_units, self._num_proj = num_units, num_proj
        self._use_peepholes, self._initializer = use_peepholes, initializer
        self._cell_clip, self._proj_clip = cell_clip, proj_clip
        self._forget_bias, self._state_is_tuple = forget_bias, state_is_tuple
        self._activation = activation or elementwise.tanh

    @property
    def _width(self) -> int:
        return self._num_proj or self._num_units

    @property
    def state_size(self) -> Any:
        """The sizes of c and h, or their sum."""
        if self._state_is_tuple:
            return LSTMStateTuple(self._num_units, self._width)
        return self._num_units + self._width

    @property
    def output_size(self) -> Any:
        """The number of units, or of the projection."""
        return self._width

    def build(self, inputs_shape: Any) -> None:
        """Makes `kernel`, `bias`, the peepholes `w_*_diag` and `projection/kernel`."""
        depth, units = self._input_depth(inputs_shape), self._num_units
        drawn = self._initializer
        self._kernel = self.add_variable(
            "kernel", [depth + self._width, 4 * units], initializer=drawn
        )
        bias = Zeros(float32 if self.dtype is None else self.dtype)
        self._bias = self.add_variable("bias", [4 * units], initializer=bias)
        if self._use_peepholes:
            self._w_f_diag = self.add_variable("w_f_diag", [units], initializer=drawn)
            self._w_i_diag = self.add_variable("w_i_diag", [units], initializer=drawn)
            self._w_o_diag = self.add_variable("w_o_diag", [units], initializer=drawn)
        if self._num_proj is not None:
            self._proj_kernel = self.add_variable(
                "projection/kernel", [units, self._num_proj], initializer=drawn
            )
        self.built = True

    def _parts(self, state: Any) -> Any:
        if self._state_is_tuple:
            return state
        units = self._num_units
        return slice_(state, [0, 0], [-1, units]), slice_(state, [0, units], [-1, self._width])

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(m, new_state)`; ValueError when the size of the inputs is unknown."""
        c_prev, m_prev = self._parts(state)
        if inputs.shape.with_rank(2).as_list()[1] is None:
            raise ValueError("Could not infer input size from inputs.get_shape()[-1]")
        gates = nn_misc.bias_add(raw.MatMul(concat([inputs, m_prev], 1), self._kernel), self._bias)
        i, j, f, o = split(value=gates, num_or_size_splits=4, axis=1)
        act = self._activation
        if self._use_peepholes:
            forget = _sigmoid(f + self._forget_bias + self._w_f_diag * c_prev) * c_prev
            c = forget + _sigmoid(i + self._w_i_diag * c_prev) * act(j)
        else:
            c = _sigmoid(f + self._forget_bias) * c_prev + _sigmoid(i) * act(j)
        if self._cell_clip is not None:
            c = clip.clip_by_value(c, -self._cell_clip, self._cell_clip)
        opened = _sigmoid(o + self._w_o_diag * c) if self._use_peepholes else _sigmoid(o)
        m = opened * act(c)
        if self._num_proj is not None:
            m = raw.MatMul(m, self._proj_kernel)
            if self._proj_clip is not None:
                m = clip.clip_by_value(m, -self._proj_clip, self._proj_clip)
        return m, LSTMStateTuple(c, m) if self._state_is_tuple else concat([c, m], 1)


class MultiRNNCell(RNNCell):
    """Cells stacked: each takes the output of the one before. The state is the tuple of theirs."""

    def __init__(self, cells: Sequence[Any], state_is_tuple: bool = True) -> None:
        super().__init__()
        if not cells:
            raise ValueError("Must specify at least one cell for MultiRNNCell.")
        if not nest.is_sequence(cells):
            raise TypeError(f"cells must be a list or tuple, but saw: {cells}.")
        self._cells = list(cells)
        self._state_is_tuple = state_is_tuple
        if not state_is_tuple and any(nest.is_sequence(c.state_size) for c in cells):
            raise ValueError(
                "Some cells return tuples of states, but the flag state_is_tuple is not set.  State sizes are: "
                f"{[c.state_size for c in cells]}"
            )

    @property
    def state_size(self) -> Any:
        """The sizes of the states of the cells."""
        sizes = tuple(cell.state_size for cell in self._cells)
        return sizes if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> Any:
        """That of the last cell."""
        return self._cells[-1].output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """The zero states of the cells."""
        with _scope_of(self, batch_size):
            if self._state_is_tuple:
                return tuple(cell.zero_state(batch_size, dtype) for cell in self._cells)
            return _zeros(self.state_size, batch_size, dtype)

    @property
    def trainable_weights(self) -> list[Any]:
        """Those of the cells."""
        return _unique([w for cell in self._cells for w in getattr(cell, "trainable_weights", [])])

    @property
    def non_trainable_weights(self) -> list[Any]:
        """Those of the cells."""
        return _unique([w for c in self._cells for w in getattr(c, "non_trainable_weights", [])])

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(output of the last cell, tuple of new states)`."""
        position, new = 0, []
        for index, cell in enumerate(self._cells):
            with variable_scope(f"cell_{index}"):
                if self._state_is_tuple:
                    if not nest.is_sequence(state):
                        raise ValueError(
                            f"Expected state to be a tuple of length {len(self.state_size)}, but received: {state}"
                        )
                    mine = state[index]
                else:
                    mine = slice_(state, [0, position], [-1, cell.state_size])
                    position += cell.state_size
                inputs, made = cell(inputs, mine)
                new.append(made)
        return inputs, tuple(new) if self._state_is_tuple else concat(new, 1)


def _unique(items: list[Any]) -> list[Any]:
    return list({id(item): item for item in items}.values())
