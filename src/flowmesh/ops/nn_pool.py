"""Max and average pooling and their gradient ops, compiled by XLA."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import FLOATS, INDEX, REALS, float32, int32, int64
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import window_slices, windows
from flowmesh.ops.building import filled, name_scope, shape_of
from flowmesh.ops.shape_rules import merge, with_rank
from flowmesh.ops.target import on_cpu

_PADDINGS = (b"SAME", b"VALID")
_LAYOUTS = (b"NHWC", b"NCHW")
_MAX_TYPES = (REALS - {dtypes.uint32, dtypes.uint64}) | {dtypes.qint8}


class _Pool(OpDef, abstract=True):
    """What all pooling ops share: the window, and the forward functions."""

    xla_only = True

    def _layout(self) -> bytes:
        return self.attrs.get("data_format", b"NHWC")

    def _geometry(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """The window arguments of `lax.reduce_window`."""
        window, strides = self.attrs["ksize"], self.attrs["strides"]
        if window[0] != 1 or strides[0] != 1:
            raise InvalidArgumentError(
                None, None, "Pooling is not yet supported on the batch dimension."
            )
        pads = windows.paddings(shape, window, strides, self.attrs["padding"])
        return {"window_dimensions": window, "window_strides": strides, "padding": pads}

    def output_shape(self, x: TensorShape) -> TensorShape:
        """The shape function of the forward op."""
        window, strides = self.attrs["ksize"], self.attrs["strides"]
        for name in ("ksize", "strides"):
            windows.check_length(self.attrs[name], 4, self.op_type, name)
        sizes = with_rank(x, 4).as_list()
        padding = self.attrs["padding"]
        return TensorShape(
            [windows.output_size(s, w, t, padding) for s, w, t in zip(sizes, window, strides)]
        )

    def max_pool(self, xp: Any, x: Any) -> Any:
        """The largest element of each window."""
        from jax import lax

        geometry = self._geometry(x.shape)
        if _by_slices(geometry):
            return window_slices.reduce(x, _lowest(x.dtype), lax.max, **geometry)
        return lax.reduce_window(x, _lowest(x.dtype), lax.max, **geometry)

    def average(self, xp: Any, x: Any) -> Any:
        """The mean of each window; padding does not count."""
        from jax import lax

        wide = x.astype(xp.float32) if x.dtype.itemsize == 2 else x
        geometry = self._geometry(x.shape)
        zero = np.zeros((), wide.dtype)
        if _by_slices(geometry):
            total = window_slices.reduce(wide, zero, lax.add, **geometry)
        else:
            total = lax.reduce_window(wide, zero, lax.add, **geometry)
        counts = _window_counts(x.shape, geometry, self.attrs["padding"])
        return (total / xp.asarray(counts, wide.dtype)).astype(x.dtype)

    def argmax(self, xp: Any, x: Any) -> tuple[Any, Any]:
        """The largest element of each window, and where it stands in the flattened `x` (the first of equals)."""
        from jax import lax

        places = xp.arange(x.size, dtype=xp.int64).reshape(x.shape)
        start = (_lowest(x.dtype), np.int64(np.iinfo(np.int64).max))
        return lax.reduce_window((x, places), start, _larger, **self._geometry(x.shape))

    def shared(self) -> dict[str, Any]:
        """The attrs that a gradient op takes over."""
        names = ("ksize", "strides", "padding", "data_format")
        return {name: self.attrs[name] for name in names if name in self.attrs}


def _by_slices(geometry: dict[str, Any]) -> bool:
    return on_cpu() and window_slices.suits(geometry["window_dimensions"])


def _larger(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
    """The larger of two (value, place) pairs, the earlier of equals."""
    from jax import lax

    take = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
    return lax.select(take, a[0], b[0]), lax.select(take, a[1], b[1])


def _lowest(dtype: Any) -> Any:
    dtype = np.dtype(dtype)
    if np.issubdtype(dtype, np.integer):
        return np.array(np.iinfo(dtype).min, dtype)
    return np.array(-np.inf, dtype)


def _window_counts(shape: tuple[int, ...], geometry: dict[str, Any], padding: bytes) -> np.ndarray:
    """How many elements each window covers, padding left out: one factor for each axis."""
    counts = np.ones([1] * len(shape))
    for axis, (size, window, stride, (before, _)) in enumerate(
        zip(shape, geometry["window_dimensions"], geometry["window_strides"], geometry["padding"])
    ):
        number = windows.output_size(size, window, stride, padding) or 0
        starts = np.arange(number) * stride - before
        covered = np.minimum(starts + window, size) - np.maximum(starts, 0)
        counts = counts * covered.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return counts


def _zeros(tensor: Any) -> Any:
    return filled(shape_of(tensor), 0, tensor.dtype.base_dtype, "zeros")


class MaxPool(_Pool):
    """The largest element of each window."""

    input = Input("T")
    output = Output("T")
    T = type_attr(_MAX_TYPES, float32)
    ksize = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    padding = Attr("string", allowed=_PADDINGS)
    data_format = Attr("string", b"NHWC", allowed=(*_LAYOUTS, b"NCHW_VECT_C"))

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return self.output_shape(x)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self.max_pool(xp, inputs[0])

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.MaxPoolGrad(op.inputs[0], op.outputs[0], grad, **self.shared())


class MaxPoolGrad(_Pool):
    """The derivative of MaxPool: each gradient goes to the first largest element of its window."""

    orig_input, orig_output, grad = Input("T"), Input("T"), Input("T")
    output = Output("T")
    ksize = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    padding = Attr("string", allowed=_PADDINGS)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    T = type_attr(REALS, float32)

    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        return with_rank(shapes[0], 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        import jax

        x, _, grad = inputs
        geometry = self._geometry(x.shape)
        if _by_slices(geometry):
            lowest, largest = _lowest(x.dtype), self.max_pool(xp, x)
            places = window_slices.first_largest(x, largest, lowest, **geometry)
            zero = np.zeros((), grad.dtype)
            parts = {place: xp.where(here, grad, zero) for place, here in places.items()}
            return window_slices.spread(parts, x.shape, **geometry)
        if np.issubdtype(x.dtype, np.integer):
            return _scatter(xp, self.argmax(xp, x)[1], grad, x.shape)
        return jax.vjp(lambda v: self.max_pool(xp, v), x)[1](grad)[0]

    def gradient(self, op: Any, grad: Any) -> Any:
        x, y, _ = op.inputs
        return _zeros(x), _zeros(y), raw.MaxPoolGradGrad(x, y, grad, **self.shared())


class MaxPoolGradGrad(_Pool):
    """The derivative of MaxPoolGrad: from each window the element of `grad` at the place of the largest."""

    orig_input, orig_output, grad = Input("T"), Input("T"), Input("T")
    output = Output("T")
    ksize = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    padding = Attr("string", allowed=_PADDINGS)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    T = type_attr(REALS)

    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        merge(with_rank(shapes[0], 4), with_rank(shapes[2], 4))
        return with_rank(shapes[1], 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        x, _, grad = inputs
        return grad.reshape(-1)[self.argmax(xp, x)[1]]

    def gradient(self, op: Any, grad: Any) -> Any:
        x, y, _ = op.inputs
        return _zeros(x), _zeros(y), raw.MaxPoolGrad(x, y, grad, **self.shared())


def _scatter(xp: Any, places: Any, grad: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with `grad` added at flat `places`."""
    size = int(np.prod(shape, dtype=np.int64))
    total = xp.zeros(size, grad.dtype).at[places.reshape(-1)].add(grad.reshape(-1))
    return total.reshape(shape)


