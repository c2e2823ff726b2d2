"""Cells around cells: dropout, residual connections, devices, projections (TensorFlow: `tf.nn.rnn_cell.DropoutWrapper` ...)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype
from flowmesh.core.shapes import as_shape
from flowmesh.frontend import nest
from flowmesh.frontend.initializers import Constant, RandomUniform
from flowmesh.frontend.rnn_cell import LSTMStateTuple, RNNCell, _scope_of, assert_like_rnncell
from flowmesh.frontend.variable_scope import get_variable, get_variable_scope
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import elementwise, math_functions, nn_misc
from flowmesh.ops.embedding import embedding_lookup
from flowmesh.ops.random_ops import random_uniform
from flowmesh.ops.reshape import reshape


class _Wrapper(RNNCell):
    """A cell that calls another in its own scope."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        assert_like_rnncell("cell", cell)
        self._cell = cell

    @property
    def wrapped_cell(self) -> Any:
        """The cell inside."""
        return self._cell

    @property
    def state_size(self) -> Any:
        """That of the cell inside."""
        return self._cell.state_size

    @property
    def output_size(self) -> Any:
        """That of the cell inside."""
        return self._cell.output_size

    @property
    def trainable_weights(self) -> list[Any]:
        """Those of the cell inside."""
        return list(getattr(self._cell, "trainable_weights", []))

    @property
    def non_trainable_weights(self) -> list[Any]:
        """Those of the cell inside."""
        return list(getattr(self._cell, "non_trainable_weights", []))

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """That of the cell inside."""
        with _scope_of(self, batch_size):
            return self._cell.zero_state(batch_size, dtype)

    def _wrapped(self, inputs: Any, state: Any, scope: Any) -> Any:
        return (
            self._cell(inputs, state) if scope is None else self._cell(inputs, state, scope=scope)
        )


def _every_state(substate: Any) -> Any:
    """Dropout of all states but the memory of an LSTM."""
    if isinstance(substate, LSTMStateTuple):
        return LSTMStateTuple(c=False, h=True)
    if nest.is_sequence(substate):
        parts = [_every_state(child) for child in substate]
        return type(substate)(*parts) if hasattr(substate, "_fields") else type(substate)(parts)
    return True


