"""What the elements of a dataset are: a structure of specs, one for each component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend.data import nest
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.tensor import Tensor


class TensorSpec:
    """The dtype and (partial) shape of a tensor (tf.TensorSpec)."""

    def __init__(self, shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> None:
        self._shape = as_shape(shape)
        self._dtype = as_dtype(dtype)
        self._name = name

    @property
    def shape(self) -> TensorShape:
        """The shape, as far as it is known."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """The dtype."""
        return self._dtype

    @property
    def name(self) -> str | None:
        """The name, or None."""
        return self._name

    @classmethod
    def from_tensor(cls, tensor: Any, name: str | None = None) -> TensorSpec:
        """The spec of a tensor."""
        return cls(tensor.shape, tensor.dtype, name or tensor.op.name)

    def is_compatible_with(self, spec_or_tensor: Any) -> bool:
        """Whether a spec or tensor has this dtype and a shape that fits."""
        return (
            hasattr(spec_or_tensor, "shape")
            and self._dtype == spec_or_tensor.dtype
            and self._shape.is_compatible_with(spec_or_tensor.shape)
        )

    def most_specific_compatible_type(self, other: TensorSpec) -> TensorSpec:
        """The narrowest spec that both are cases of; ValueError for other dtypes."""
        if self._dtype != other.dtype:
            raise ValueError(f"Types are not compatible: {self!r} vs {other!r}")
        return TensorSpec(common_shape(self._shape, other.shape), self._dtype, self._name)

    def batch(self, size: int | None) -> TensorSpec:
        """The spec of several such tensors together."""
        return TensorSpec(TensorShape([size]).concatenate(self._shape), self._dtype)

    def unbatch(self) -> TensorSpec:
        """The spec of a row of such a tensor; ValueError for a scalar."""
        if self._shape.ndims == 0:
            raise ValueError("Unbatching a tensor is only supported for rank >= 1")
        return TensorSpec(
            TensorShape(None) if self._shape.ndims is None else self._shape[1:], self._dtype
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorSpec)
            and self._shape.key == other.shape.key
            and self._dtype == other.dtype
            and self._name == other.name
        )

    def __hash__(self) -> int:
        return hash((self._shape.key, self._dtype))

    def __repr__(self) -> str:
        return f"TensorSpec(shape={self._shape}, dtype={self._dtype!r}, name={self._name!r})"

    # -- what components are made of -----------------------------------------------------------------

    @property
    def flat(self) -> TensorSpec:
        """The spec of the one tensor that carries the component."""
        return self

    def to_tensor(self, value: Any) -> Tensor:
        """A component as a tensor."""
        tensor = convert_to_tensor(value, self._dtype)
        if not self._shape.is_compatible_with(tensor.shape):
            raise ValueError(f"The value {value} is not compatible with the TensorSpec {self!r}.")
        return tensor

    def from_flat(self, tensor: Tensor) -> Any:
        """A tensor as the component."""
        tensor.set_shape(self._shape)
        return tensor

    @property
    def legacy(self) -> tuple[Any, Any, Any]:
        """Type, shape and class, as `output_types` ... tell them."""
        return self._dtype, self._shape, Tensor


class DatasetSpec:
    """A component that is a dataset itself (tf.data.DatasetSpec)."""

    def __init__(self, element_spec: Any, dataset_shape: Any = ()) -> None:
        self._element_spec = element_spec
        self._dataset_shape = as_shape(dataset_shape)

    @property
    def element_spec(self) -> Any:
        """The spec of the inner dataset's elements."""
        return self._element_spec

    def is_compatible_with(self, other: Any) -> bool:
        """Whether the other one has elements of the same kind."""
        return isinstance(other, DatasetSpec) and are_compatible(
            self._element_spec, other.element_spec
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetSpec) and self._element_spec == other.element_spec

    def __hash__(self) -> int:
        return hash(tuple(nest.flatten(self._element_spec)))

    def __repr__(self) -> str:
        return f"DatasetSpec({self._element_spec!r}, {self._dataset_shape!r})"

    def batch(self, size: int | None) -> DatasetSpec:
        """The spec of several datasets together."""
        return DatasetSpec(self._element_spec, TensorShape([size]).concatenate(self._dataset_shape))

    def unbatch(self) -> DatasetSpec:
        """The spec of one of several datasets."""
        if self._dataset_shape.ndims == 0:
            raise ValueError("Unbatching a dataset is only supported for rank >= 1")
        return DatasetSpec(self._element_spec, self._dataset_shape[1:])

    @property
    def flat(self) -> TensorSpec:
        """The spec of the variant."""
        return TensorSpec(self._dataset_shape, dtypes.variant)

    def to_tensor(self, value: Any) -> Tensor:
        """The dataset's variant."""
        variant: Tensor = value._variant_tensor
        return variant

    def from_flat(self, tensor: Tensor) -> Any:
        """The dataset behind a variant."""
        return dataset_from_variant(tensor, self._element_spec)

    @property
    def legacy(self) -> tuple[Any, Any, Any]:
        """The spec itself three times."""
        return self, self, self


def _unbound(tensor: Tensor, element_spec: Any) -> Any:
    raise RuntimeError("flowmesh.frontend.data.dataset has not been imported")


dataset_from_variant: Any = _unbound
"""Makes a dataset of a variant; bound by `dataset.py`."""


def common_shape(first: TensorShape, second: TensorShape) -> TensorShape:
    """The most specific shape that both are cases of."""
    if first.key is None or second.key is None or len(first.key) != len(second.key):
        return TensorShape(None)
    return TensorShape([a if a == b else None for a, b in zip(first.key, second.key)])


