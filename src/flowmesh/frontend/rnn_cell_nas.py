"""The recurrent cell that architecture search found (TensorFlow: `tf.contrib.rnn.NASCell`)."""

from __future__ import annotations

from typing import Any

from flowmesh.frontend.initializers import Zeros
from flowmesh.frontend.rnn_cell import LayerRNNCell, LSTMStateTuple
from flowmesh.graph.raw import raw
from flowmesh.ops import elementwise, nn_activation, nn_misc
from flowmesh.ops.split import split

_BRANCHES = 8


class NASCell(LayerRNNCell):
    """The cell of Zoph and Le (2017); variables `recurrent_kernel`, `kernel`, and `bias`, `projection_weights` on request.

    The state is an `LSTMStateTuple`; with `num_proj` the output and h have that many columns. Raises ValueError for inputs of
    unknown depth.
    """

    def __init__(
        self,
        num_units: int,
        num_proj: int | None = None,
        use_bias: bool = False,
        reuse: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(_reuse=reuse, **kwargs)
        self._num_units, self._num_proj, self._use_bias = num_units, num_proj, use_bias

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        return LSTMStateTuple(self._num_units, self.output_size)

    @property
    def output_size(self) -> Any:
        """The columns of the output: those of the projection, or the units."""
        return self._num_units if self._num_proj is None else self._num_proj

    def build(self, inputs_shape: Any) -> None:
        """Makes the variables."""
        depth, wide = self._input_depth(inputs_shape), _BRANCHES * self._num_units
        self._recurrent_kernel = self.add_variable("recurrent_kernel", [self.output_size, wide])
        self._kernel = self.add_variable("kernel", [depth, wide])
        if self._use_bias:
            self._bias = self.add_variable("bias", shape=[wide], initializer=Zeros(self.dtype))
        if self._num_proj is not None:
            self._projection = self.add_variable(
                "projection_weights", [self._num_units, self._num_proj]
            )
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(output, new_state)`: eight branches, joined in pairs."""
        sigmoid, tanh, relu = elementwise.sigmoid, elementwise.tanh, nn_activation.relu
        c, h = state
        hidden = raw.MatMul(h, self._recurrent_kernel)
        given = raw.MatMul(inputs, self._kernel)
        if self._use_bias:
            hidden = nn_misc.bias_add(hidden, self._bias)
        m = split(axis=1, num_or_size_splits=_BRANCHES, value=hidden)
        x = split(axis=1, num_or_size_splits=_BRANCHES, value=given)
        first = [
            sigmoid(x[0] + m[0]),
            relu(x[1] + m[1]),
            sigmoid(x[2] + m[2]),
            relu(x[3] * m[3]),
            tanh(x[4] + m[4]),
            sigmoid(x[5] + m[5]),
            tanh(x[6] + m[6]),
            sigmoid(x[7] + m[7]),
        ]
        kept = tanh(first[0] * first[1])
        gate = tanh(first[2] + first[3])
        left, right = tanh(first[4] * first[5]), sigmoid(first[6] + first[7])
        new_c = tanh(kept + c) * gate
        new_h = tanh(new_c * tanh(left + right))
        if self._num_proj is not None:
            new_h = raw.MatMul(new_h, self._projection)
        return new_h, LSTMStateTuple(new_c, new_h)
