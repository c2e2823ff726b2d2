"""`tf.layers.Layer`: variables made in a variable scope of their own, losses, updates and input checks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype, float32
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend.nest import flatten, map_structure
from flowmesh.frontend.variable_scope import (
    VariableScope,
    get_variable,
    get_variable_scope,
    variable_scope,
)
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.cast import cast
from flowmesh.ops.shape_ops import shape as shape_of

_COUNTS = "_flowmesh_layer_names"


class InputSpec:
    """What a layer asks of an input: rank (`ndim`, `max_ndim`, `min_ndim`), dtype, shape, sizes of axes (`axes`)."""

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
    ) -> None:
        self.dtype = None if dtype is None else as_dtype(dtype).name
        self.shape = None if shape is None else as_shape(shape)
        self.ndim = self.shape.ndims if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.axes = {int(axis): size for axis, size in (axes or {}).items()}

    def check(self, tensor: Tensor, index: int, layer: str) -> None:
        """Raises ValueError unless `tensor`, input `index` of the layer so called, is as asked."""
        start = f"Input {index} of layer {layer} is incompatible with the layer: "
        rank, known = tensor.shape.ndims, tensor.shape
        if rank is None:
            if self.ndim is not None or self.max_ndim is not None or self.min_ndim is not None:
                raise ValueError(
                    start + "its rank is undefined, but the layer requires a defined rank."
                )
            return
        full = f" Full shape received: {known.as_list()}"
        if self.ndim is not None and rank != self.ndim:
            raise ValueError(f"{start}expected ndim={self.ndim}, found ndim={rank}.{full}")
        if self.max_ndim is not None and rank > self.max_ndim:
            raise ValueError(f"{start}expected max_ndim={self.max_ndim}, found ndim={rank}")
        if self.min_ndim is not None and rank < self.min_ndim:
            raise ValueError(
                f"{start}: expected min_ndim={self.min_ndim}, found ndim={rank}.{full}"
            )
        if self.dtype is not None and tensor.dtype.name != self.dtype:
            raise ValueError(f"{start}expected dtype={self.dtype}, found dtype={tensor.dtype.name}")
        sizes = known.as_list()
        for axis, size in self.axes.items():
            if size is not None and sizes[axis] not in (size, None):
                raise ValueError(
                    f"{start}expected axis {axis} of input shape to have value {size} but received input with shape {sizes}"
                )
        if self.shape is not None and not self.shape.is_compatible_with(known):
            raise ValueError(f"{start}expected shape={self.shape}, found shape={known}")


def snake_case(name: str) -> str:
    """`MaxPooling2D` -> `max_pooling2d`; a leading underscore becomes `private_`."""
    parted = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()
    return parted if parted[0] != "_" else "private" + parted


def _numbered(base: str) -> str:
    """`base_1`, `base_2` ... in the current variable scope of the default graph."""
    counts: dict[Any, int] = get_default_graph().__dict__.setdefault(_COUNTS, {})
    key = (get_variable_scope().name, base)
    counts[key] = counts.get(key, 0) + 1
    return f"{base}_{counts[key]}"


def add_to_collections(items: Iterable[Any], names: Any) -> None:
    """Adds each item to each collection unless it is there already."""
    graph = get_default_graph()
    for name in (names,) if isinstance(names, str) else names:
        held = graph.get_collection_ref(name)
        for item in items:
            if not any(item is other for other in held):
                held.append(item)


class Layer:
    """Base of all layers: subclasses make variables in `build(input_shape)` and compute in `call(inputs, ...)`.

    `Layer(trainable=True, name=None, dtype=None, activity_regularizer=None)`. The variables stand in a variable scope named
    after the layer, made unique at the first call; calling the layer again shares them (TensorFlow: `tf.layers.Layer`).
    """

    updates_collection: str | None = GraphKeys.UPDATE_OPS

    def __init__(
        self, trainable: bool = True, name: Any = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        scope = kwargs.pop("_scope", None)
        self._reuse = kwargs.pop("_reuse", None)
        self._activity_regularizer = kwargs.pop("activity_regularizer", None)
        kwargs.pop("autocast", None)
        kwargs.pop("input_shape", None)
        for unknown in kwargs:
            raise TypeError("Keyword argument not understood:", unknown)
        self.trainable = trainable
        self.stateful = False
        self.built = False
        self.supports_masking = False
        self.input_spec: Any = None
        self._dtype = None if dtype is None else as_dtype(dtype).name
        self._trainable_weights: list[Any] = []
        self._non_trainable_weights: list[Any] = []
        self._losses: list[tuple[Any, bool]] = []
        self._loss_functions: list[Callable[[], Any]] = []
        self._updates: list[tuple[Any, bool]] = []
        self._graph: Graph | None = None
        self._scope: Any = None
        self._current_scope: Any = None
        self._again: Any = None
        self._base_name = name.name if isinstance(name, VariableScope) else name
        self._name: str = name if isinstance(name, str) and name else ""
        if not self._name:
            base = snake_case(type(self).__name__)
            self._name = _numbered(base)
            self._base_name = self._base_name or base
        if scope:
            with variable_scope(scope) as captured:
                self._scope = captured

    # -- what it is --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The layer's name; that of its scope may have a number more or less."""
        return self._name

    @property
    def dtype(self) -> Any:
        """The name of the dtype of the variables, None before the first call."""
        return self._dtype

    @property
    def graph(self) -> Graph | None:
        """The graph of the first call."""
        return self._graph

    @property
    def scope_name(self) -> str:
        """The name of the variable scope; ValueError before the first call."""
        if self._scope is None:
            raise ValueError(
                f'No name available for layer scope because the layer "{self._name}" has not been used yet. The scope name '
                "is determined the first time the layer instance is called. You must therefore call the layer before "
                "querying `scope_name`."
            )
        return str(self._scope.name)

    @property
    def activity_regularizer(self) -> Any:
        """The function of the output that gives a loss, or None."""
        return self._activity_regularizer

    @property
    def trainable_weights(self) -> list[Any]:
        """The variables that training updates."""
        return list(self._trainable_weights) if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The other variables."""
        if self.trainable:
            return list(self._non_trainable_weights)
        return self._trainable_weights + self._non_trainable_weights

    @property
    def weights(self) -> list[Any]:
        """All variables, trainable ones first."""
        return self.trainable_weights + self.non_trainable_weights

    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    @property
    def input(self) -> Any:
        """Layers of this kind do not keep their inputs: AttributeError."""
        raise AttributeError(f"Layer {self._name} is not connected, no input to return.")

    @property
    def output(self) -> Any:
        """Layers of this kind do not keep their outputs: AttributeError."""
        raise AttributeError(f"Layer {self._name} has no inbound nodes.")

    def count_params(self) -> int:
        """How many numbers the variables hold; ValueError before the layer is built."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on {self._name}, but the layer isn't built. You can build it manually "
                f"via: `{self._name}.build(batch_input_shape)`."
            )
        return int(sum(np.prod(v.shape.as_list(), dtype=int) for v in self.weights))

    # -- losses and updates ------------------------------------------------------------------------

    @property
    def losses(self) -> list[Any]:
        """The losses of activities and of `add_loss`, then the regularizers of the variables, built anew."""
        return [tensor for tensor, _ in self._losses] + self._regularization()

    def _regularization(self) -> list[Any]:
        built = [function() for function in self._loss_functions]
        return [tensor for tensor in built if tensor is not None]

    @property
    def updates(self) -> list[Any]:
        """The update operations; none when the layer is not trainable."""
        if not self.trainable and not self.stateful:
            return []
        return [op for op, _ in self._updates]

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds losses (tensors, or functions of nothing); those that depend on `inputs` are conditional on them."""
        tensors = []
        for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
            if callable(loss):
                self._loss_functions.append(loss)
                loss = loss()
            elif loss is not None:
                loss = convert_to_tensor(loss)
                self._losses.append((loss, inputs is None))
            if loss is not None:
                tensors.append(loss)
        add_to_collections(tensors, GraphKeys.REGULARIZATION_LOSSES)

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Adds update ops (or functions of nothing that make them) to the layer and to UPDATE_OPS."""
        new = []
        for update in updates if isinstance(updates, (list, tuple)) else [updates]:
            made = update() if callable(update) and not isinstance(update, Variable) else update
            op = made if isinstance(made, Operation) else made.op
            self._updates.append((op, inputs is None))
            new.append(op)
        if self.updates and self.updates_collection:
            add_to_collections(new, self.updates_collection)

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """The losses that depend on `inputs`; with None those that depend on no input."""
        if inputs is None:
            found = [t for t, unconditional in self._losses if unconditional]
            return found + self._regularization()
        losses = [t for t, unconditional in self._losses if not unconditional]
        self._regularization()
        return _reached(inputs, losses)

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """The updates that depend on `inputs`; with None those that depend on no input."""
        if not self.trainable and not self.stateful:
            return []
        if inputs is None:
            return [op for op, unconditional in self._updates if unconditional]
        return _reached(inputs, [op for op, unconditional in self._updates if not unconditional])

    # -- variables ---------------------------------------------------------------------------------

    def add_weight(
        self,
        name: str,
        shape: Any,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool | None = None,
        constraint: Any = None,
        use_resource: bool | None = None,
        synchronization: Any = None,
        aggregation: Any = None,
        partitioner: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The variable `name` in the layer's scope, made or (when the scope reuses) found.

        The arguments are those of `get_variable`. Regularizers apply to new variables only.
        """
        for unknown in kwargs:
            if unknown != "experimental_autocast":
                raise TypeError("Unknown keyword argument:", unknown)
        trainable = True if trainable is None else trainable
        dtype = as_dtype(dtype or self._dtype or float32)
        self._set_scope(None)
        reuse = self.built or self._reuse
        before = set(get_default_graph().get_collection_ref(GraphKeys.GLOBAL_VARIABLES))
        with variable_scope(self._scope, reuse=reuse, auxiliary_name_scope=False) as scope:
            self._current_scope = scope
            with get_default_graph().name_scope(self._scope_to_enter()):
                variable = get_variable(
                    name,
                    shape,
                    dtype=dtype,
                    initializer=initializer,
                    trainable=trainable and self.trainable,
                    constraint=constraint,
                    partitioner=partitioner,
                    use_resource=use_resource,
                )
                if regularizer is not None and variable not in before:
                    self._regularize(name, variable, regularizer)
        (self._trainable_weights if trainable else self._non_trainable_weights).append(variable)
        return variable

    add_variable = add_weight

    def _regularize(self, name: str, variable: Any, regularizer: Callable[..., Any]) -> None:
        parts = list(variable) if hasattr(variable, "_get_variable_list") else [variable]
        for part in parts:

            def loss(part: Any = part) -> Any:
                with get_default_graph().name_scope(name + "/Regularizer"):
                    return regularizer(part)

            self.add_loss(loss)

    # -- calling -----------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Makes the variables; called once, before the first `call`."""
        self.built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The output for `inputs`."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for an input of `input_shape`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what shape its output has")

    def _set_scope(self, scope: Any) -> None:
        if self._scope is not None:
            return
        if self._reuse:
            opened = variable_scope(scope if scope is not None else self._base_name)
        else:
            opened = variable_scope(scope, default_name=self._base_name)
        with opened as captured:
            self._scope = captured

    def _scope_to_enter(self) -> Any:
        return self._current_scope.original_name_scope

    @contextmanager
    def _entered(self) -> Iterator[None]:
        if self.built:
            opened = variable_scope(self._scope, reuse=True, auxiliary_name_scope=False)
        else:
            opened = variable_scope(self._scope, reuse=self._reuse, auxiliary_name_scope=False)
        with opened as scope:
            self._current_scope = scope
            yield

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The output for `inputs` (a tensor, array, or structure of them); `scope=` names the layer's scope at the first call.

        Raises ValueError for an input that the layer is not made for.
        """
        self._set_scope(kwargs.pop("scope", None))
        graph = _graph_of(inputs)
        if self._graph is None:
            self._graph = graph
        elif self._graph is not graph:
            raise ValueError("Input graph and Layer graph are not the same: "
                             f"{inputs} is not from the graph that the layer {self._name} was built in.")  # fmt: skip
        with graph.as_default(), self._entered():
            if any(isinstance(x, (np.ndarray, float, int)) for x in flatten(inputs)):
                inputs = map_structure(_tensor_of, inputs)
            with graph.name_scope(self._scope_to_enter()):
                self._check(inputs)
                if not self.built:
                    self._build(inputs)
                if "scope" in inspect.signature(self.call).parameters:
                    kwargs["scope"] = self._current_scope
                outputs = self.call(inputs, *args, **kwargs)
                self._regularize_activity(inputs, outputs)
        return outputs

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The same as calling the layer."""
        return self(inputs, *args, **kwargs)

    def _check(self, inputs: Any) -> None:
        if self.input_spec is None:
            return
        specs = self.input_spec if isinstance(self.input_spec, (list, tuple)) else [self.input_spec]
        tensors = flatten(inputs)
        if len(tensors) != len(specs):
            raise ValueError(
                f"Layer {self._name} expects {len(specs)} inputs, but it received {len(tensors)} input tensors. "
                f"Inputs received: {inputs}"
            )
        for index, (spec, tensor) in enumerate(zip(specs, tensors)):
            if spec is not None:
                spec.check(tensor, index, self._name)

    def _build(self, inputs: Any) -> None:
        tensors = flatten(inputs)
        if self._dtype is None and tensors:
            self._dtype = tensors[0].dtype.base_dtype.name
        shapes = map_structure(lambda t: t.shape, inputs)
        self.build(shapes)
        self.built = True

    def _regularize_activity(self, inputs: Any, outputs: Any) -> None:
        if self._activity_regularizer is None:
            return
        with get_default_graph().name_scope("ActivityRegularizer"):
            for output in flatten(outputs):
                loss = self._activity_regularizer(output)
                batch = cast(shape_of(output)[0], loss.dtype)
                self.add_loss(loss / batch, inputs=inputs)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if isinstance(value, Variable) and "_trainable_weights" in self.__dict__:
            held = [*self._trainable_weights, *self._non_trainable_weights]
            if not any(value is v for v in held):
                kind = self._trainable_weights if value.trainable else self._non_trainable_weights
                kind.append(value)


