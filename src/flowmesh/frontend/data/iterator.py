"""`Iterator`: the Python side of an iterator resource (TensorFlow: `tf.data.Iterator`)."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flowmesh.core import dtypes
from flowmesh.frontend.data import nest, structure
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.naming import name_scope

GLOBAL_ITERATORS = "iterators"
_MANY_CALLS = 32
_MANY_CALLS_TEXT = (
    "An unusually high number of `Iterator.get_next()` calls was detected. This often indicates that `Iterator.get_next()` "
    "is being called inside a training loop, which adds operations to the graph. Call it once, before the loop, and run what it "
    "returned in the loop."
)


class Iterator:
    """Where a program has got to in a dataset. Made by a dataset, `from_structure` or `from_string_handle`."""

    def __init__(
        self,
        iterator_resource: Tensor,
        initializer: Any,
        output_types: Any,
        output_shapes: Any,
        output_classes: Any,
    ) -> None:
        """`initializer` is the operation that lets the iterator begin, or None. ValueError when part of the structure is missing."""
        if output_types is None or output_shapes is None or output_classes is None:
            raise ValueError(
                "If `structure` is not specified, all of `output_types`, `output_shapes`, and `output_classes` must be "
                "specified."
            )
        self._iterator_resource = iterator_resource
        self._initializer = initializer
        self._element_spec = structure.from_legacy(output_types, output_shapes, output_classes)
        self._string_handle = raw.IteratorToStringHandle(iterator_resource)
        self._calls = 0
        get_default_graph().add_to_collection(GLOBAL_ITERATORS, iterator_resource)

    @staticmethod
    def from_structure(
        output_types: Any,
        output_shapes: Any = None,
        shared_name: str | None = None,
        output_classes: Any = None,
    ) -> Iterator:
        """An iterator for any dataset of this structure: `make_initializer(dataset)` binds it to one.

        Args:
          output_types, output_shapes, output_classes: structures of dtypes, shapes (default: unknown) and classes.
          shared_name: under which sessions of one task share it.
        """
        spec = structure.legacy_spec(output_types, output_shapes, output_classes)
        with _on_cpu():
            resource = raw.IteratorV2(
                container="",
                shared_name=shared_name or "",
                output_types=structure.flat_types(spec),
                output_shapes=structure.flat_shapes(spec),
            )
        return Iterator(resource, None, *(structure.legacy(spec, i) for i in range(3)))

    @staticmethod
    def from_string_handle(
        string_handle: Any,
        output_types: Any,
        output_shapes: Any = None,
        output_classes: Any = None,
    ) -> Iterator:
        """The iterator whose `string_handle()` was fed: which one may change from step to step.

        Running it raises NotFoundError when the task has no such iterator, InvalidArgumentError when it has other types.
        """
        spec = structure.legacy_spec(output_types, output_shapes, output_classes)
        string_handle = convert_to_tensor(string_handle, dtypes.string)
        with _on_cpu():
            resource = raw.IteratorFromStringHandleV2(
                string_handle,
                output_types=structure.flat_types(spec),
                output_shapes=structure.flat_shapes(spec),
            )
        return Iterator(resource, None, *(structure.legacy(spec, i) for i in range(3)))

    @property
    def initializer(self) -> Any:
        """The operation that lets the iterator begin (again); ValueError for one that begins by itself."""
        if self._initializer is None:
            raise ValueError("Iterator does not have an initializer.")
        return self._initializer

    def make_initializer(self, dataset: Any, name: str | None = None) -> Any:
        """An operation that lets this iterator begin with `dataset`; TypeError when their structures do not fit."""
        with name_scope(name, "make_initializer") as scope:
            spec = dataset.element_spec
            nest.check_same(self.output_types, structure.legacy(spec, 0))
            nest.check_same(self.output_shapes, structure.legacy(spec, 1))
            self._check_fits(spec)
        with get_default_graph().colocate_with(self._iterator_resource):
            return raw.MakeIterator(dataset._variant_tensor, self._iterator_resource, name=scope)

    def _check_fits(self, spec: Any) -> None:
        pairs = list(zip(nest.flatten(self._element_spec), nest.flatten(spec)))
        types, shapes, classes = (structure.legacy(spec, i) for i in range(3))
        if any(a.legacy[2] is not b.legacy[2] for a, b in pairs):
            raise TypeError(
                f"Expected output classes {self.output_classes!r} but got dataset with output class {classes!r}."
            )
        if any(a.legacy[0] != b.legacy[0] for a, b in pairs):
            raise TypeError(
                f"Expected output types {self.output_types!r} but got dataset with output types {types!r}."
            )
        if not all(a.flat.shape.is_compatible_with(b.flat.shape) for a, b in pairs):
            raise TypeError(
                f"Expected output shapes compatible with {self.output_shapes!r} but got dataset with output shapes {shapes!r}."
            )

    def get_next(self, name: str | None = None) -> Any:
        """The tensors of the next element, in its structure. Running them raises OutOfRangeError behind the last one."""
        self._calls += 1
        if self._calls > _MANY_CALLS:
            warnings.warn(_MANY_CALLS_TEXT, stacklevel=2)
        tensors = raw.IteratorGetNext(
            self._iterator_resource,
            output_types=structure.flat_types(self._element_spec),
            output_shapes=structure.flat_shapes(self._element_spec),
            name=name,
        )
        return structure.from_tensors(self._element_spec, tensors)

    def string_handle(self, name: str | None = None) -> Tensor:
        """A string that stands for this iterator, to be fed to `from_string_handle`."""
        if name is None:
            handle: Tensor = self._string_handle
            return handle
        made: Tensor = raw.IteratorToStringHandle(self._iterator_resource, name=name)
        return made

    @property
    def output_classes(self) -> Any:
        """The classes of the components."""
        return structure.legacy(self._element_spec, 2)

    @property
    def output_shapes(self) -> Any:
        """The shapes of the components."""
        return structure.legacy(self._element_spec, 1)

    @property
    def output_types(self) -> Any:
        """The dtypes of the components."""
        return structure.legacy(self._element_spec, 0)

    @property
    def element_spec(self) -> Any:
        """The specs of the components."""
        return self._element_spec


def _on_cpu() -> AbstractContextManager[Any]:
    """The device scope of iterators: the CPU, unless the program says something about devices."""
    graph = get_default_graph()
    return nullcontext() if graph._state.devices else graph.device("/cpu:0")
