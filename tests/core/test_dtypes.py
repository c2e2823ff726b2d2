"""Element types: what `as_dtype` takes, and what a `DType` says of itself."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

from flowmesh.core import dtypes

NUMBERS = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "string": 7,
    "complex64": 8,
    "int64": 9,
    "bool": 10,
    "qint8": 11,
    "quint8": 12,
    "qint32": 13,
    "bfloat16": 14,
    "qint16": 15,
    "quint16": 16,
    "uint16": 17,
    "complex128": 18,
    "float16": 19,
    "resource": 20,
    "variant": 21,
    "uint32": 22,
    "uint64": 23,
}


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_every_type_has_one_object(name: str, number: int) -> None:
    dtype = getattr(dtypes, name)
    ref = getattr(dtypes, name + "_ref")
    assert dtypes.as_dtype(name) is dtypes.as_dtype(number) is dtypes.as_dtype(dtype) is dtype
    assert dtypes.as_dtype(name + "_ref") is dtypes.as_dtype(number + 100) is ref
    assert dtype._as_ref is ref is ref._as_ref
    assert ref.base_dtype is dtype is dtype.base_dtype
    assert ref._is_ref_dtype and not dtype._is_ref_dtype
    assert (int(dtype), hash(dtype), dtype.as_datatype_enum) == (number,) * 3
    assert (repr(dtype), str(dtype)) == (f"tf.{name}", f"<dtype: {name!r}>")
    for each in (dtype, ref):
        assert pickle.loads(pickle.dumps(each)) is copy.deepcopy(each) is copy.copy(each) is each
    assert dtype.is_compatible_with(ref) and not ref.is_compatible_with(dtype)
    if dtype.is_numpy_compatible:
        assert dtypes.as_dtype(dtype.as_numpy_dtype) is dtype
        assert dtypes.as_dtype(np.dtype(dtype.as_numpy_dtype)) is dtype


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float, "float32"),
        (bool, "bool"),
        (object, "string"),
        ("half", "float16"),
        ("half_ref", "float16_ref"),
        ("float", "float32"),
        ("float_ref", "float32_ref"),
        ("double", "float64"),
        ("double_ref", "float64_ref"),
        (np.str_, "string"),
        (np.bytes_, "string"),
        (np.dtype("S3"), "string"),
        (np.dtype("U4"), "string"),
        (np.longlong, "int64"),
        (np.dtype("longlong"), "int64"),
        (np.intc, "int32"),
        (np.intp, "int64"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (np.dtype(">i4"), "int32"),
    ],
)
def test_as_dtype(value: object, expected: str) -> None:
    assert dtypes.as_dtype(value).name == expected
    assert dtypes.as_dtype(expected) == value


@pytest.mark.parametrize(
    "value", [int, str, bytes, complex, "int", "foo", None, 999, [1], {}, 1.0, True, np.array(1)]
)
def test_as_dtype_refuses(value: object) -> None:
    with pytest.raises(TypeError, match=r"Cannot convert value .* to a TensorFlow DType"):
        dtypes.as_dtype(value)
    assert dtypes.float32 != value
    assert (dtypes.float32 == value) is False


def test_equality() -> None:
    assert dtypes.float32 == "float32" == dtypes.float32
    assert dtypes.float32 == np.float32
    assert dtypes.float32 == np.dtype("float32")
    assert dtypes.float32 == 1
    assert dtypes.float32 != dtypes.float32_ref
    assert dtypes.float32 != dtypes.float64
    assert {dtypes.float32: 1}[dtypes.as_dtype("float")] == 1


def test_kinds() -> None:
    def having(attribute: str) -> set[str]:
        return {n for n in NUMBERS if getattr(dtypes.as_dtype(n), attribute)}

    assert having("is_floating") == {"float16", "bfloat16", "float32", "float64"}
    assert having("is_complex") == {"complex64", "complex128"}
    assert having("is_bool") == {"bool"}
    assert having("is_unsigned") == {"uint8", "uint16", "uint32", "uint64"}
    signed = {"int8", "int16", "int32", "int64"}
    assert having("is_integer") == having("is_unsigned") | signed
    quantized = {"qint8", "quint8", "qint16", "quint16", "qint32"}
    assert having("is_quantized") == quantized
    assert set(NUMBERS) - having("is_numpy_compatible") == {"resource", "variant"}
    for name in NUMBERS:
        dtype, ref = dtypes.as_dtype(name), dtypes.as_dtype(name + "_ref")
        for kind in ("floating", "complex", "bool", "unsigned", "integer", "quantized"):
            assert getattr(dtype, "is_" + kind) == getattr(ref, "is_" + kind)


def test_sets() -> None:
    def names(types: frozenset[dtypes.DType]) -> set[str]:
        return {t.name for t in types}

    assert names(dtypes.ALL) == set(NUMBERS)
    assert names(dtypes.FLOATS) == {t.name for t in dtypes.ALL if t.is_floating}
    assert names(dtypes.COMPLEX) == {t.name for t in dtypes.ALL if t.is_complex}
    assert names(dtypes.INTS) == {t.name for t in dtypes.ALL if t.is_integer}
    assert names(dtypes.UNSIGNED_INTS) == {t.name for t in dtypes.ALL if t.is_unsigned}
    assert names(dtypes.QUANTIZED) == {t.name for t in dtypes.ALL if t.is_quantized}
    assert dtypes.SIGNED_INTS == dtypes.INTS - dtypes.UNSIGNED_INTS
    assert dtypes.REALS == dtypes.FLOATS | dtypes.INTS
    assert dtypes.NUMBERS == dtypes.REALS | dtypes.COMPLEX
    assert names(dtypes.INDEX) == {"int32", "int64"}


def test_real_dtype() -> None:
    assert dtypes.complex64.real_dtype is dtypes.complex64_ref.real_dtype is dtypes.float32
    assert dtypes.complex128.real_dtype is dtypes.float64
    assert dtypes.int32_ref.real_dtype is dtypes.int32_ref
    assert dtypes.string.real_dtype is dtypes.string


def test_range() -> None:
    assert (dtypes.int32.min, dtypes.int32_ref.max) == (-(2**31), 2**31 - 1)
    assert (dtypes.uint64.min, dtypes.uint64.max) == (0, 2**64 - 1)
    assert dtypes.float32.max == np.finfo(np.float32).max
    assert dtypes.float16.min == -65504
    assert float(dtypes.bfloat16.max) == float.fromhex("0x1.FEp127")
    assert float(dtypes.bfloat16.min) == float.fromhex("-0x1.FEp127")
    for name in ("string", "bool", "qint8", "complex64", "resource", "variant"):
        dtype = dtypes.as_dtype(name)
        with pytest.raises(TypeError, match=f"Cannot find minimum value of <dtype: '{name}'>."):
            _ = dtype.min
        with pytest.raises(TypeError, match=f"Cannot find maximum value of <dtype: '{name}'>."):
            _ = dtype.max


def test_limits() -> None:
    assert dtypes.float32.limits == (0, 1)
    assert dtypes.int32_ref.limits == (0, 2**31 - 1)
    assert dtypes.uint16.limits == (0, 65535)
    for name in ("string", "bool", "qint8", "complex64", "resource", "bfloat16"):
        with pytest.raises(KeyError):
            _ = dtypes.as_dtype(name).limits


def test_size() -> None:
    sizes = {n: dtypes.as_dtype(n).size for n in ("float16", "bfloat16", "complex128", "bool")}
    assert sizes == {"float16": 2, "bfloat16": 2, "complex128": 16, "bool": 1}
    assert [dtypes.as_dtype(n).size for n in ("qint32", "string", "resource")] == [4, 8, 1]


def test_no_numpy_form() -> None:
    for dtype in (dtypes.variant, dtypes.resource_ref):
        with pytest.raises(TypeError, match=f"{dtype.name} has no NumPy equivalent"):
            _ = dtype.as_numpy_dtype
