"""Rows of the elementwise and arithmetic ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from tests.ops.table import Row

FLOATS = ["float16", "bfloat16", "float32", "float64"]
NUMERIC = [*FLOATS, "complex64", "complex128"]
REAL = ["float32", "float64"]

X = np.array([[-1.6, -0.3, 0.4], [0.9, 1.7, 2.6]])
POSITIVE = np.array([[0.2, 0.6, 1.1], [1.9, 2.4, 3.3]])
UNIT = np.array([-0.8, -0.35, 0.1, 0.55])
ABOVE_ONE = np.array([1.2, 1.9, 3.5])
INTEGERS = np.array([-3, -1, 0, 2, 7])
Y = np.array([[0.7, 1.4, -0.9], [1.2, 0.5, 2.2]])
VECTOR = np.array([0.8, -1.3, 1.9])


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def unary(
    op: str, x: Any, want: Callable[[Any], Any], dtypes: list[str] = NUMERIC, **more: Any
) -> Row:
    return Row(op, [x], want=want, dtypes=dtypes, **more)


UNARY = [
    unary("Neg", X, np.negative, [*NUMERIC, "int32", "int64"]),
    unary("Abs", X, np.abs, [*FLOATS, "int32", "int64", "int8", "int16"]),
    unary("Sign", X, np.sign, [*FLOATS, "int32", "int64"]),
    Row(
        "Sign",
        [np.array([0, 3 + 4j, -2j])],
        want=np.array([0, 0.6 + 0.8j, -1j]),
        dtypes=["complex64", "complex128"],
        id="complex",
    ),
    unary("Reciprocal", POSITIVE, np.reciprocal),
    unary("Inv", POSITIVE, np.reciprocal, REAL),
    Row(
        "Reciprocal", [np.array([1, -1, 5])], want=np.array([1, -1, 0]), dtypes=["int32"], id="int"
    ),
    unary("Square", X, np.square, [*NUMERIC, "int32", "int64"]),
    unary("Sqrt", POSITIVE, np.sqrt),
    unary("Rsqrt", POSITIVE, lambda x: 1 / np.sqrt(x)),
    unary("Exp", X, np.exp),
    unary("Expm1", X, np.expm1),
    unary("Log", POSITIVE, np.log),
    unary("Log1p", POSITIVE, np.log1p),
    unary("Sin", X, np.sin),
    unary("Cos", X, np.cos),
    unary("Tan", UNIT, np.tan),
    unary("Asin", UNIT, np.arcsin),
    unary("Acos", UNIT, np.arccos),
    unary("Atan", X, np.arctan),
    unary("Sinh", X, np.sinh),
    unary("Cosh", X, np.cosh),
    unary("Asinh", X, np.arcsinh),
    unary("Acosh", ABOVE_ONE, np.arccosh),
    unary("Atanh", UNIT, np.arctanh),
    unary("Tanh", X, np.tanh),
    unary("Sigmoid", X, sigmoid),
    unary("Sigmoid", np.array([-100.0, 0.0, 100.0]), scipy.special.expit, ["float32"], id="far"),
    unary("Erf", X, scipy.special.erf, FLOATS),
    unary("Erfc", X, scipy.special.erfc, FLOATS),
    unary("Lgamma", POSITIVE, scipy.special.gammaln, FLOATS),
    unary("Digamma", POSITIVE, scipy.special.digamma, REAL, rtol=1e-4),
    unary("Floor", X, np.floor, FLOATS),
    unary("Ceil", X, np.ceil, FLOATS),
    unary("Rint", np.array([0.5, 1.5, 2.5, -0.5, 0.7]), np.rint, FLOATS),
    unary("Round", np.array([0.5, 1.5, 2.5, -0.5, 0.7]), np.round, [*NUMERIC, "int32", "int64"]),
    unary("IsNan", np.array([0.0, np.nan, np.inf]), np.isnan, FLOATS),
    unary("IsInf", np.array([0.0, np.nan, -np.inf]), np.isinf, FLOATS),
    unary("IsFinite", np.array([0.0, np.nan, np.inf]), np.isfinite, FLOATS),
    Row("ReciprocalGrad", [POSITIVE, Y], want=lambda y, dy: -dy * y * y, dtypes=REAL),
    Row("InvGrad", [POSITIVE, Y], want=lambda y, dy: -dy * y * y, dtypes=REAL),
    Row("SqrtGrad", [POSITIVE, Y], want=lambda y, dy: dy / 2 / y, dtypes=REAL),
    Row("RsqrtGrad", [POSITIVE, Y], want=lambda y, dy: dy * -0.5 * y**3, dtypes=REAL),
    Row("TanhGrad", [X, Y], want=lambda y, dy: dy * (1 - y * y), dtypes=REAL),
    Row("SigmoidGrad", [X, Y], want=lambda y, dy: dy * y * (1 - y), dtypes=REAL),
]


def binary(op: str, x: Any, y: Any, want: Any, dtypes: list[str] = NUMERIC, **more: Any) -> Row:
    return Row(op, [x, y], want=want, dtypes=dtypes, **more)


def truncated(x: Any, y: Any) -> Any:
    return np.trunc(x / y).astype(x.dtype)


DIVIDENDS, DIVISORS = np.array([-7, 7, -8, 6, 5]), np.array([2, -2, 4, 3, 7])
ZERO_PART = np.array([0.0, 0.0, 1.5, -2.0])
SOME_ZERO = np.array([0.0, 2.0, 0.0, 0.7])
UNEQUAL = [np.array([0.3, -1.0, 2.0]), np.array([0.9, -1.5, 1.0])]

BINARY = [
    row
    for op, function in (
        ("Add", np.add),
        ("AddV2", np.add),
        ("Sub", np.subtract),
        ("Mul", np.multiply),
    )
    for row in (
        binary(op, X, Y, function, [*NUMERIC, "int32", "int64", "uint8", "int8", "int16"]),
        binary(op, X, VECTOR, function, REAL, id="broadcast"),
        binary(op, X[:, :1], VECTOR, function, REAL, id="outer"),
        binary(op, X, 2.0, function, REAL, id="scalar"),
    )
] + [
    Row("Add", [[b"a", b"b"], b"c"], want=np.array([b"ac", b"bc"], object), id="string", jit=False),
    binary(
        "MulNoNan",
        np.array([np.nan, 2.0]),
        np.array([0.0, 3.0]),
        np.array([0.0, 6.0]),
        REAL,
        grad=False,
    ),
    binary("MulNoNan", X, VECTOR, np.multiply, REAL, id="broadcast"),
    binary("SquaredDifference", X, Y, lambda x, y: (x - y) ** 2, [*FLOATS, "int32", "int64"]),
    binary("SquaredDifference", X, VECTOR, lambda x, y: (x - y) ** 2, REAL, id="broadcast"),
    binary("Div", X, Y, np.divide),
    binary("Div", DIVIDENDS, DIVISORS, truncated, ["int32", "int64", "int8", "int16"], id="int"),
    binary("RealDiv", X, Y, np.divide),
    binary("RealDiv", X, VECTOR, np.divide, REAL, id="broadcast"),
    binary("RealDiv", DIVIDENDS, DIVISORS, truncated, ["int32", "int64"], id="int"),
    binary("FloorDiv", X, Y, np.floor_divide, FLOATS),
    binary("FloorDiv", DIVIDENDS, DIVISORS, np.floor_divide, ["int32", "int64"], id="int"),
    binary("TruncateDiv", DIVIDENDS, DIVISORS, truncated, ["int32", "int64", "int16"]),
    binary("DivNoNan", X, Y, np.divide, ["float32", "float64", "complex64"]),
    binary(
        "DivNoNan",
        X[0],
        np.array([0.0, 1.0, 2.0]),
        np.array([0.0, -0.3, 0.2]),
        REAL,
        id="zero",
        grad=False,
    ),
    binary("FloorMod", DIVIDENDS, DIVISORS, np.mod, ["int32", "int64", "float32"], grad=False),
    binary("FloorMod", X, Y, np.mod, REAL, id="float", rtol=1e-4),
    binary("Mod", DIVIDENDS, DIVISORS, np.fmod, ["int32", "int64", "float32"]),
    binary("TruncateMod", DIVIDENDS, DIVISORS, np.fmod, ["int32", "int64", "float32"]),
    binary("Xdivy", ZERO_PART, SOME_ZERO, np.array([0, 0, np.inf, -2 / 0.7]), REAL, grad=False),
    binary("Xdivy", X, VECTOR, np.divide, REAL, id="broadcast"),
    binary("Xlogy", ZERO_PART, SOME_ZERO, scipy.special.xlogy, REAL, grad=False),
    binary("Xlogy", X, POSITIVE, scipy.special.xlogy, REAL, id="float"),
    binary("Pow", POSITIVE, Y, np.power, NUMERIC),
    binary("Pow", POSITIVE, 3.0, np.power, REAL, id="scalar"),
    binary("Pow", INTEGERS, np.array([0, 3, 2, 5, 1]), np.power, ["int32", "int64"], id="int"),
    binary("Maximum", X, Y, np.maximum, [*FLOATS, "int32", "int64"]),
    binary("Maximum", X, VECTOR, np.maximum, REAL, id="broadcast"),
    binary("Minimum", X, Y, np.minimum, [*FLOATS, "int32", "int64"]),
    binary("Minimum", X, 0.5, np.minimum, REAL, id="scalar"),
    binary("Atan2", X, Y, np.arctan2, FLOATS),
    binary("NextAfter", np.array([1.0, -1.0, 0.5]), np.array([2.0, 0.0, 0.5]), np.nextafter, REAL),
    Row("AddN", [[X, Y, X]], want=sum, dtypes=[*NUMERIC, "int32"]),
    Row("AccumulateNV2", [[X, Y]], {"shape": [2, 3]}, want=sum, dtypes=REAL),
    Row("BroadcastGradientArgs", [[2, 1, 3], [1, 3]], want=([1], [0, 1]), loose_shape=True),
    Row("BroadcastGradientArgs", [[2, 3], [2, 3]], want=([], []), loose_shape=True, id="equal"),
    Row(
        "BroadcastGradientArgs", [[1, 3], [3]], want=([0], [0]), dtypes=["int64"], loose_shape=True
    ),
]

Z = np.array([[1 + 2j, -0.5 - 1j, 3j], [2.0, -1 + 0.5j, 0.25 + 0.75j]])

COMPLEX = [
    Row(op, [Z.astype(kind)], {"Tout": out}, want=function, id=kind)
    for op, function in (
        ("Real", np.real),
        ("Imag", np.imag),
        ("Angle", np.angle),
        ("ComplexAbs", np.abs),
    )
    for kind, out in (("complex64", "float32"), ("complex128", "float64"))
] + [
    Row("Conj", [Z], want=np.conj, dtypes=["complex64", "complex128"]),
    Row(
        "Complex",
        [X, Y],
        {"Tout": "complex128"},
        want=lambda r, i: r + 1j * i,
        dtypes=["float64"],
        grad=False,
    ),
    Row(
        "Complex",
        [X, VECTOR],
        {"Tout": "complex64"},
        want=lambda r, i: r + 1j * i,
        dtypes=["float32"],
        grad=False,
    ),
]

ROWS = UNARY + BINARY + COMPLEX
