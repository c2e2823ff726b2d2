"""TensorArray ops (V3): lists of tensors that live for one step, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import float32, int32, int64, resource
from flowmesh.core.shapes import TensorShape, as_shape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.array_support import with_rank
from flowmesh.ops.tensor_array import TensorArray
from flowmesh.ops.traced_arrays import TracedArray
from flowmesh.resources.step_arrays import StepArray

_SCALAR = TensorShape([])


def _array(value: Any) -> Any:
    """The array behind a handle; InvalidArgumentError for anything else."""
    if not isinstance(value, (StepArray, TracedArray)):
        raise errors.InvalidArgumentError(None, None, f"{value} is no TensorArray of this step")
    return value


def _declared_shape(op: Any) -> TensorShape:
    """The shape of the elements, as the op that made the array declares it for all of them."""
    while op.type in ("Enter", "Identity", "Switch", "TensorArrayGradV3"):
        op = op.inputs[0].op
    if op.type == "TensorArrayV3" and op.definition.attrs["identical_element_shapes"]:
        return as_shape(op.definition.attrs["element_shape"])
    return unknown_shape()


class _Using(OpDef, abstract=True):
    """An op on an array."""

    stateful = True
    step_object = True
    devices = ("CPU", "GPU")


class TensorArrayV3(_Using):
    """Makes an array of `size` elements."""

    size = Input(int32)
    handle, flow = Output(resource), Output(float32)
    dtype = type_attr()
    element_shape = Attr("shape", unknown_shape())
    dynamic_size = Attr("bool", False)
    clear_after_read = Attr("bool", True)
    identical_element_shapes = Attr("bool", False)
    tensor_array_name = Attr("string", b"")
    static_inputs = ("size",)

    def infer(self, ctx: Any, size: TensorShape) -> Any:
        with_rank(size, 0)
        return TensorShape([2]), _SCALAR

    def compute(self, xp: Any, size: Any) -> Any:
        """(the array, a flow)."""
        attrs = self.attrs
        shape = as_shape(attrs["element_shape"])
        size = np.asarray(size)
        if size.ndim:
            raise errors.InvalidArgumentError(
                None, None, f"TensorArray size must be scalar, but had shape: {list(size.shape)}"
            )
        flow = np.zeros((), np.float32)
        if xp is not np:
            if attrs["dynamic_size"]:
                raise TypeError("A TensorArray that grows is not traced")
            dtype = attrs["dtype"].as_numpy_dtype
            return TracedArray(xp, dtype, int(size), shape, False), flow
        name = attrs["tensor_array_name"].decode() or "TensorArray"
        made = StepArray(
            name,
            attrs["dtype"],
            int(size),
            shape,
            dynamic_size=attrs["dynamic_size"],
            clear_after_read=attrs["clear_after_read"],
            identical_shapes=attrs["identical_element_shapes"],
        )
        return made, flow


class TensorArrayGradV3(_Using):
    """The array of the gradients with respect to an array, for one gradients call (`source`)."""

    handle, flow_in = Input(resource), Input(float32)
    grad_handle, flow_out = Output(resource), Output(float32)
    source = Attr("string")

    def infer(self, ctx: Any, handle: TensorShape, flow_in: TensorShape) -> Any:
        with_rank(flow_in, 0)
        return TensorShape([2]), _SCALAR

    def compute(self, xp: Any, handle: Any, flow_in: Any) -> Any:
        """(the array of gradients, the flow)."""
        return _array(handle).gradient(self.attrs["source"].decode()), flow_in


class TensorArrayWriteV3(_Using):
    """Sets one element."""

    handle, index, value, flow_in = Input(resource), Input(int32), Input("T"), Input(float32)
    flow_out = Output(float32)
    T = type_attr()

    def infer(self, ctx: Any, handle: Any, index: TensorShape, value: Any, flow_in: Any) -> Any:
        with_rank(index, 0)
        return _SCALAR

    def compute(self, xp: Any, handle: Any, index: Any, value: Any, flow_in: Any) -> Any:
        """The flow."""
        _array(handle).write(index, value)
        return flow_in

    def gradient(self, op: Any, flow: Any) -> Any:
        gradients = _gradients_of(op, self.attrs["T"], flow, flow)
        return None, None, gradients.read(op.inputs[1]), flow


class TensorArrayReadV3(_Using):
    """One element."""

    handle, index, flow_in = Input(resource), Input(int32), Input(float32)
    value = Output("dtype")
    dtype = type_attr()

    def infer(self, ctx: Any, handle: Any, index: TensorShape, flow_in: Any) -> Any:
        with_rank(index, 0)
        return _declared_shape(ctx.inputs[0].op)

    def compute(self, xp: Any, handle: Any, index: Any, flow_in: Any) -> Any:
        """The element."""
        return _array(handle).read(index)

    def gradient(self, op: Any, grad: Any) -> Any:
        gradients = _gradients_of(op, self.attrs["dtype"], op.inputs[2], grad)
        return None, None, gradients.write(op.inputs[1], grad).flow


class TensorArrayGatherV3(_Using):
    """Elements, stacked."""

    handle, indices, flow_in = Input(resource), Input(int32), Input(float32)
    value = Output("dtype")
    dtype = type_attr()
    element_shape = Attr("shape", unknown_shape())

    def infer(self, ctx: Any, handle: Any, indices: TensorShape, flow_in: Any) -> Any:
        with_rank(indices, 1)
        return unknown_shape()

    def compute(self, xp: Any, handle: Any, indices: Any, flow_in: Any) -> Any:
        """The stacked elements."""
        array = _array(handle)
        if isinstance(array, TracedArray):
            return array.gather(indices)
        return array.gather(indices, as_shape(self.attrs["element_shape"]))

    def gradient(self, op: Any, grad: Any) -> Any:
        gradients = _gradients_of(op, self.attrs["dtype"], op.inputs[2], grad)
        return None, None, gradients.scatter(op.inputs[1], grad).flow


class TensorArrayScatterV3(_Using):
    """Writes the rows of `value` to elements."""

    handle, indices, value = Input(resource), Input(int32), Input("T")
    flow_in = Input(float32)
    flow_out = Output(float32)
    T = type_attr()

    def infer(self, ctx: Any, handle: Any, indices: TensorShape, value: Any, flow_in: Any) -> Any:
        with_rank(indices, 1)
        return _SCALAR

    def compute(self, xp: Any, handle: Any, indices: Any, value: Any, flow_in: Any) -> Any:
        """The flow."""
        _array(handle).scatter(indices, value)
        return flow_in

    def gradient(self, op: Any, flow: Any) -> Any:
        gradients = _gradients_of(op, self.attrs["T"], flow, flow)
        return None, None, gradients.gather(op.inputs[1]), flow


class TensorArrayConcatV3(_Using):
    """All elements joined along their first axis, and their lengths."""

    handle, flow_in = Input(resource), Input(float32)
    value, lengths = Output("dtype"), Output(int64)
    dtype = type_attr()
    element_shape_except0 = Attr("shape", unknown_shape())

    def infer(self, ctx: Any, handle: Any, flow_in: Any) -> Any:
        return unknown_shape(), TensorShape([None])

    def compute(self, xp: Any, handle: Any, flow_in: Any) -> Any:
        """(the joined elements, the lengths)."""
        array = _array(handle)
        if isinstance(array, TracedArray):
            return array.concat()
        return array.concat(as_shape(self.attrs["element_shape_except0"]))

    def gradient(self, op: Any, grad: Any, _: Any) -> Any:
        gradients = _gradients_of(op, self.attrs["dtype"], op.inputs[1], grad)
        return None, gradients.split(grad, lengths=op.outputs[1]).flow


class TensorArraySplitV3(_Using):
    """Writes pieces of `value` to the elements."""

    handle, value, lengths = Input(resource), Input("T"), Input(int64)
    flow_in = Input(float32)
    flow_out = Output(float32)
    T = type_attr()

    def infer(self, ctx: Any, handle: Any, value: Any, lengths: TensorShape, flow_in: Any) -> Any:
        with_rank(lengths, 1)
        return _SCALAR

    def compute(self, xp: Any, handle: Any, value: Any, lengths: Any, flow_in: Any) -> Any:
        """The flow."""
        _array(handle).split(value, lengths)
        return flow_in

    def gradient(self, op: Any, flow: Any) -> Any:
        gradients = _gradients_of(op, self.attrs["T"], flow, flow)
        return None, gradients.concat(), None, flow


class TensorArraySizeV3(_Using):
    """How many elements there are."""

    handle, flow_in = Input(resource), Input(float32)
    size = Output(int32)
    NotDifferentiable = True

    def infer(self, ctx: Any, handle: Any, flow_in: Any) -> Any:
        return _SCALAR

    def compute(self, xp: Any, handle: Any, flow_in: Any) -> Any:
        """The number, which is known even when it is traced."""
        return np.asarray(_array(handle).size, np.int32)


class TensorArrayCloseV3(_Using):
    """Lets go of the elements."""

    handle = Input(resource)
    NotDifferentiable = True

    def infer(self, ctx: Any, handle: Any) -> Any:
        return ()

    def compute(self, xp: Any, handle: Any) -> Any:
        """Nothing."""
        if isinstance(handle, StepArray):
            handle.close()
        return ()


def _gradients_of(op: Any, dtype: Any, flow: Any, grad: Any) -> TensorArray:
    """The array of the gradients that belongs to the gradients call that `grad` comes from."""
    array = TensorArray(
        dtype=dtype, handle=op.inputs[0], flow=flow, colocate_with_first_write_call=False
    )
    return array.grad(source=_source_of(grad), flow=flow)


def _source_of(grad: Any) -> str:
    """What names the gradients call in whose scope `grad` was made."""
    parts = grad.name.split("/")
    found = [i for i, part in enumerate(parts) if part.startswith("gradients")]
    if not found:
        raise ValueError(
            f"Expected op/tensor name to start with gradients (excluding scope), got: {grad.name}. This means that a "
            "tf.gradients op with this op in its dependency path has a custom name that does not start with 'gradients'. "
            "Please make sure all calls to tf.gradients that have non-empty 'name' arguments use names that start with "
            "'gradients'."
        )
    return "/".join(parts[: found[-1] + 1])
