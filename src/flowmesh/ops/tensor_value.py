"""Python values to NumPy arrays, as `tf.constant` reads them."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import Dimension, TensorShape, as_shape
from flowmesh.graph.tensor import Tensor

MAX_BYTES = (1 << 31) - 1


def _fits_int(value: Any) -> bool:
    return isinstance(value, (numbers.Integral, np.integer, np.bool_, Dimension))


def _fits_real(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.integer, np.floating, Dimension))


def _fits_number(value: Any) -> bool:
    return isinstance(value, (numbers.Complex, np.number))


def _fits_bool(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _fits_text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _check_of(dtype: DType | None) -> Callable[[Any], bool]:
    if dtype is None:
        return lambda value: not isinstance(value, Tensor)
    if dtype.is_integer or dtype.is_quantized:
        return _fits_int
    if dtype.is_floating:
        return _fits_real
    if dtype.is_complex:
        return _fits_number
    if dtype.is_bool:
        return _fits_bool
    if dtype == dtypes.string:
        return _fits_text
    return lambda value: True


def _leaves(value: Any) -> Iterator[Any]:
    """The elements of nested lists; an array counts as nested lists of its own elements."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, (np.ndarray, np.generic)):
        yield from np.asarray(value).reshape(-1).tolist()
    elif isinstance(value, TensorShape) and value.ndims is not None:
        yield from value
    else:
        yield value


def _first_mismatch(value: Any, fits: Callable[[Any], bool]) -> tuple[bool, Any]:
    for leaf in _leaves(value):
        if not fits(leaf):
            return True, leaf
    return False, None


def _check_compatible(value: Any, dtype: DType | None) -> None:
    found, leaf = _first_mismatch(value, _check_of(dtype))
    if not found:
        return
    if dtype is None:
        raise TypeError("List of Tensors when single Tensor expected")
    raise TypeError(f"Expected {dtype.name}, got {leaf!r} of type '{type(leaf).__name__}' instead.")


def _dense_dims(value: Any) -> list[int]:
    """The dimensions a nested list would have by its first elements."""
    if isinstance(value, (np.ndarray, np.generic)):
        return list(value.shape)
    if not isinstance(value, (list, tuple)):
        return []
    return [0] if not value else [len(value), *_dense_dims(value[0])]


def _as_bytes(value: Any) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def _string_array(value: Any) -> np.ndarray:
    """An object array of bytes with the shape of the nested list (or array) `value`."""
    source = value if isinstance(value, np.ndarray) else None
    dims = list(source.shape) if source is not None else _dense_dims(value)
    leaves = [_as_bytes(v) for v in _leaves(value)]
    if len(leaves) != int(np.prod(dims)):
        raise ValueError(_not_dense(value, [len(value)], dims))
    array = np.empty(len(leaves), object)
    array[:] = leaves
    return array.reshape(dims)


def _not_dense(value: Any, got: Sequence[int], wanted: Sequence[int]) -> str:
    return (
        f"Argument must be a dense tensor: {value} - got shape {list(got)}, "
        f"but wanted {list(wanted)}."
    )


def _plain(value: Any) -> Any:
    """Dimensions as ints, inside lists too, so that NumPy reads them."""
    if isinstance(value, Dimension):
        return int(value)
    if isinstance(value, TensorShape):
        return [int(d) for d in value]
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _has_text(value: Any) -> bool:
    return any(isinstance(leaf, (str, bytes)) for leaf in _leaves(value))


def _python_array(value: Any, dtype: DType | None) -> np.ndarray:
    """The array of a scalar or nested list; floats become float32 and ints int32 when `dtype` is open."""
    _check_compatible(value, dtype)
    if dtype == dtypes.string or (dtype is None and _has_text(value)):
        if dtype is None and not all(_fits_text(leaf) for leaf in _leaves(value)):
            raise TypeError(
                f"Failed to convert object of type {type(value)} to Tensor. Contents: {value}. "
                "Consider casting elements to a supported type."
            )
        return _string_array(value)
    value = _plain(value)
    wanted = _dense_dims(value)
    numpy_type = None if dtype is None else dtype.as_numpy_dtype
    try:
        array = np.array(value, dtype=numpy_type)
    except OverflowError:
        name = "int64" if dtype is None else dtype.name
        raise OverflowError(f"Value {value!r} does not fit into a tensor of {name}") from None
    except ValueError as error:
        raise ValueError(_not_dense(value, wanted[:1], wanted)) from error
    if array.dtype == object:
        raise TypeError(
            f"Failed to convert object of type {type(value)} to Tensor. Contents: {value}. "
            "Consider casting elements to a supported type."
        )
    if list(array.shape) != wanted:
        raise ValueError(_not_dense(value, array.shape, wanted))
    return array if dtype is not None else _narrow(array)


