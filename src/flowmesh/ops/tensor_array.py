"""`tf.TensorArray`: a list of tensors that loops write to and read from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowmesh.core.dtypes import DType, as_dtype, int64
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import sequence
from flowmesh.ops.cast import cast
from flowmesh.ops.naming import name_scope
from flowmesh.ops.shape_ops import shape as shape_of

_log = logging.getLogger(__name__)


class TensorArray:
    """A list of tensors of one dtype (tf.TensorArray), for loops: each element is written once.

    Each write gives a new TensorArray; use that one for what comes after the write. Gradients flow through.
    """

    def __init__(
        self,
        dtype: Any,
        size: Any = None,
        dynamic_size: bool | None = None,
        clear_after_read: bool | None = None,
        tensor_array_name: str | None = None,
        handle: Tensor | None = None,
        flow: Tensor | None = None,
        infer_shape: bool = True,
        element_shape: Any = None,
        colocate_with_first_write_call: bool = True,
        name: str | None = None,
    ) -> None:
        """Makes an array of `size` elements (a scalar int32), or the view of an existing one (`handle` and `flow`).

        Args:
          dynamic_size: whether writes may make it longer.
          clear_after_read: whether an element may be read only once (True unless given).
          infer_shape: whether all elements must have one shape, which then is known.
          element_shape: the shape of the elements, as far as it is known.

        Raises ValueError for arguments that exclude each other, TypeError for a handle that is no Tensor.
        """
        _check_arguments(
            handle, tensor_array_name, size, element_shape, dynamic_size, clear_after_read
        )
        self._dynamic_size = bool(dynamic_size)
        self._dtype = as_dtype(dtype).base_dtype
        self._colocates = colocate_with_first_write_call
        self._colocate_with: list[Any] = []
        self._element_shape = [as_shape(element_shape)]
        self._infer_shape = infer_shape
        with name_scope(name, "TensorArray", [handle, size, flow]) as scope:
            if handle is not None:
                if flow is None:
                    raise ValueError("flow must not be None if handle is not None.")
                self._handle, self._flow = handle, flow
                return
            graph = get_default_graph()

            def make() -> Any:
                return raw.TensorArrayV3(
                    size,
                    dtype=dtype,
                    element_shape=self._element_shape[0],
                    identical_element_shapes=infer_shape,
                    dynamic_size=self._dynamic_size,
                    clear_after_read=True if clear_after_read is None else clear_after_read,
                    tensor_array_name=tensor_array_name or "",
                    name=scope,
                )

            if self._colocates:
                with graph.device(None), graph.colocate_with(None, ignore_existing=True):
                    self._handle, self._flow = make()
            else:
                self._handle, self._flow = make()

    # -- what it is --------------------------------------------------------------------------------------

    @property
    def flow(self) -> Tensor:
        """A scalar that stands for the state of the array: what takes it comes after the writes before it."""
        return self._flow

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self._dtype

    @property
    def handle(self) -> Tensor:
        """The resource."""
        return self._handle

    @property
    def element_shape(self) -> TensorShape:
        """The shape of the elements, as far as it is known."""
        return self._element_shape[0]

    @property
    def dynamic_size(self) -> bool:
        """Whether writes may make it longer."""
        return self._dynamic_size

    def _check_element_shape(self, shape: TensorShape) -> None:
        if not shape.is_compatible_with(self.element_shape):
            raise ValueError(f"Inconsistent shapes: saw {shape} but expected {self.element_shape} ")
        if self._infer_shape:
            self._element_shape[0] = self.element_shape.merge_with(shape)

    def _check_dtype(self, value: Tensor) -> None:
        """Says that a value has the wrong dtype, as TensorFlow does; running the op is an error."""
        if value.dtype.base_dtype != self._dtype:
            _log.error(
                "Input value %s has dtype %s, but expected dtype %s.",
                value.name,
                value.dtype.base_dtype.name,
                self._dtype.name,
            )

    @contextmanager
    def _placed(self, value: Tensor) -> Iterator[None]:
        """Puts writes, and with them the array, where the first value written is."""
        if not self._colocates:
            yield
            return
        if not self._colocate_with:
            self._colocate_with.append(value)
        first = self._colocate_with[0]
        with get_default_graph().colocate_with(first.op):
            yield

    # -- reading and writing -----------------------------------------------------------------------------

    def identity(self) -> TensorArray:
        """The same array, with an Identity of its flow."""
        return with_flow(self, raw.Identity(self._flow))

    def grad(self, source: str, flow: Tensor | None = None, name: str | None = None) -> TensorArray:
        """The array of the gradients with respect to this one, for one `tf.gradients` call (`source`)."""
        flow = self._flow if flow is None else flow
        graph = get_default_graph()
        with (
            name_scope(name, "TensorArrayGrad", [self._handle]),
            graph.colocate_with(self._handle.op),
        ):
            handle, _ = raw.TensorArrayGradV3(self._handle, flow, source=source, name=name)
            with graph.control_dependencies([handle]):
                flow = raw.Identity(flow, name="gradient_flow")
            made = TensorArray(
                self._dtype,
                handle=handle,
                flow=flow,
                infer_shape=self._infer_shape,
                colocate_with_first_write_call=False,
            )
            made._element_shape = self._element_shape
            return made

    def read(self, index: Any, name: str | None = None) -> Tensor:
        """The element at `index`."""
        value: Tensor = raw.TensorArrayReadV3(
            self._handle, index, self._flow, dtype=self._dtype, name=name
        )
        value.set_shape(self.element_shape)
        return value

    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with the element at `index` set. ValueError for a wrong shape; a wrong dtype is an error when it runs."""
        with name_scope(name, "TensorArrayWrite", [self._handle, index, value]):
            value = convert_to_tensor(value, preferred_dtype=self._dtype, name="value")
            self._check_dtype(value)
            self._check_element_shape(value.shape)
            with self._placed(value):
                flow = raw.TensorArrayWriteV3(self._handle, index, value, self._flow, name=name)
            return with_flow(self, flow)

    def stack(self, name: str | None = None) -> Tensor:
        """All elements, stacked along a new first axis."""
        with (
            get_default_graph().colocate_with(self._handle.op),
            name_scope(name, "TensorArrayStack", [self._handle]),
        ):
            return self.gather(sequence.range(0, self.size()), name=name)

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        """The elements at `indices`, stacked along a new first axis."""
        value: Tensor = raw.TensorArrayGatherV3(
            self._handle,
            indices,
            self._flow,
            dtype=self._dtype,
            element_shape=self.element_shape,
            name=name,
        )
        if self.element_shape.ndims is not None:
            value.set_shape([None, *self.element_shape.as_list()])
        return value

    def concat(self, name: str | None = None) -> Tensor:
        """All elements, joined along their first axis."""
        value, _ = raw.TensorArrayConcatV3(
            self._handle,
            self._flow,
            dtype=self._dtype,
            element_shape_except0=self.element_shape[1:],
            name=name,
        )
        if self.element_shape.ndims is not None:
            value.set_shape([None, *self.element_shape.as_list()[1:]])
        return value  # type: ignore[no-any-return]

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        """The array with its elements set to the rows of `value`."""
        with name_scope(name, "TensorArrayUnstack", [self._handle, value]):
            count = shape_of(value)[0]
            return self.scatter(sequence.range(0, count), value, name=name)

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with the elements at `indices` set to the rows of `value`. ValueError for a wrong shape; a wrong dtype is an error when it runs."""
        with name_scope(name, "TensorArrayScatter", [self._handle, value, indices]):
            value = convert_to_tensor(value, preferred_dtype=self._dtype, name="value")
            self._check_dtype(value)
            self._check_element_shape(value.shape[1:])
            with self._placed(value):
                flow = raw.TensorArrayScatterV3(self._handle, indices, value, self._flow, name=name)
            return with_flow(self, flow)

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        """The array with its elements set to pieces of `value` of these lengths."""
        with name_scope(name, "TensorArraySplit", [self._handle, value, lengths]):
            value = convert_to_tensor(value, dtype=self._dtype, name="value")
            with self._placed(value):
                lengths = cast(lengths, int64)
                known = constant_value(lengths)
                alike = known is not None and known.size and known.max() == known.min()
                if value.shape.ndims is not None and alike:
                    self._check_element_shape(
                        TensorShape([int(known[0])]).concatenate(value.shape[1:])
                    )
                flow = raw.TensorArraySplitV3(self._handle, value, lengths, self._flow, name=name)
            return with_flow(self, flow)

    def size(self, name: str | None = None) -> Tensor:
        """The number of elements, a scalar int32."""
        size: Tensor = raw.TensorArraySizeV3(self._handle, self._flow, name=name)
        return size

    def close(self, name: str | None = None) -> Operation:
        """An Operation that lets go of the elements."""
        done: Operation = raw.TensorArrayCloseV3(self._handle, name=name)
        return done


def with_flow(array: TensorArray, flow: Tensor) -> TensorArray:
    """The array in the state that `flow` stands for."""
    made = TensorArray(
        array._dtype,
        handle=array._handle,
        flow=flow,
        infer_shape=array._infer_shape,
        colocate_with_first_write_call=array._colocates,
    )
    made._element_shape = array._element_shape
    made._colocate_with = array._colocate_with
    made._dynamic_size = array._dynamic_size
    return made


def _check_arguments(
    handle: Any, name: Any, size: Any, element_shape: Any, dynamic_size: Any, clear: Any
) -> None:
    if handle is None:
        if size is None:
            raise ValueError("Size must be provided if handle is not provided")
        return
    if name:
        raise ValueError("Cannot construct with both handle and tensor_array_name")
    if not isinstance(handle, Tensor):
        raise TypeError("Handle must be a Tensor")
    given = {
        "size": size,
        "element_shape": element_shape,
        "dynamic_size": dynamic_size,
        "clear_after_read": clear,
    }
    for what, value in given.items():
        if value is not None:
            if what == "size":
                raise ValueError("Cannot provide both a handle and size at the same time")
            raise ValueError(f"Cannot provide both a handle and {what} at the same time")