class DropoutWrapper(_Wrapper):
    """Dropout of the inputs, outputs and states of a cell; each probability is a float or a scalar tensor.

    With `variational_recurrent` one mask serves all steps (`dtype`, and `input_size` for input dropout, are needed).
    Raises ValueError for a probability outside [0, 1].
    """

    def __init__(
        self,
        cell: Any,
        input_keep_prob: Any = 1.0,
        output_keep_prob: Any = 1.0,
        state_keep_prob: Any = 1.0,
        variational_recurrent: bool = False,
        input_size: Any = None,
        dtype: Any = None,
        seed: int | None = None,
        dropout_state_filter_visitor: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(cell)
        if dropout_state_filter_visitor is not None and not callable(dropout_state_filter_visitor):
            raise TypeError("dropout_state_filter_visitor must be callable")
        self._filter = dropout_state_filter_visitor or _every_state
        self._seed = seed
        self._variational = variational_recurrent
        self._keep: dict[str, Any] = {}
        with get_default_graph().name_scope("DropoutWrapperInit"):
            for part, given in (
                ("input", input_keep_prob), ("state", state_keep_prob), ("output", output_keep_prob)
            ):  # fmt: skip
                self._keep[part] = _probability(f"{part}_keep_prob", given)
        self._noise: dict[str, Any] = {}
        if variational_recurrent:
            self._draw_noise(input_size, dtype)

    def _draw_noise(self, input_size: Any, dtype: Any) -> None:
        if dtype is None:
            raise ValueError("When variational_recurrent=True, dtype must be provided")
        sizes = {"state": self._cell.state_size, "output": self._cell.output_size}
        if _drops(self._keep["input"]):
            if input_size is None:
                raise ValueError(
                    "When variational_recurrent=True and input_keep_prob < 1.0 or is unknown, input_size must be provided"
                )
            sizes["input"] = input_size
        for part in ("input", "state", "output"):
            if part in sizes:
                self._noise[part] = [
                    random_uniform(
                        [1, *_size_list(size)], seed=self._seed_of(part, i), dtype=as_dtype(dtype)
                    )
                    for i, size in enumerate(nest.flatten(sizes[part]))
                ]

    def _seed_of(self, part: str, index: int) -> int | None:
        if self._seed is None:
            return None
        text = f"{self._seed}{part}_{index}".encode()
        return int(hashlib.md5(text).hexdigest()[:8], 16) & 0x7FFFFFFF

    def _dropped(self, part: str, values: Any, chosen: Any = None) -> Any:
        keep = self._keep[part]
        if not _drops(keep):
            return values
        flat = nest.flatten(values)
        marks = [True] * len(flat) if chosen is None else nest.flatten(chosen)
        made = []
        for index, (value, wanted) in enumerate(zip(flat, marks)):
            if not wanted:
                made.append(value)
            elif self._variational:
                made.append(self._masked(value, self._noise[part][index], keep))
            else:
                seed = self._seed_of(part, index)
                made.append(nn_misc.dropout(value, keep_prob=keep, seed=seed))
        return nest.pack_sequence_as(values, made)

    @staticmethod
    def _masked(value: Any, noise: Any, keep: Any) -> Any:
        mask = elementwise.floor(keep + noise)
        result = math_functions.div(value, keep) * mask
        result.set_shape(value.shape)
        return result

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """`(output, next_state)` of the cell inside, with dropout around it."""
        inputs = self._dropped("input", inputs)
        output, new_state = self._wrapped(inputs, state, scope)
        if _drops(self._keep["state"]):
            new_state = self._dropped("state", new_state, self._filter(new_state))
        return self._dropped("output", output), new_state


def _probability(name: str, given: Any) -> Any:
    tensor = convert_to_tensor(given)
    known = constant_value(tensor)
    if known is None:
        return tensor
    if known < 0 or known > 1:
        raise ValueError(f"Parameter {name} must be between 0 and 1: {int(known)}")
    return float(known)


def _drops(keep: Any) -> bool:
    return not isinstance(keep, float) or keep < 1


def _size_list(size: Any) -> list[int]:
    return [size] if isinstance(size, int) else [int(d) for d in as_shape(size).as_list()]  # type: ignore[arg-type]


class ResidualWrapper(_Wrapper):
    """Adds the inputs to the outputs, or `residual_fn(inputs, outputs)`."""

    def __init__(self, cell: Any, residual_fn: Callable[[Any, Any], Any] | None = None) -> None:
        super().__init__(cell)
        self._residual_fn = residual_fn

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """`(inputs + output, next_state)`; ValueError when their shapes differ."""
        outputs, new_state = self._wrapped(inputs, state, scope)

        def plain(given: Any, made: Any) -> Any:
            nest.assert_same_structure(given, made)
            for i, o in zip(nest.flatten(given), nest.flatten(made)):
                i.shape.assert_is_compatible_with(o.shape)
            return nest.map_structure(lambda i, o: i + o, given, made)

        return (self._residual_fn or plain)(inputs, outputs), new_state


class DeviceWrapper(_Wrapper):
    """Runs a cell on a device."""

    def __init__(self, cell: Any, device: Any) -> None:
        super().__init__(cell)
        self._device = device

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """That of the cell inside, on the device."""
        with _scope_of(self, batch_size), get_default_graph().device(self._device):
            return self._cell.zero_state(batch_size, dtype)

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """`(output, next_state)` of the cell inside."""
        with get_default_graph().device(self._device):
            return self._wrapped(inputs, state, scope)


class _Projecting(_Wrapper):
    """A wrapper with an affine map of its own."""

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """See RNNCell."""
        return RNNCell.__call__(self, inputs, state, scope)

    @property
    def trainable_weights(self) -> list[Any]:
        """Its own variables and those of the cell inside."""
        own = list(self._trainable_weights)
        inner = getattr(self._cell, "trainable_weights", [])
        return list({id(w): w for w in [*own, *inner]}.values())

    def _linear(self, inputs: Any, size: int) -> Any:
        depth = inputs.shape.as_list()[-1]
        kernel = get_variable("kernel", [depth, size], dtype=inputs.dtype)
        bias = get_variable(
            "bias", [size], dtype=inputs.dtype, initializer=Constant(0.0, inputs.dtype)
        )
        return nn_misc.bias_add(raw.MatMul(inputs, kernel), bias)


class OutputProjectionWrapper(_Projecting):
    """An affine map of the outputs to `output_size` (tf.contrib.rnn.OutputProjectionWrapper)."""

    def __init__(
        self, cell: Any, output_size: int, activation: Any = None, reuse: Any = None
    ) -> None:
        super().__init__(cell)
        self._reuse = reuse
        if output_size < 1:
            raise ValueError(f"Parameter output_size must be > 0: {output_size}.")
        self._output_size, self._activation = output_size, activation

    @property
    def output_size(self) -> Any:
        """The size after the map."""
        return self._output_size

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(mapped output, next_state)`."""
        output, new_state = self._cell(inputs, state)
        mapped = self._linear(output, self._output_size)
        return self._activation(mapped) if self._activation else mapped, new_state


class InputProjectionWrapper(_Projecting):
    """An affine map of the inputs to `num_proj` (tf.contrib.rnn.InputProjectionWrapper)."""

    def __init__(
        self,
        cell: Any,
        num_proj: int,
        activation: Any = None,
        input_size: Any = None,
        reuse: Any = None,
    ) -> None:
        super().__init__(cell)
        self._reuse = reuse
        self._num_proj, self._activation = num_proj, activation

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(output, next_state)` of the mapped inputs."""
        mapped = self._linear(inputs, self._num_proj)
        return self._cell(self._activation(mapped) if self._activation else mapped, state)


class EmbeddingWrapper(_Wrapper):
    """Looks the inputs (class numbers) up in an `embedding` variable (tf.contrib.rnn.EmbeddingWrapper)."""

    def __init__(
        self,
        cell: Any,
        embedding_classes: int,
        embedding_size: int,
        initializer: Any = None,
        reuse: Any = None,
    ) -> None:
        super().__init__(cell)
        self._reuse = reuse
        if embedding_classes <= 0 or embedding_size <= 0:
            raise ValueError(
                f"Both embedding_classes and embedding_size must be > 0: {embedding_classes}, {embedding_size}."
            )
        self._classes, self._size, self._initializer = (
            embedding_classes,
            embedding_size,
            initializer,
        )

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """See RNNCell."""
        return RNNCell.__call__(self, inputs, state, scope)

    def call(self, inputs: Any, state: Any) -> Any:  # type: ignore[override]
        """`(output, next_state)` of the embedded inputs."""
        with get_default_graph().device("/cpu:0"):
            bound = float(np.sqrt(3))
            first = nest.flatten(state)[0]
            table = get_variable(
                "embedding", [self._classes, self._size], dtype=first.dtype,
                initializer=self._initializer
                or get_variable_scope().options["initializer"]
                or RandomUniform(-bound, bound),
            )  # fmt: skip
            embedded = embedding_lookup(table, reshape(inputs, np.array([-1], np.int32)))
        return self._cell(embedded, state)
