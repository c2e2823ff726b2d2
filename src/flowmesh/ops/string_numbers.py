"""Strings from and to numbers and raw bytes."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import float32, float64, int32, int64, string
from flowmesh.core.shapes import TensorShape
from flowmesh.formats.decimal_fields import nearest_single
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import invalid
from flowmesh.ops.string_support import as_bytes, map_strings, strings

_PRINTABLE = tuple(
    getattr(dtypes, n)
    for n in [
        "int8",
        "int16",
        "int32",
        "int64",
        "complex64",
        "complex128",
        "float32",
        "float64",
        "bool",
    ]
)
_RAW = tuple(
    getattr(dtypes, n)
    for n in [
        "float16",
        "float32",
        "float64",
        "int32",
        "uint16",
        "uint8",
        "int16",
        "int8",
        "int64",
        "complex64",
        "complex128",
        "bool",
    ]
)


class AsString(OpDef):
    """Each number as text, in the formats of C's printf."""

    input = Input("T")
    output = Output(string)
    T = type_attr(_PRINTABLE)
    precision = Attr("int", -1)
    scientific = Attr("bool", False)
    shortest = Attr("bool", False)
    width = Attr("int", -1)
    fill = Attr("string", b"")
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def _format(self) -> str:
        a, dtype = self.attrs, self.attrs["T"]
        fill = a["fill"].decode("latin-1")
        real = dtype.is_floating or dtype.is_complex
        if not real and (a["scientific"] or a["shortest"]):
            raise invalid(f"scientific and shortest format not supported for datatype {dtype.name}")
        if not real and a["precision"] >= 0:
            raise invalid(f"precision not supported for datatype {dtype.name}")
        if a["scientific"] and a["shortest"]:
            raise invalid("Cannot select both scientific and shortest notation")
        if len(fill) > 1:
            raise invalid("Fill string must be one or fewer characters")
        if fill not in ("", " ", "+", "-", "0", "#"):
            raise invalid(f'Fill argument not supported: "{fill}"')
        kind = ("e" if a["scientific"] else "g" if a["shortest"] else "f") if real else "d"
        width = str(a["width"]) if a["width"] > -1 else ""
        precision = f".{a['precision']}" if a["precision"] > -1 else ""
        return f"%{fill}{width}{precision}{kind}"

    def compute(self, xp: Any, input: Any) -> Any:
        array, dtype = np.asarray(input), self.attrs["T"]
        form = self._format()
        values = array.reshape(-1).tolist()
        if dtype.is_bool:
            texts = ["true" if v else "false" for v in values]
        elif dtype.is_complex:
            texts = [f"({form % v.real},{form % v.imag})" for v in values]
        else:
            texts = [form % v for v in values]
        return strings([t.encode() for t in texts], array.shape)


_INT = re.compile(rb"^-?[0-9]+$")


def parse_number(text: bytes, dtype: Any) -> Any:
    stripped = text.strip(b" \t\n\v\f\r")
    try:
        if dtype.is_integer:
            if not _INT.match(stripped):
                raise ValueError
            value = int(stripped)
            if not dtype.min <= value <= dtype.max:
                raise ValueError
            return value
        if b"_" in stripped:
            raise ValueError
        is_hex = b"x" in stripped.lower()
        number = float.fromhex(stripped.decode("ascii")) if is_hex else float(stripped)
        return nearest_single(stripped, number) if dtype == float32 else number
    except ValueError:
        shown = text.decode("utf-8", "replace")
        raise invalid(f"StringToNumberOp could not correctly convert string: {shown}") from None


class StringToNumber(OpDef):
    """The number that each string spells."""

    string_tensor = Input(string)
    output = Output("out_type")
    out_type = type_attr((float32, float64, int32, int64), float32)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, string_tensor: TensorShape) -> TensorShape:
        return string_tensor

    def compute(self, xp: Any, string_tensor: Any) -> Any:
        array, dtype = np.asarray(string_tensor, object), self.attrs["out_type"]
        values = [parse_number(as_bytes(v), dtype) for v in array.reshape(-1)]
        with np.errstate(over="ignore"):
            return np.array(values).astype(dtype.as_numpy_dtype).reshape(array.shape)


