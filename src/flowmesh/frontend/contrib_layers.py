"""Layer functions of `tf.contrib.layers` and `tf.contrib.slim`: dense, convolution, pooling and small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32, int64
from flowmesh.frontend.contrib_framework import add_arg_scope, model_variable
from flowmesh.frontend.contrib_initializers import xavier_initializer
from flowmesh.frontend.initializers import Zeros
from flowmesh.frontend.layers import convolutional, core, pooling
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variable_scope import variable_scope
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.ops import nn_activation, nn_misc, nn_softmax, shape_ops
from flowmesh.ops.cast import cast
from flowmesh.ops.reshape import reshape
from flowmesh.ops.sequence import one_hot

_relu = nn_activation.relu
_zeros, _xavier = Zeros(), xavier_initializer()


def variable_getter(renamed: dict[str, str] | None = None) -> Callable[..., Any]:
    """A custom getter that renames variables by their last part and puts them in MODEL_VARIABLES."""
    names = renamed or {}

    def getter(base: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        folder, slash, last = name.rpartition("/")
        collections = [
            *(kwargs.pop("collections", None) or []), GraphKeys.GLOBAL_VARIABLES, GraphKeys.MODEL_VARIABLES
        ]  # fmt: skip
        kwargs["collections"] = list(dict.fromkeys(collections))
        return base(f"{folder}{slash}{names.get(last, last)}", *args, **kwargs)

    return getter


def add_to_variable_collections(variable: Any, collections: Any, kind: str) -> None:
    """Adds a variable to the collections asked for: a list of names, or a dict from kinds of variables to such."""
    if isinstance(collections, dict):
        collections = collections.get(kind)
    graph = get_default_graph()
    for name in collections or ():
        for part in list(variable) if hasattr(variable, "_get_variable_list") else [variable]:
            graph.add_to_collection(name, part)


def collect_outputs(collections: Any, alias: str, outputs: Any) -> Any:
    """`outputs`, added to the collections."""
    if collections:
        get_default_graph().add_to_collections(collections, outputs)
    return outputs


def _shared(
    opened: Any,
    inputs: Any,
    normalizer: Any,
    biases: tuple[Any, Any],
    trainable: bool,
    reuse: Any,
) -> dict[str, Any]:
    """The arguments of a layer that all functions here give alike."""
    return {
        "use_bias": normalizer is None and biases[0] is not None,
        "bias_initializer": biases[0],
        "bias_regularizer": biases[1],
        "trainable": trainable,
        "name": opened.name,
        "dtype": inputs.dtype.base_dtype,
        "_scope": opened,
        "_reuse": reuse,
    }


def _listed(collections: Any, kernels: Sequence[Any], bias: Any) -> None:
    for kernel in kernels:
        add_to_variable_collections(kernel, collections, "weights")
    if bias is not None:
        add_to_variable_collections(bias, collections, "biases")


def _finished(
    outputs: Any, activation: Any, normalizer: Any, params: Any, collections: Any, alias: str
) -> Any:
    if normalizer is not None:
        outputs = normalizer(outputs, **(params or {}))
    if activation is not None:
        outputs = activation(outputs)
    return collect_outputs(collections, alias, outputs)


@add_arg_scope
def fully_connected(
    inputs: Any,
    num_outputs: int,
    activation_fn: Any = _relu,
    normalizer_fn: Any = None,
    normalizer_params: Any = None,
    weights_initializer: Any = _xavier,
    weights_regularizer: Any = None,
    biases_initializer: Any = _zeros,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """`activation_fn(inputs @ weights + biases)` (tf.contrib.layers.fully_connected).

    A normalizer takes the place of the biases. Variables `<scope>/weights`, `<scope>/biases`, in MODEL_VARIABLES.
    """
    if not isinstance(num_outputs, (int, np.integer)):
        raise ValueError(f"num_outputs type should be one of [{int}], got {type(num_outputs)}.")
    getter = variable_getter({"bias": "biases", "kernel": "weights"})
    with variable_scope(
        scope, "fully_connected", [inputs], reuse=reuse, custom_getter=getter
    ) as opened:
        inputs = convert_to_tensor(inputs)
        layer = core.Dense(
            num_outputs,
            kernel_initializer=weights_initializer,
            kernel_regularizer=weights_regularizer,
            **_shared(opened, inputs, normalizer_fn, (biases_initializer, biases_regularizer), trainable, reuse),
        )  # fmt: skip
        outputs = layer.apply(inputs)
        _listed(variables_collections, [layer.kernel], layer.bias)
        return _finished(
            outputs,
            activation_fn,
            normalizer_fn,
            normalizer_params,
            outputs_collections,
            opened.name,
        )


def _fixed(function: Callable[..., Any], activation: Any, what: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("activation_fn", activation)
        return function(*args, **kwargs)

    call.__doc__ = what
    return call


linear = _fixed(fully_connected, None, "`fully_connected` without an activation.")
relu = _fixed(fully_connected, _relu, "`fully_connected` with relu.")
relu6 = _fixed(fully_connected, nn_activation.relu6, "`fully_connected` with relu6.")


def _channels_first(data_format: Any, known: Sequence[str | None]) -> bool:
    if data_format is not None and data_format not in known:
        raise ValueError(f"Invalid data_format: {data_format!r}")
    return data_format is not None and data_format.startswith("NC")


def _layout(data_format: Any, known: Sequence[str | None]) -> str:
    return "channels_first" if _channels_first(data_format, known) else "channels_last"


_ALL = (None, "NWC", "NCW", "NHWC", "NCHW", "NDHWC", "NCDHW")
_FLAT = ("NHWC", "NCHW")


@add_arg_scope
def convolution(
    inputs: Any,
    num_outputs: int,
    kernel_size: Any,
    stride: Any = 1,
    padding: str = "SAME",
    data_format: str | None = None,
    rate: Any = 1,
    activation_fn: Any = _relu,
    normalizer_fn: Any = None,
    normalizer_params: Any = None,
    weights_initializer: Any = _xavier,
    weights_regularizer: Any = None,
    biases_initializer: Any = _zeros,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
    conv_dims: int | None = None,
) -> Any:
    """A convolution over 1, 2 or 3 axes as the rank of `inputs` says (tf.contrib.layers.convolution).

    Variables `<scope>/weights`, `<scope>/biases`. Raises ValueError for another rank or an unknown layout.
    """
    layout = _layout(data_format, _ALL)
    getter = variable_getter({"bias": "biases", "kernel": "weights"})
    with variable_scope(scope, "Conv", [inputs], reuse=reuse, custom_getter=getter) as opened:
        inputs = convert_to_tensor(inputs)
        rank = inputs.shape.ndims
        if conv_dims is not None and conv_dims + 2 != rank:
            raise ValueError(f"Convolution expects input with rank {conv_dims + 2}, got {rank}")
        kinds: dict[Any, Any] = {
            3: convolutional.Conv1D, 4: convolutional.Conv2D, 5: convolutional.Conv3D
        }  # fmt: skip
        if rank not in kinds:
            raise ValueError("Convolution not supported for input with rank", rank)
        layer = kinds[rank](
            num_outputs,
            kernel_size,
            strides=stride,
            padding=padding,
            data_format=layout,
            dilation_rate=rate,
            kernel_initializer=weights_initializer,
            kernel_regularizer=weights_regularizer,
            **_shared(opened, inputs, normalizer_fn, (biases_initializer, biases_regularizer), trainable, reuse),
        )  # fmt: skip
        outputs = layer.apply(inputs)
        _listed(variables_collections, [layer.kernel], layer.bias)
        return _finished(
            outputs,
            activation_fn,
            normalizer_fn,
            normalizer_params,
            outputs_collections,
            opened.name,
        )


def _of_rank(name: str, dims: int) -> Callable[..., Any]:
    def call(inputs: Any, num_outputs: int, kernel_size: Any, *args: Any, **kwargs: Any) -> Any:
        return convolution(inputs, num_outputs, kernel_size, *args, conv_dims=dims, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`convolution` over {dims} axes (tf.contrib.layers.{name})."
    return add_arg_scope(call)


convolution1d, convolution2d, convolution3d = (_of_rank(f"convolution{n}d", n) for n in (1, 2, 3))


@add_arg_scope
def convolution2d_transpose(
    inputs: Any,
    num_outputs: int,
    kernel_size: Any,
    stride: Any = 1,
    padding: str = "SAME",
    data_format: str = "NHWC",
    activation_fn: Any = _relu,
    normalizer_fn: Any = None,
    normalizer_params: Any = None,
    weights_initializer: Any = _xavier,
    weights_regularizer: Any = None,
    biases_initializer: Any = _zeros,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """The transpose of a convolution of images (tf.contrib.layers.conv2d_transpose)."""
    if data_format not in _FLAT:
        raise ValueError("data_format has to be either NCHW or NHWC.")
    getter = variable_getter({"bias": "biases", "kernel": "weights"})
    with variable_scope(
        scope, "Conv2d_transpose", [inputs], reuse=reuse, custom_getter=getter
    ) as opened:
        inputs = convert_to_tensor(inputs)
        layer = convolutional.Conv2DTranspose(
            num_outputs,
            kernel_size,
            strides=stride,
            padding=padding,
            data_format=_layout(data_format, _FLAT),
            kernel_initializer=weights_initializer,
            kernel_regularizer=weights_regularizer,
            **_shared(opened, inputs, normalizer_fn, (biases_initializer, biases_regularizer), trainable, reuse),
        )  # fmt: skip
        outputs = layer.apply(inputs)
        _listed(variables_collections, [layer.kernel], layer.bias)
        return _finished(
            outputs,
            activation_fn,
            normalizer_fn,
            normalizer_params,
            outputs_collections,
            opened.name,
        )


@add_arg_scope
def separable_convolution2d(
    inputs: Any,
    num_outputs: int,
    kernel_size: Any,
    depth_multiplier: int = 1,
    stride: Any = 1,
    padding: str = "SAME",
    data_format: str = "NHWC",
    rate: Any = 1,
    activation_fn: Any = _relu,
    normalizer_fn: Any = None,
    normalizer_params: Any = None,
    weights_initializer: Any = _xavier,
    pointwise_initializer: Any = None,
    weights_regularizer: Any = None,
    biases_initializer: Any = _zeros,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """A depthwise separable convolution of images (tf.contrib.layers.separable_conv2d)."""
    renamed = {
        "bias": "biases", "depthwise_kernel": "depthwise_weights", "pointwise_kernel": "pointwise_weights"
    }  # fmt: skip
    with variable_scope(
        scope, "SeparableConv2d", [inputs], reuse=reuse, custom_getter=variable_getter(renamed)
    ) as opened:
        inputs = convert_to_tensor(inputs)
        layer = convolutional.SeparableConv2D(
            num_outputs,
            kernel_size,
            strides=stride,
            padding=padding,
            data_format=_layout(data_format, _FLAT),
            dilation_rate=rate,
            depth_multiplier=depth_multiplier,
            depthwise_initializer=weights_initializer,
            pointwise_initializer=pointwise_initializer or weights_initializer,
            depthwise_regularizer=weights_regularizer,
            pointwise_regularizer=weights_regularizer,
            **_shared(opened, inputs, normalizer_fn, (biases_initializer, biases_regularizer), trainable, reuse),
        )  # fmt: skip
        outputs = layer.apply(inputs)
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
        _listed(variables_collections, kernels, layer.bias)
        return _finished(
            outputs,
            activation_fn,
            normalizer_fn,
            normalizer_params,
            outputs_collections,
            opened.name,
        )


def _pool(name: str, kind: Any, scope_name: str, what: str) -> Callable[..., Any]:
    def call(
        inputs: Any,
        kernel_size: Any,
        stride: Any = 2,
        padding: str = "VALID",
        data_format: str = "NHWC",
        outputs_collections: Any = None,
        scope: str | None = None,
    ) -> Any:
        if data_format not in _FLAT:
            raise ValueError("data_format has to be either NCHW or NHWC.")
        with name_scope(scope, scope_name, [inputs]) as opened:
            inputs = convert_to_tensor(inputs)
            layout = _layout(data_format, _FLAT)
            outputs = kind(kernel_size, stride, padding, layout, _scope=opened).apply(inputs)
            return collect_outputs(outputs_collections, opened, outputs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The {what} of each window of an image batch (tf.contrib.layers.{name})."
    return add_arg_scope(call)


max_pool2d = _pool("max_pool2d", pooling.MaxPooling2D, "MaxPool2D", "largest element")
avg_pool2d = _pool("avg_pool2d", pooling.AveragePooling2D, "AvgPool2D", "mean")


@add_arg_scope
def flatten(inputs: Any, outputs_collections: Any = None, scope: str | None = None) -> Any:
    """`inputs` with all axes but the first joined (tf.contrib.layers.flatten)."""
    with name_scope(scope, "Flatten", [inputs]) as opened:
        outputs = core.flatten(convert_to_tensor(inputs))
        return collect_outputs(outputs_collections, opened, outputs)


@add_arg_scope
def dropout(
    inputs: Any,
    keep_prob: Any = 0.5,
    noise_shape: Any = None,
    is_training: Any = True,
    outputs_collections: Any = None,
    scope: Any = None,
    seed: int | None = None,
) -> Any:
    """Dropout that keeps elements with probability `keep_prob` (tf.contrib.layers.dropout)."""
    with variable_scope(scope, "Dropout", [inputs], custom_getter=variable_getter()) as opened:
        inputs = convert_to_tensor(inputs)
        layer = core.Dropout(1 - keep_prob, noise_shape, seed, opened.name, _scope=opened)
        outputs = layer.apply(inputs, training=is_training)
        return collect_outputs(outputs_collections, opened.name, outputs)


@add_arg_scope
def bias_add(
    inputs: Any,
    activation_fn: Any = None,
    initializer: Any = _zeros,
    regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    data_format: str = "NHWC",
    scope: Any = None,
) -> Any:
    """Adds a variable `biases` to the channels (tf.contrib.layers.bias_add)."""
    with variable_scope(scope, "BiasAdd", [inputs], reuse=reuse) as opened:
        inputs = convert_to_tensor(inputs)
        axis = 1 if _channels_first(data_format, _FLAT) else -1
        size = inputs.shape.as_list()[axis]
        if size is None:
            raise ValueError("`C` dimension must be known but is None")
        names = variables_collections
        if isinstance(names, dict):
            names = names.get("biases")
        biases = model_variable(
            "biases", [size], inputs.dtype.base_dtype, initializer, regularizer, trainable, names
        )
        outputs = nn_misc.bias_add(inputs, biases, data_format=data_format)
        return _finished(outputs, activation_fn, None, None, outputs_collections, opened.name)


@add_arg_scope
def one_hot_encoding(
    labels: Any,
    num_classes: int,
    on_value: float = 1.0,
    off_value: float = 0.0,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """One-hot vectors of class numbers (tf.contrib.layers.one_hot_encoding)."""
    with name_scope(scope, "OneHotEncoding", [labels, num_classes]) as opened:
        labels = convert_to_tensor(labels)
        if labels.dtype == int32:
            labels = cast(labels, int64)
        outputs = one_hot(labels, num_classes, on_value=on_value, off_value=off_value)
        return collect_outputs(outputs_collections, opened, outputs)


@add_arg_scope
def softmax(logits: Any, scope: Any = None) -> Any:
    """The softmax over the last axis (tf.contrib.layers.softmax)."""
    with variable_scope(scope, "softmax", [logits]):
        classes = logits.shape.as_list()[-1]
        flat = nn_softmax.softmax(reshape(logits, np.array([-1, classes], np.int32)))
        predictions = reshape(flat, shape_ops.shape(logits))
        predictions.set_shape(logits.shape)
        return predictions


def repeat(inputs: Any, repetitions: int, layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Applies `layer` again and again, in scopes `<scope>/<scope>_1` ... (tf.contrib.layers.repeat)."""
    scope = kwargs.pop("scope", None)
    with variable_scope(scope, "Repeat", [inputs]):
        outputs = convert_to_tensor(inputs)
        name = scope or getattr(layer, "__name__", "repeat")
        for index in range(repetitions):
            outputs = layer(outputs, *args, **{**kwargs, "scope": f"{name}_{index + 1}"})
        return outputs


def stack(inputs: Any, layer: Any, stack_args: Any, **kwargs: Any) -> Any:
    """Applies `layer` with one entry of `stack_args` after the other (tf.contrib.layers.stack)."""
    scope = kwargs.pop("scope", None)
    if not isinstance(stack_args, (list, tuple)):
        raise ValueError("stack_args need to be a list or tuple")
    with variable_scope(scope, "Stack", [inputs]):
        outputs = convert_to_tensor(inputs)
        name = scope or getattr(layer, "__name__", "stack")
        for index, given in enumerate(stack_args):
            args = given if isinstance(given, (list, tuple)) else [given]
            outputs = layer(outputs, *args, **{**kwargs, "scope": f"{name}_{index + 1}"})
        return outputs


conv1d, conv2d, conv3d = convolution1d, convolution2d, convolution3d
conv2d_transpose = convolution2d_transpose
separable_conv2d = separable_convolution2d