def spec_of(value: Any) -> Any:
    """The spec of an element; converts values that are no tensors, to see what they become. TypeError for what is none."""
    if nest.is_nested(value):
        if isinstance(value, Mapping):
            found = {key: spec_of(value[key]) for key in value}
            return type(value)((key, found[key]) for key in value)  # type: ignore[call-arg]
        return nest.rebuild(value, [spec_of(child) for child in value])
    if isinstance(value, Tensor):
        return TensorSpec(value.shape, value.dtype.base_dtype)
    if hasattr(value, "_variant_tensor"):
        return DatasetSpec(value.element_spec)
    if type(value).__name__ in ("SparseTensor", "SparseTensorValue"):
        raise NotImplementedError(
            "Sparse tensors cannot be elements of datasets here: pass their indices, values and dense_shape as a tuple"
        )
    try:
        if isinstance(value, np.ndarray):
            return TensorSpec(value.shape, _dtype_of(value))
        merged = _spec_of_tensors(value) if isinstance(value, list) else None
        return spec_of(convert_to_tensor(value)) if merged is None else merged
    except (TypeError, ValueError):
        raise TypeError(
            f"Could not build a TypeSpec for {value!r} with type {type(value).__name__}"
        ) from None


def _dtype_of(array: np.ndarray) -> DType:
    return dtypes.string if array.dtype.kind in "OSU" else as_dtype(array.dtype)


def _spec_of_tensors(items: list[Any]) -> TensorSpec | None:
    """The spec of a list of tensors or arrays; None for a list of anything else."""
    if not items or not all(isinstance(item, (Tensor, np.ndarray)) for item in items):
        return None
    specs = [spec_of(item) for item in items]
    merged: TensorSpec = specs[0]
    for spec in specs[1:]:
        merged = merged.most_specific_compatible_type(spec)
    return merged.batch(len(specs))


def normalized(element: Any) -> Any:
    """An element whose components are tensors (or datasets)."""
    leaves = []
    with get_default_graph().name_scope("normalize_element"):
        for i, leaf in enumerate(nest.flatten(element)):
            if hasattr(leaf, "_variant_tensor"):
                leaves.append(leaf)
            else:
                if type(leaf).__name__ in ("SparseTensor", "SparseTensorValue"):
                    spec_of(leaf)
                leaves.append(convert_to_tensor(leaf, name=f"component_{i}"))
    return nest.pack(element, leaves)


def to_tensors(spec: Any, element: Any) -> list[Tensor]:
    """The tensors that carry an element."""
    nest.check_same(spec, element)
    return [s.to_tensor(leaf) for s, leaf in zip(nest.flatten(spec), nest.flatten(element))]


def from_tensors(spec: Any, tensors: Any) -> Any:
    """The element that tensors carry."""
    flat = nest.flatten(spec)
    if len(flat) != len(tensors):
        raise ValueError(f"Expected {len(flat)} tensors but got {len(tensors)}.")
    return nest.pack(spec, [s.from_flat(t) for s, t in zip(flat, tensors)])


def flat_types(spec: Any) -> list[DType]:
    """The dtypes of the tensors that carry an element."""
    return [s.flat.dtype for s in nest.flatten(spec)]


def flat_shapes(spec: Any) -> list[TensorShape]:
    """The shapes of the tensors that carry an element."""
    return [s.flat.shape for s in nest.flatten(spec)]


def legacy(spec: Any, which: int) -> Any:
    """`output_types` (0), `output_shapes` (1) or `output_classes` (2) of a spec."""
    return nest.pack(spec, [s.legacy[which] for s in nest.flatten(spec)])


def from_legacy(types: Any, shapes: Any, classes: Any) -> Any:
    """The spec of `output_types`, `output_shapes` and `output_classes`."""
    specs = []
    for dtype, shape, kind in zip(nest.flatten(types), nest.flatten(shapes), nest.flatten(classes)):
        if isinstance(kind, (TensorSpec, DatasetSpec)):
            specs.append(kind)
        elif isinstance(kind, type) and issubclass(kind, Tensor):
            specs.append(TensorSpec(shape, dtype))
        else:
            raise TypeError(f"Could not build a structure for output class {kind!r}")
    return nest.pack(classes, specs)


def legacy_spec(output_types: Any, output_shapes: Any, output_classes: Any) -> Any:
    """The spec that callers give by types, and by shapes and classes if they know them."""
    types = nest.map_structure(as_dtype, output_types)
    if output_shapes is None:
        output_shapes = nest.map_structure(lambda _: TensorShape(None), types)
    else:
        output_shapes = nest.map_structure_up_to(types, as_shape, output_shapes)
    if output_classes is None:
        output_classes = nest.map_structure(lambda _: Tensor, types)
    nest.check_same(types, output_shapes)
    return from_legacy(types, output_shapes, output_classes)


def are_compatible(first: Any, second: Any) -> bool:
    """Whether two specs have one form and components that fit."""
    try:
        nest.check_same(first, second)
    except (TypeError, ValueError):
        return False
    pairs = zip(nest.flatten(first), nest.flatten(second))
    return all(a.is_compatible_with(b) for a, b in pairs)


def zero_of(dtype: DType) -> Any:
    """What pads components of this dtype: zero, or the empty string."""
    if dtype.base_dtype == dtypes.string:
        return ""
    return np.zeros((), dtype.as_numpy_dtype)[()]