class DecodeRaw(OpDef):
    """The bytes of each string as numbers along a new last dimension."""

    bytes = Input(string)
    output = Output("out_type")
    out_type = type_attr(_RAW)
    little_endian = Attr("bool", True)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, bytes: TensorShape) -> TensorShape:
        return bytes.concatenate([None])

    def compute(self, xp: Any, bytes: Any) -> Any:
        array, dtype = np.asarray(bytes, object), self.attrs["out_type"]
        items = [as_bytes(v) for v in array.reshape(-1)]
        numpy_type = np.dtype(dtype.as_numpy_dtype)
        if not items:
            return np.zeros((*array.shape, 0), numpy_type)
        size = len(items[0])
        for i, item in enumerate(items):
            if len(item) != size:
                raise invalid(
                    f"DecodeRaw requires input strings to all be the same size, but element {i} has size "
                    f"{size} != {len(item)}"
                )
        if size % numpy_type.itemsize:
            raise invalid(
                f"Input to DecodeRaw has length {size} that is not a multiple of {numpy_type.itemsize}, "
                f"the size of {dtype.name}"
            )
        order = "<" if self.attrs["little_endian"] else ">"
        flat = np.frombuffer(b"".join(items), numpy_type.newbyteorder(order)).astype(numpy_type)
        return flat.reshape((*array.shape, size // numpy_type.itemsize))


class EncodeBase64(OpDef):
    """Each string in web-safe base64."""

    input = Input(string)
    output = Output(string)
    pad = Attr("bool", False)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        pad = self.attrs["pad"]

        def encode(value: Any) -> Any:
            text = base64.urlsafe_b64encode(value)
            return text if pad else text.rstrip(b"=")

        return map_strings(encode, input)


_BASE64 = re.compile(rb"^[A-Za-z0-9_-]*$")


class DecodeBase64(OpDef):
    """Each string out of web-safe base64."""

    input = Input(string)
    output = Output(string)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        def decode(value: Any) -> Any:
            text = value.rstrip(b"=") if len(value) % 4 == 0 else value
            if not _BASE64.match(text):
                raise invalid("Invalid character found in base64.")
            if len(text) % 4 == 1:
                raise invalid("Base64 string length cannot be 1 modulo 4.")
            return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))

        return map_strings(decode, input)


def as_string(
    input: Any,
    precision: int = -1,
    scientific: Any = False,
    shortest: Any = False,
    width: int = -1,
    fill: str = "",
    name: str | None = None,
) -> Tensor:
    """Each number (or bool) as a string (tf.as_string).

    `precision`, `scientific` and `shortest` are for floating types; `fill` is one of "", " ", "+", "-", "0". A format that
    does not fit the dtype raises InvalidArgumentError when run.
    """
    return raw.AsString(
        input,
        precision=precision,
        scientific=scientific,
        shortest=shortest,
        width=width,
        fill=fill,
        name=name,
    )


def string_to_number(
    string_tensor: Any, out_type: Any = float32, name: str | None = None
) -> Tensor:
    """The number that each string spells, as float32, float64, int32 or int64 (tf.string_to_number).

    A string that is no such number raises InvalidArgumentError when run.
    """
    return raw.StringToNumber(string_tensor, out_type=dtypes.as_dtype(out_type), name=name)


def decode_raw(
    input_bytes: Any = None,
    out_type: Any = None,
    little_endian: Any = True,
    name: str | None = None,
    bytes: Any = None,
) -> Tensor:
    """The bytes of each string (all of one length) as numbers of `out_type`, along a new last dimension (tf.decode_raw)."""
    source = bytes if input_bytes is None else input_bytes
    if out_type is None:
        raise ValueError("decode_raw() missing 1 positional argument: 'out_type'")
    return raw.DecodeRaw(
        source, out_type=dtypes.as_dtype(out_type), little_endian=little_endian, name=name
    )


def encode_base64(input: Any, pad: Any = False, name: str | None = None) -> Tensor:
    """Each string in web-safe base64, padded with "=" on request (tf.encode_base64)."""
    return raw.EncodeBase64(input, pad=pad, name=name)


def decode_base64(input: Any, name: str | None = None) -> Tensor:
    """Each string out of web-safe base64 (tf.decode_base64); bad characters raise InvalidArgumentError when run."""
    return raw.DecodeBase64(input, name=name)
