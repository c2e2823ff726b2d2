"""Element types of tensors: `DType`, one constant per type, and the sets op definitions use.

There is exactly one `DType` object per enum number, so identity is equality; copying and pickling
keep it. The module-level constant `bool` shadows the builtin, which is therefore spelled
`builtins.bool` here.
"""

from __future__ import annotations

import builtins
from typing import Any

import ml_dtypes
import numpy as np

_REF_OFFSET = 100  # a reference type's enum number is its base's plus this
_RESOURCE_ENUM, _VARIANT_ENUM = 20, 21

_BY_ENUM: dict[int, DType] = {}
_BY_KEY: dict[Any, DType] = {}  # names, numpy scalar types, Python types -> DType

# What `DType.limits` reports: the range of an image of that type, as TensorFlow defines it.
_IMAGE_RANGE: dict[Any, tuple[Any, Any]] = {
    np.float16: (-1, 1),
    np.float32: (-1, 1),
    np.float64: (-1, 1),
} | {
    t: (np.iinfo(t).min, np.iinfo(t).max)
    for t in (
        np.int8,
        np.int16,
        np.int32,
        np.int64,
        np.uint8,
        np.uint16,
        np.uint32,
        np.uint64,
    )
}


class DType:
    """The type of the elements of a tensor, or of a reference to a mutable tensor.

    Users do not construct it: they name a constant (`float32`) or call `as_dtype`.
    """

    __slots__ = (
        "_base",
        "_enum",
        "_numpy",
        "_ref",
        "is_bool",
        "is_complex",
        "is_floating",
        "is_integer",
        "is_numpy_compatible",
        "is_quantized",
        "is_unsigned",
        "name",
    )

    name: str
    is_bool: builtins.bool
    is_complex: builtins.bool
    is_floating: builtins.bool
    is_integer: builtins.bool
    is_numpy_compatible: builtins.bool
    is_quantized: builtins.bool
    is_unsigned: builtins.bool

    def __init__(self, name: str, enum: int, numpy_type: Any, kind: str, base: DType | None = None):
        """`kind` is one letter: f(loat) i(nt) u(nsigned) c(omplex) b(ool) q(uantized) o(ther)."""
        self.name = name
        self._enum = enum
        self._numpy = numpy_type
        self._base = self if base is None else base
        self._ref: DType = self
        self.is_bool = kind == "b"
        self.is_complex = kind == "c"
        self.is_floating = kind == "f"
        self.is_integer = kind in "iu"
        self.is_unsigned = kind == "u"
        self.is_quantized = kind == "q"
        self.is_numpy_compatible = enum % _REF_OFFSET not in (_RESOURCE_ENUM, _VARIANT_ENUM)
        if base is None:
            self._ref = DType(name + "_ref", enum + _REF_OFFSET, numpy_type, kind, self)
        _BY_ENUM[enum] = self
        _BY_KEY[name] = self

    @property
    def _is_ref_dtype(self) -> builtins.bool:
        return self._base is not self

    @property
    def _as_ref(self) -> DType:
        """The reference form of this type."""
        return self._ref

    @property
    def base_dtype(self) -> DType:
        """The type without the reference."""
        return self._base

    @property
    def real_dtype(self) -> DType:
        """The type of the real part: float32 for complex64; the type itself when not complex."""
        if self._base is complex64:
            return float32
        return float64 if self._base is complex128 else self

    @property
    def as_numpy_dtype(self) -> Any:
        """The numpy scalar type, or a structured dtype for a quantized type."""
        if self._numpy is None:
            raise TypeError(f"{self.name} has no NumPy equivalent.")
        return self._numpy

    @property
    def as_datatype_enum(self) -> int:
        """The number of this type in `types.proto`."""
        return self._enum

    @property
    def min(self) -> Any:
        """The lowest finite value; TypeError when the type has none."""
        return self._numeric_info("minimum").min

    @property
    def max(self) -> Any:
        """The highest finite value; TypeError when the type has none."""
        return self._numeric_info("maximum").max

    def _numeric_info(self, which: str) -> Any:
        if self.is_integer:
            return np.iinfo(self._numpy)
        if self._base is bfloat16:
            return ml_dtypes.finfo(ml_dtypes.bfloat16)
        if self.is_floating:
            return np.finfo(self._numpy)
        raise TypeError(f"Cannot find {which} value of {self}.")

    @property
    def limits(self) -> tuple[Any, Any]:
        """(0, highest intensity) of an image of this type; KeyError if it cannot be one."""
        return 0, _IMAGE_RANGE[self._numpy][1]

    @property
    def size(self) -> int:
        """Bytes per element."""
        return np.dtype(self._numpy).itemsize if self.is_numpy_compatible else 1

    def is_compatible_with(self, other: Any) -> builtins.bool:
        """Whether a tensor of type `other` may stand where this type is asked for."""
        dtype = as_dtype(other)
        return self is dtype or self is dtype._base

    def __eq__(self, other: object) -> builtins.bool:
        if self is other:
            return True
        if other is None or isinstance(other, DType):
            return False
        try:
            return as_dtype(other) is self
        except TypeError:
            return False

    def __ne__(self, other: object) -> builtins.bool:
        return not self == other

    def __hash__(self) -> int:
        return self._enum

    def __int__(self) -> int:
        return self._enum

    def __repr__(self) -> str:
        return "tf." + self.name

    def __str__(self) -> str:
        return f"<dtype: {self.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)

    def __copy__(self) -> DType:
        return self

    def __deepcopy__(self, memo: Any) -> DType:
        return self


