"""Logarithm, sine and cosine of single-precision numbers with the rounding of today's C libraries.

The GNU C library computes `logf`, `sinf` and `cosf` with short double-precision polynomials and one final rounding, which
is right in most but not all last bits. Seeded normals are to equal TensorFlow's bit for bit, so the same polynomials
(published with Arm's optimized routines) are evaluated here on arrays, by NumPy or `jax.numpy` alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

_LN2 = float.fromhex("0x1.62e42fefa39efp-1")
_LOG_OFFSET = 0x3F330000
_LOG_POLY = tuple(
    float.fromhex(text)
    for text in ("-0x1.00ea348b88334p-2", "0x1.5575b0be00b6ap-2", "-0x1.ffffef20a4123p-2")
)
_LOG_TABLE = np.array(
    [
        [float.fromhex(text) for text in row.split()]
        for row in (
            "0x1.661ec79f8f3bep+0 -0x1.57bf7808caadep-2",
            "0x1.571ed4aaf883dp+0 -0x1.2bef0a7c06ddbp-2",
            "0x1.49539f0f010bp+0 -0x1.01eae7f513a67p-2",
            "0x1.3c995b0b80385p+0 -0x1.b31d8a68224e9p-3",
            "0x1.30d190c8864a5p+0 -0x1.6574f0ac07758p-3",
            "0x1.25e227b0b8eap+0 -0x1.1aa2bc79c81p-3",
            "0x1.1bb4a4a1a343fp+0 -0x1.a4e76ce8c0e5ep-4",
            "0x1.12358f08ae5bap+0 -0x1.1973c5a611cccp-4",
            "0x1.0953f419900a7p+0 -0x1.252f438e10c1ep-5",
            "0x1p+0 0x0p+0",
            "0x1.e608cfd9a47acp-1 0x1.aa5aa5df25984p-5",
            "0x1.ca4b31f026aap-1 0x1.c5e53aa362eb4p-4",
            "0x1.b2036576afce6p-1 0x1.526e57720db08p-3",
            "0x1.9c2d163a1aa2dp-1 0x1.bc2860d224770p-3",
            "0x1.886e6037841edp-1 0x1.1058bc8a07ee1p-2",
            "0x1.767dcf5534862p-1 0x1.4043057b6ee09p-2",
        )
    ]
)

_HALF_PI = float.fromhex("0x1.921FB54442D18p0")
_INVERSE_HALF_PI = float.fromhex("0x1.45F306DC9C883p-1")
_SINE = tuple(
    float.fromhex(text)
    for text in ("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13")
)
_COSINE = tuple(
    float.fromhex(text)
    for text in (
        "-0x1.ffffffd0c621cp-2",
        "0x1.55553e1068f19p-5",
        "-0x1.6c087e89a359dp-10",
        "0x1.99343027bf8c3p-16",
    )
)


def log(xp: Any, x: Array) -> Array:
    """Natural logarithm of float32 `x`, positive and normal."""
    bits = x.view(xp.uint32) - xp.uint32(_LOG_OFFSET)
    row = (bits >> xp.uint32(19)) & xp.uint32(15)
    exponent = (bits.view(xp.int32) >> xp.int32(23)).astype(xp.float64)
    mantissa = (x.view(xp.uint32) - (bits & xp.uint32(0xFF800000))).view(xp.float32)
    table = xp.asarray(_LOG_TABLE)
    r = mantissa.astype(xp.float64) * table[:, 0][row] - 1.0
    base = table[:, 1][row] + exponent * _LN2
    square = r * r
    tail = _LOG_POLY[0] * square + (_LOG_POLY[1] * r + _LOG_POLY[2])
    return (tail * square + (base + r)).astype(xp.float32)


def sine_cosine(xp: Any, x: Array) -> tuple[Array, Array]:
    """Sine and cosine of float32 `x`, 0 <= x <= 2 pi."""
    wide = x.astype(xp.float64)
    quadrant = xp.floor(wide * _INVERSE_HALF_PI + 0.5)
    whole = xp.minimum(quadrant, 2.0)  # in two steps, each of them exact
    y = (wide - whole * _HALF_PI) - (quadrant - whole) * _HALF_PI
    square = y * y
    cube = y * square
    s1, s2, s3 = _SINE
    sine = (y + cube * s1) + cube * square * (s2 + square * s3)
    sine = xp.where(wide < 2.0**-12, wide, sine)
    c1, c2, c3, c4 = _COSINE
    fourth = square * square
    cosine = (1.0 + square * c1 + fourth * c2) + fourth * square * (c3 + square * c4)
    turn = quadrant.astype(xp.int32) & 3
    swapped = (turn & 1) == 1
    sine, cosine = xp.where(swapped, cosine, sine), xp.where(swapped, sine, cosine)
    sine = xp.where(turn >= 2, -sine, sine)
    cosine = xp.where((turn == 1) | (turn == 2), -cosine, cosine)
    return sine.astype(xp.float32), cosine.astype(xp.float32)