def _narrow(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    if array.dtype == np.int64:
        narrow = array.astype(np.int32)
        return narrow if np.array_equal(narrow, array) else array
    return array


def _known_array(value: Any, dtype: DType | None) -> np.ndarray:
    """The array of a NumPy value, cast when a dtype is asked for."""
    array = np.asarray(value)
    if array.dtype.kind in "USO":
        if dtype not in (None, dtypes.string):
            return _python_array(array.tolist(), dtype)
        _check_compatible(array.tolist(), dtypes.string)
        return _string_array(array)
    if dtype is None:
        return array
    if dtype == dtypes.string:
        _check_compatible(array.tolist(), dtype)
    numpy_type = dtype.as_numpy_dtype
    if array.dtype == numpy_type:
        return array
    with np.errstate(all="ignore"):
        return array.astype(numpy_type)


def to_array(
    value: Any,
    dtype: Any = None,
    shape: Any = None,
    verify_shape: bool = False,
    name: str | None = None,
) -> np.ndarray:
    """The array that `tf.constant(value, dtype, shape, verify_shape=...)` holds.

    Python floats become float32 and ints int32 (int64 where they need it); NumPy values keep their dtype. With
    `shape` the last element fills what is missing. Raises TypeError (wrong type or shape) or ValueError (None,
    ragged lists, too many elements, over 2 GB) as TensorFlow does; `name` is what the last error calls the constant.
    """
    if value is None:
        raise ValueError("None values not supported.")
    wanted = None if dtype is None else dtypes.as_dtype(dtype).base_dtype
    if isinstance(value, (np.ndarray, np.generic)):
        array = _known_array(value, wanted)
    elif not isinstance(value, (list, tuple, Tensor)) and callable(
        getattr(value, "__array__", None)
    ):
        array = _known_array(np.asarray(value), wanted)
    else:
        array = _python_array(value, wanted)
    try:
        found = dtypes.as_dtype(array.dtype)
    except TypeError:
        raise TypeError(f"Unrecognized data type: {array.dtype}") from None
    if wanted is not None and wanted != found:
        raise TypeError(f"Incompatible types: {wanted} vs. {found.name}. Value is {value}")
    if shape is not None:
        array = _reshaped(array, shape, verify_shape, name)
    if array.nbytes > MAX_BYTES:
        raise _too_large(name, array.nbytes)
    return _frozen(array, value)


def _too_large(name: str | None, size: int) -> ValueError:
    which = f"The constant {name!r}" if name else "This one"
    return ValueError(
        f"Cannot create a tensor proto whose content is larger than 2GB. {which} would take {size:,} bytes: feed the "
        "value through a tf.placeholder, or load it into a variable in pieces."
    )


def _frozen(array: np.ndarray, source: Any) -> np.ndarray:
    """A read-only array that shares no memory with what the caller may still change."""
    if array.size > 1 and not any(array.strides):
        return array  # one element repeated, its own copy already
    if array is source or array.base is not None or not array.flags.c_contiguous:
        array = np.array(array, order="C")
    array.flags.writeable = False
    return array


def _reshaped(
    array: np.ndarray, shape: Any, verify_shape: bool, name: str | None = None
) -> np.ndarray:
    dims = [int(d) for d in as_shape(shape)]
    size = int(np.prod(dims, dtype=np.int64))
    if verify_shape and list(array.shape) != dims:
        raise TypeError(f"Expected Tensor's shape: {tuple(dims)}, got {tuple(array.shape)}.")
    if size == 0 and array.size == 1:
        return np.empty(dims, array.dtype)
    if array.size > size:
        raise ValueError(
            f"Too many elements provided. Needed at most {size}, but received {array.size}"
        )
    if array.size == size:
        return array.reshape(dims)
    if array.size == 1 and size * array.itemsize <= MAX_BYTES:
        return np.broadcast_to(
            array.copy().reshape(()), dims
        )  # written as the one element that it is
    flat = array.reshape(-1)
    if size * array.itemsize > MAX_BYTES:
        raise _too_large(name, size * array.itemsize)
    filled = np.zeros(size, array.dtype) if array.dtype != object else np.full(size, b"", object)
    filled[: flat.size] = flat
    if flat.size:
        filled[flat.size :] = flat[-1]
    return filled.reshape(dims)