def _opaque(name: str, numpy_type: Any) -> np.dtype[Any]:
    """The one-field structured dtype that stands for a type numpy does not have."""
    return np.dtype([(name, numpy_type)])


float32 = DType("float32", 1, np.float32, "f")
float64 = DType("float64", 2, np.float64, "f")
int32 = DType("int32", 3, np.int32, "i")
uint8 = DType("uint8", 4, np.uint8, "u")
int16 = DType("int16", 5, np.int16, "i")
int8 = DType("int8", 6, np.int8, "i")
string = DType("string", 7, np.object_, "o")
complex64 = DType("complex64", 8, np.complex64, "c")
int64 = DType("int64", 9, np.int64, "i")
bool = DType("bool", 10, np.bool_, "b")
qint8 = DType("qint8", 11, _opaque("qint8", np.int8), "q")
quint8 = DType("quint8", 12, _opaque("quint8", np.uint8), "q")
qint32 = DType("qint32", 13, _opaque("qint32", np.int32), "q")
bfloat16 = DType("bfloat16", 14, ml_dtypes.bfloat16, "f")
qint16 = DType("qint16", 15, _opaque("qint16", np.int16), "q")
quint16 = DType("quint16", 16, _opaque("quint16", np.uint16), "q")
uint16 = DType("uint16", 17, np.uint16, "u")
complex128 = DType("complex128", 18, np.complex128, "c")
float16 = DType("float16", 19, np.float16, "f")
resource = DType("resource", _RESOURCE_ENUM, None, "o")
variant = DType("variant", _VARIANT_ENUM, None, "o")
uint32 = DType("uint32", 22, np.uint32, "u")
uint64 = DType("uint64", 23, np.uint64, "u")

half = float16
double = float64

float32_ref = float32._as_ref
float64_ref = float64._as_ref
int32_ref = int32._as_ref
uint8_ref = uint8._as_ref
int16_ref = int16._as_ref
int8_ref = int8._as_ref
string_ref = string._as_ref
complex64_ref = complex64._as_ref
int64_ref = int64._as_ref
bool_ref = bool._as_ref
qint8_ref = qint8._as_ref
quint8_ref = quint8._as_ref
qint32_ref = qint32._as_ref
bfloat16_ref = bfloat16._as_ref
qint16_ref = qint16._as_ref
quint16_ref = quint16._as_ref
uint16_ref = uint16._as_ref
complex128_ref = complex128._as_ref
float16_ref = float16._as_ref
resource_ref = resource._as_ref
variant_ref = variant._as_ref
uint32_ref = uint32._as_ref
uint64_ref = uint64._as_ref
half_ref = float16_ref
double_ref = float64_ref

# Sets for op definitions.
FLOATS = frozenset({float16, bfloat16, float32, float64})
COMPLEX = frozenset({complex64, complex128})
SIGNED_INTS = frozenset({int8, int16, int32, int64})
UNSIGNED_INTS = frozenset({uint8, uint16, uint32, uint64})
INTS = SIGNED_INTS | UNSIGNED_INTS
REALS = FLOATS | INTS
NUMBERS = REALS | COMPLEX
QUANTIZED = frozenset({qint8, quint8, qint16, quint16, qint32})
INDEX = frozenset({int32, int64})
ALL = NUMBERS | QUANTIZED | {string, bool, resource, variant}


def _fill_lookup() -> None:
    """Everything `as_dtype` takes besides enum numbers and canonical names."""
    for dtype in ALL:
        if dtype.is_numpy_compatible:
            _BY_KEY[dtype._numpy] = dtype
    _BY_KEY.update(
        {
            "half": float16,
            "half_ref": float16_ref,
            "float": float32,
            "float_ref": float32_ref,
            "double": float64,
            "double_ref": float64_ref,
            np.bytes_: string,
            np.str_: string,
            object: string,
            float: float32,
            builtins.bool: bool,
        }
    )
    for alias in (np.intc, np.uintc, np.int_, np.uint, np.longlong, np.ulonglong):
        _BY_KEY.setdefault(
            alias, _BY_KEY[np.dtype(f"{np.dtype(alias).kind}{alias().itemsize}").type]
        )


_fill_lookup()


def as_dtype(type_value: Any) -> DType:
    """The `DType` for a DType, an enum number, a name, or a numpy or Python type."""
    if type(type_value) is DType:
        return type_value
    try:
        if isinstance(type_value, np.dtype) and type_value.names is None:
            return _BY_KEY[type_value.type]
        if isinstance(type_value, int) and not isinstance(type_value, builtins.bool):
            return _BY_ENUM[type_value]
        return _BY_KEY[type_value]
    except (KeyError, TypeError):
        pass
    raise TypeError(f"Cannot convert value {type_value!r} to a TensorFlow DType.")