class MaxPoolWithArgmax(_Pool):
    """The largest element of each window and its place in the flattened image (or batch)."""

    input = Input("T")
    output = Output("T")
    argmax_ = Output("Targmax", name="argmax")
    ksize = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    Targmax = type_attr(INDEX, int64)
    padding = Attr("string", allowed=_PADDINGS)
    include_batch_in_index = Attr("bool", False)
    T = type_attr(REALS)

    def infer(self, ctx: Any, x: TensorShape) -> Any:
        shape = self.output_shape(x)
        return shape, shape

    def compute(self, xp: Any, *inputs: Any) -> Any:
        (x,) = inputs
        largest, places = self.argmax(xp, x)
        if not self.attrs["include_batch_in_index"]:
            places = places % int(np.prod(x.shape[1:], dtype=np.int64))
        return largest, places.astype(self.attrs["Targmax"].as_numpy_dtype)

    def gradient(self, op: Any, *grads: Any) -> Any:
        again = {**self.shared(), "include_batch_in_index": self.attrs["include_batch_in_index"]}
        return raw.MaxPoolGradWithArgmax(op.inputs[0], grads[0], op.outputs[1], **again)


class MaxPoolGradWithArgmax(_Pool):
    """The derivative of MaxPoolWithArgmax: each gradient goes to the place found there."""

    input, grad = Input("T"), Input("T")
    argmax_ = Input("Targmax", name="argmax")
    output = Output("T")
    ksize = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    padding = Attr("string", allowed=_PADDINGS)
    include_batch_in_index = Attr("bool", False)
    Targmax = type_attr(INDEX)
    T = type_attr(REALS)

    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        return with_rank(shapes[0], 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        x, grad, places = inputs
        places = places.astype(xp.int64)
        if not self.attrs["include_batch_in_index"]:
            image = int(np.prod(x.shape[1:], dtype=np.int64))
            places = places + (xp.arange(x.shape[0]) * image)[:, None, None, None]
        return _scatter(xp, places, grad, x.shape)


class AvgPool(_Pool):
    """The mean of each window; padding does not count."""

    value = Input("T")
    output = Output("T")
    ksize = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    padding = Attr("string", allowed=_PADDINGS)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    T = type_attr(FLOATS)

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return self.output_shape(x)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self.average(xp, inputs[0])

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.AvgPoolGrad(shape_of(op.inputs[0]), grad, **self.shared())


class AvgPoolGrad(_Pool):
    """The derivative of AvgPool: each gradient spread over its window."""

    orig_input_shape = Input(int32)
    grad = Input("T")
    output = Output("T")
    ksize = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    padding = Attr("string", allowed=_PADDINGS)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    T = type_attr(FLOATS)
    static_inputs = ("orig_input_shape",)

    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        shape = ctx.value_as_shape(0)
        return unknown_shape(4) if shape.ndims is None else with_rank(shape, 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        import jax

        sizes, grad = inputs
        like = jax.ShapeDtypeStruct(tuple(int(d) for d in np.asarray(sizes)), grad.dtype)
        return jax.linear_transpose(lambda x: self.average(xp, x), like)(grad)[0]

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.StopGradient(op.inputs[0]), raw.AvgPool(grad, **self.shared())


# -- what programs call ----------------------------------------------------------------------------


def _flat_layout(data_format: Any) -> str:
    layout = "NHWC" if data_format is None else str(data_format)
    if layout not in ("NHWC", "NCHW", "NCHW_VECT_C"):
        raise ValueError(f"data_format must be NHWC or NCHW, not {layout!r}")
    return layout


def _pool(
    op_type: str, x: Any, ksize: Any, strides: Any, padding: Any, layout: Any, name: Any
) -> Tensor:
    layout = _flat_layout(layout)
    with name_scope(name, op_type, [x]) as scope:
        return getattr(raw, op_type)(
            x,
            ksize=windows.per_axis(ksize, 2, layout, "ksize"),
            strides=windows.per_axis(strides, 2, layout, "strides"),
            padding=padding,
            data_format=layout,
            name=scope,
        )


def max_pool(
    value: Any = None,
    ksize: Any = None,
    strides: Any = None,
    padding: Any = None,
    data_format: str = "NHWC",
    name: str | None = None,
    input: Any = None,
) -> Tensor:
    """The largest element of each window of a [batch, height, width, channels] tensor (tf.nn.max_pool).

    `ksize` and `strides` hold 1, 2 or 4 numbers, `padding` is "SAME" or "VALID"; `input` is another name of `value`.
    """
    x = value if input is None else input
    return _pool("MaxPool", x, ksize, strides, padding, data_format, name)


def max_pool2d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """`max_pool` under its later name (tf.nn.max_pool2d)."""
    return _pool("MaxPool", input, ksize, strides, padding, data_format, name or "MaxPool2d")


def avg_pool(
    value: Any = None,
    ksize: Any = None,
    strides: Any = None,
    padding: Any = None,
    data_format: str = "NHWC",
    name: str | None = None,
    input: Any = None,
) -> Tensor:
    """The mean of each window of a [batch, height, width, channels] float tensor (tf.nn.avg_pool); see `max_pool`."""
    x = value if input is None else input
    return _pool("AvgPool", x, ksize, strides, padding, data_format, name)


def max_pool_with_argmax(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    Targmax: Any = None,
    name: str | None = None,
    output_dtype: Any = None,
    include_batch_in_index: bool = False,
) -> Any:
    """The largest element of each window and its index in the flattened image (tf.nn.max_pool_with_argmax).

    Returns `(output, argmax)`; indices are int64 (or `Targmax`), counted over the whole batch on request.
    Raises ValueError for a layout other than NHWC.
    """
    if data_format != "NHWC":
        raise ValueError("data_format values other than 'NHWC' are not yet supported")
    return raw.MaxPoolWithArgmax(
        input,
        ksize=windows.per_axis(ksize, 2, "NHWC", "ksize"),
        strides=windows.per_axis(strides, 2, "NHWC", "strides"),
        padding=padding,
        Targmax=Targmax or output_dtype or int64,
        include_batch_in_index=include_batch_in_index,
        name=name,
    )
