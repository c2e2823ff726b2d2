"""What dataset ops share: their outputs, the checks of their inputs, and calls of the functions in their attrs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape, scalar, unknown_shape
from flowmesh.graph.attrs import FunctionRef
from flowmesh.graph.op_def import HostContext, OpDef
from flowmesh.resources.datasets import Dataset, Element, IterationContext

Call = Callable[[Element], Element]


def invalid(message: str) -> errors.InvalidArgumentError:
    """The error for an argument that cannot be."""
    return errors.InvalidArgumentError(None, None, message)


class DatasetOp(OpDef, abstract=True):
    """An op that makes a dataset: a scalar variant."""

    NotDifferentiable = True
    devices = ("CPU",)
    prompt = True

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        return scalar()

    @property
    def element_types(self) -> tuple[Any, ...]:
        """The dtypes of the elements, from the attrs."""
        found = self.attrs.get("output_types") or self.attrs.get("Toutput_types")
        return tuple(found or ())

    @property
    def element_shapes(self) -> tuple[TensorShape, ...]:
        """The shapes of the elements, from the attrs."""
        return tuple(self.attrs.get("output_shapes") or ())


def dataset_of(value: Any) -> Dataset:
    """The dataset behind a variant; InvalidArgumentError for any other value."""
    if not isinstance(value, Dataset):
        raise invalid(
            f"The input is no dataset but {type(value).__name__}: tensors of type variant stay on the task that made them"
        )
    return value


def scalar_of(value: Any, name: str) -> Any:
    """The number (or bool) in a tensor that must be a scalar."""
    if np.ndim(value) != 0:
        raise invalid(f"{name} must be a scalar")
    return np.asarray(value).item()


def text_of(value: Any, name: str) -> str:
    """The text in a tensor that must be a scalar."""
    if np.ndim(value) != 0:
        raise invalid(f"{name} must be a scalar")
    item = np.asarray(value, object).item()
    return item.decode() if isinstance(item, bytes) else str(item)


def shape_of(value: Any) -> TensorShape:
    """The shape of a runtime value; unknown for what is no array."""
    if isinstance(value, (np.ndarray, np.generic)):
        return TensorShape(list(value.shape))
    return unknown_shape()


class BoundFunction:
    """The function of a `func` attr with the values that it takes from outside."""

    def __init__(
        self,
        ctx: HostContext,
        ref: FunctionRef,
        shapes: Sequence[TensorShape],
        captured: Sequence[Any] = (),
    ) -> None:
        """`shapes` are those of the elements that it will be called with."""
        if ctx.functions is None:
            raise errors.NotFoundError(
                None,
                None,
                f"Function {ref.name} is not defined: the graph has no library of functions",
            )
        self.captured = tuple(captured)
        wanted = [*shapes, *(shape_of(v) for v in captured)]
        self.prepared = ctx.functions.prepare(ref, ctx.device, wanted)
        self.output_types = self.prepared.output_types
        self.waits: bool = not self.prepared.prompt

    def caller(self, context: IterationContext) -> Call:
        """A function of elements, with random states of the pipeline's own. Waits, in the thread that calls it, where the body has to."""
        instance = self._instance(context)
        captured = self.captured
        cancellation = context.cancellation
        if instance.inline is not None:
            call = instance.call
            if not captured:
                return lambda element: tuple(call(element))
            return lambda element: tuple(call(element + captured))
        return lambda element: tuple(instance.call(element + captured, cancellation))

    def _instance(self, context: IterationContext) -> Any:
        """One for each function and pipeline."""
        found = context.kept.get(self.prepared)
        if found is None:
            found = context.kept[self.prepared] = self.prepared.instance()
        return found

    def starter(self, context: IterationContext) -> Any:
        """A function of elements that gives Futures of results."""
        instance = self._instance(context)
        captured = self.captured
        cancellation: CancellationManager = context.cancellation
        return lambda element: instance.start(element + captured, cancellation)

    @property
    def is_light(self) -> bool:
        """Whether calls are too small to be worth another thread."""
        return bool(self.prepared.is_light)

    @property
    def keeps_state(self) -> bool:
        """Whether a call depends on those before it (random numbers)."""
        return bool(self.prepared.keeps_state)