def _tensor_of(value: Any) -> Any:
    return value if isinstance(value, Variable) else convert_to_tensor(value)


def _graph_of(inputs: Any) -> Graph:
    for item in flatten(inputs):
        graph = getattr(item, "graph", None)
        if isinstance(graph, Graph):
            return graph
    return get_default_graph()


def _reached(inputs: Any, targets: Sequence[Any]) -> list[Any]:
    """Those of `targets` (tensors or ops) that are computed from `inputs`."""
    sources = {getattr(i, "op", i) for i in flatten(inputs)}
    known: dict[Operation, bool] = {}

    def reached(op: Operation) -> bool:
        stack = [op]
        while stack:
            current = stack[-1]
            if current in known:
                stack.pop()
                continue
            above = [t.op for t in current.inputs] + list(current.control_inputs)
            waiting = [o for o in above if o not in known and o not in sources]
            if current in sources or not waiting:
                known[current] = current in sources or any(o in sources or known[o] for o in above)
                stack.pop()
            else:
                stack.extend(waiting)
        return known[op]

    return [t for t in targets if reached(t if isinstance(t, Operation) else t.op)]


def identity(value: Any) -> Any:
    """A tensor of the value of `value`."""
    return raw.Identity(value)


def shape_list(shape: Any) -> list[int | None]:
    """The sizes of a shape of known rank."""
    return list(TensorShape(shape).as_list())
