"""Tensor values as text, as TensorFlow's logging ops print them."""

from __future__ import annotations

from typing import Any

import numpy as np

_ESCAPES = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 39: "\\'", 92: "\\\\"}


def escaped(value: bytes) -> str:
    """Bytes with everything but printable ASCII as C escapes."""
    return "".join(_ESCAPES.get(b, chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in bytes(value))


def number(value: Any, digits: int, more: int) -> str:
    """The shortest of two precisions that reads back as the same number."""
    if np.isnan(value):
        return "nan"
    if np.isinf(value):
        return "inf" if value > 0 else "-inf"
    short = f"{float(value):.{digits}g}"
    if type(value)(short) == value:
        return short
    return f"{float(value):.{digits + more}g}"


def element(value: Any, quoted: bool = False) -> str:
    """One element of a tensor."""
    if isinstance(value, (bytes, str)):
        raw = value.encode() if isinstance(value, str) else value
        return f'"{escaped(raw)}"' if quoted else escaped(raw)
    if isinstance(value, np.bool_):
        return "1" if value else "0"
    if isinstance(value, np.float64):
        return number(value, 15, 2)
    if isinstance(value, np.float32):
        return number(value, 6, 3)
    if isinstance(value, np.complexfloating):
        return "?" if not quoted else f"({element(value.real)},{element(value.imag)})"
    if isinstance(value, np.integer):
        return str(int(value))
    return number(np.float32(value), 6, 3)


def summary(array: Any, limit: int) -> str:
    """At most `limit` elements (all when negative), rows in brackets, `...` for the rest."""
    array = np.asarray(array)
    flat = array.reshape(-1)
    shown = flat.size if limit < 0 else min(limit, flat.size)
    parts: list[str] = []
    if flat.size:
        _rows(flat, array.shape, 0, [0], shown, parts)
    if shown < flat.size:
        parts.append("...")
    return "".join(parts)


def _rows(
    flat: np.ndarray, dims: tuple[int, ...], dim: int, at: list[int], limit: int, out: list[str]
) -> None:
    """One dimension of `summary`; `at` holds how many elements are out already."""
    if at[0] >= limit:
        return
    if dim >= len(dims) - 1:
        for i in range(dims[dim] if dims else 1):
            if at[0] >= limit:
                if dim != 0:
                    out.append("...")
                return
            if i:
                out.append(" ")
            out.append(element(flat[at[0]]))
            at[0] += 1
        return
    for _ in range(dims[dim]):
        if at[0] >= limit:
            return
        out.append("[")
        _rows(flat, dims, dim + 1, at, limit, out)
        out.append("]")


def summary_v2(array: Any, ends: int) -> str:
    """The form of `tf.print`: `ends` elements from both ends of each dimension (all when negative)."""
    array = np.asarray(array)
    return _block(array, 0, array.ndim, ends)


def _block(array: np.ndarray, dim: int, rank: int, ends: int) -> str:
    if array.ndim == 0:
        return element(array[()], quoted=True)
    count = len(array)
    break_ = " " if dim == rank - 1 else "\n" * (rank - 1 - dim) + " " * (dim + 1)
    if ends < 0 or count <= 2 * ends:
        items = [_block(np.asarray(x), dim + 1, rank, ends) for x in array]
    else:
        head = [_block(np.asarray(x), dim + 1, rank, ends) for x in array[:ends]]
        tail = [_block(np.asarray(x), dim + 1, rank, ends) for x in array[count - ends :]]
        items = [*head, "...", *tail]
    return "[" + break_.join(items) + "]"
