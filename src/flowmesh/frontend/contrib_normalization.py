"""Normalisation functions of `tf.contrib.layers`: batch, layer and unit norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32
from flowmesh.frontend.contrib_framework import add_arg_scope, model_variable
from flowmesh.frontend.contrib_layers import (
    add_to_variable_collections,
    collect_outputs,
    variable_getter,
)
from flowmesh.frontend.initializers import Ones, Zeros
from flowmesh.frontend.layers.normalization import BatchNormalization
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.smart_cond import smart_cond, smart_constant_value
from flowmesh.frontend.variable_scope import variable_scope
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import elementwise, math_functions, nn_norm_functions, shape_ops
from flowmesh.ops.constant import constant
from flowmesh.ops.reduce_functions import reduce_sum
from flowmesh.ops.reshape import reshape

_PARTS = ("beta", "gamma", "moving_mean", "moving_variance")
_DEFAULTS = {"beta": Zeros(), "gamma": Ones(), "moving_mean": Zeros(), "moving_variance": Ones()}


def _refuse(**options: Any) -> None:
    for option, given in options.items():
        if given is not None and given is not False:
            raise ValueError(f"batch_norm has no {option}: leave the argument out")


@add_arg_scope
def batch_norm(
    inputs: Any,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Any = None,
    param_initializers: Any = None,
    param_regularizers: Any = None,
    updates_collections: Any = GraphKeys.UPDATE_OPS,
    is_training: Any = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    batch_weights: Any = None,
    fused: bool | None = None,
    data_format: str = "NHWC",
    zero_debias_moving_mean: bool = False,
    scope: Any = None,
    renorm: bool = False,
    renorm_clipping: Any = None,
    renorm_decay: float = 0.99,
    adjustment: Any = None,
) -> Any:
    """Batch normalisation with variables beta, gamma (when `scale`), moving_mean, moving_variance (tf.contrib.layers.batch_norm).

    The updates of the averages stand in `updates_collections`; None makes the output wait for them. Batch weights, zero debias,
    renorm and adjustment are not offered: ValueError.
    """
    _refuse(
        batch_weights=batch_weights, zero_debias_moving_mean=zero_debias_moving_mean, renorm=renorm, adjustment=adjustment
    )  # fmt: skip
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError("data_format has to be either NCHW or NHWC.")
    inputs = convert_to_tensor(inputs)
    fused = True if fused is None else fused
    rank = inputs.shape.ndims
    default = updates_collections == GraphKeys.UPDATE_OPS
    alone = fused and (rank == 2 or (rank == 4 and not default))
    scope_of = variable_scope(
        scope, "BatchNorm", [inputs], reuse=reuse, custom_getter=None if alone else variable_getter()
    )  # fmt: skip
    with scope_of as opened:
        options: dict[str, Any] = {
            "center": center, "scale": scale, "epsilon": epsilon, "decay": decay, "trainable": trainable,
            "initializers": {**_DEFAULTS, **(param_initializers or {})},
            "regularizers": param_regularizers or {}, "data_format": data_format,
            "variables_collections": variables_collections, "updates_collections": updates_collections,
        }  # fmt: skip
        if alone:
            outputs = _fused(inputs, is_training, options)
        else:
            outputs = _by_layer(inputs, is_training, fused and rank == 4, options, opened, reuse)
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        return collect_outputs(outputs_collections, opened.name, outputs)


def _by_layer(
    inputs: Any, is_training: Any, fused: bool, options: dict[str, Any], opened: Any, reuse: Any
) -> Any:
    initializers, regularizers = options["initializers"], options["regularizers"]
    layer = BatchNormalization(
        axis=1 if options["data_format"] == "NCHW" else -1,
        momentum=options["decay"],
        epsilon=options["epsilon"],
        center=options["center"],
        scale=options["scale"],
        **{f"{part}_initializer": initializers[part] for part in _PARTS},
        beta_regularizer=regularizers.get("beta"),
        gamma_regularizer=regularizers.get("gamma"),
        trainable=options["trainable"],
        fused=fused,
        name=opened.name,
        _scope=opened,
        _reuse=reuse,
    )
    layer.updates_collection = (
        GraphKeys.UPDATE_OPS if options["updates_collections"] == GraphKeys.UPDATE_OPS else None
    )
    outputs = layer.apply(inputs, training=is_training)
    for part in ("moving_mean", "moving_variance", "beta", "gamma"):
        if getattr(layer, part) is not None:
            add_to_variable_collections(
                getattr(layer, part), options["variables_collections"], part
            )
    if layer.updates_collection is None:
        graph = get_default_graph()
        if options["updates_collections"] is None:
            with graph.control_dependencies(layer.updates):
                return raw.Identity(outputs)
        for update in layer.updates:
            graph.add_to_collections(options["updates_collections"], update)
    return outputs


def _fused(inputs: Any, is_training: Any, options: dict[str, Any]) -> Any:
    """One fused op; matrices pass as images of one pixel."""
    original, layout = inputs, options["data_format"]
    first = layout == "NCHW"
    channels = inputs.shape.as_list()[1 if first else -1]
    if channels is None:
        raise ValueError(f"Inputs {inputs.name} has undefined `C` dimension")
    if inputs.shape.ndims == 2:
        shape = [-1, channels, 1, 1] if first else [-1, 1, 1, channels]
        inputs = reshape(inputs, np.array(shape, np.int32))
    known = inputs.shape
    held = _variables(options, channels)
    beta, gamma = held["beta"], held["gamma"]
    mean, variance = held["moving_mean"], held["moving_variance"]

    def train() -> Any:
        return nn_norm_functions.fused_batch_norm(
            inputs, gamma, beta, epsilon=options["epsilon"], data_format=layout
        )

    def infer() -> Any:
        return nn_norm_functions.fused_batch_norm(
            inputs, gamma, beta, mean=mean, variance=variance, epsilon=options["epsilon"],
            is_training=False, data_format=layout,
        )  # fmt: skip

    outputs, batch_mean, batch_variance = smart_cond(is_training, train, infer)
    if smart_constant_value(is_training) is not False:
        pairs = [(mean, batch_mean), (variance, batch_variance)]
        outputs = _updated(outputs, pairs, is_training, options)
    outputs.set_shape(known)
    if original.shape.ndims == 2:
        outputs = reshape(outputs, shape_ops.shape(original))
    return outputs


def _variables(options: dict[str, Any], channels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    wanted = {"beta": options["center"], "gamma": options["scale"]}
    for part in _PARTS:
        if not wanted.get(part, True):
            made[part] = constant(1.0 if part == "gamma" else 0.0, shape=[channels])
            continue
        names = options["variables_collections"]
        if isinstance(names, dict):
            names = names.get(part)
        made[part] = model_variable(
            part, [channels], float32, options["initializers"][part], options["regularizers"].get(part),
            options["trainable"] if part in wanted else False, names,
        )  # fmt: skip
    return made


def _average(variable: Any, value: Any, decay: float) -> Any:
    with name_scope(None, "AssignMovingAvg", [variable, value, decay]) as scope:
        rate = convert_to_tensor(1.0 - decay, name="decay")
        return variable.assign_sub((variable - value) * rate, name=scope)


def _updated(outputs: Any, pairs: Any, is_training: Any, options: dict[str, Any]) -> Any:
    graph, decay = get_default_graph(), options["decay"]

    def update() -> list[Any]:
        return [_average(variable, value, decay) for variable, value in pairs]

    if options["updates_collections"] is None:

        def forced() -> Any:
            with graph.control_dependencies(update()):
                return raw.Identity(outputs)

        return smart_cond(is_training, forced, lambda: outputs)
    updates = smart_cond(is_training, update, lambda: [variable.value() for variable, _ in pairs])
    for made in updates:
        graph.add_to_collections(options["updates_collections"], made)
    return outputs


@add_arg_scope
def layer_norm(
    inputs: Any,
    center: bool = True,
    scale: bool = True,
    activation_fn: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    begin_norm_axis: int = 1,
    begin_params_axis: int = -1,
    scope: Any = None,
) -> Any:
    """Normalisation of each example by itself (tf.contrib.layers.layer_norm); variables beta, gamma."""
    with variable_scope(scope, "LayerNorm", [inputs], reuse=reuse) as opened:
        inputs = convert_to_tensor(inputs)
        rank = inputs.shape.ndims
        if rank is None:
            raise ValueError(f"Inputs {inputs.name} has undefined rank.")
        first = begin_norm_axis + rank if begin_norm_axis < 0 else begin_norm_axis
        if begin_params_axis >= rank or first >= rank:
            raise ValueError(
                f"begin_params_axis ({begin_params_axis}) and begin_norm_axis ({first}) must be < rank(inputs) ({rank})"
            )
        shape = inputs.shape[begin_params_axis:]
        if not shape.is_fully_defined():
            raise ValueError(
                f"Inputs {inputs.name}: shape(inputs)[{begin_params_axis}:] is not fully defined: {inputs.shape}"
            )
        made: dict[str, Any] = {}
        for part, wanted in (("beta", center), ("gamma", scale)):
            names = variables_collections
            names = names.get(part) if isinstance(names, dict) else names
            made[part] = (
                model_variable(
                    part,
                    shape,
                    inputs.dtype.base_dtype,
                    _DEFAULTS[part],
                    trainable=trainable,
                    collections=names,
                )
                if wanted
                else None
            )
        mean, variance = nn_norm_functions.moments(inputs, list(range(first, rank)), keep_dims=True)
        outputs = nn_norm_functions.batch_normalization(
            inputs, mean, variance, offset=made["beta"], scale=made["gamma"], variance_epsilon=1e-12
        )
        outputs.set_shape(inputs.shape)
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        return collect_outputs(outputs_collections, opened.name, outputs)


@add_arg_scope
def unit_norm(inputs: Any, dim: int, epsilon: float = 1e-7, scope: Any = None) -> Any:
    """`inputs` divided by their length along axis `dim` (tf.contrib.layers.unit_norm)."""
    with variable_scope(scope, "UnitNorm", [inputs]):
        rank = inputs.shape.ndims
        if rank is None:
            raise ValueError("The input rank must be known.")
        if dim < 0 or dim >= rank:
            raise ValueError("dim must be positive but smaller than the input rank.")
        squares = reduce_sum(elementwise.square(inputs), dim, keepdims=True)
        return math_functions.div(inputs, elementwise.sqrt(epsilon + squares))
