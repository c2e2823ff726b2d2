"""StringToHashBucket: the three hashes that TensorFlow spreads strings with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int64, string
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import invalid
from flowmesh.ops.string_support import as_bytes

_M = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _rotate(value: int, by: int) -> int:
    value &= _M
    return ((value >> by) | (value << (64 - by))) & _M


def _shift_mix(value: int) -> int:
    value &= _M
    return value ^ (value >> 47)


def _mix(u: int, v: int, mul: int) -> int:
    a = _shift_mix((u ^ v) * mul)
    b = _shift_mix((v ^ a) * mul)
    return (b * mul) & _M


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_u64(data, at + 8 * i) for i in range(4))
    a = (a + w) & _M
    b = _rotate(b + a + z, 21)
    c = a
    a = (a + x + y) & _M
    b = (b + _rotate(a, 44)) & _M
    return (a + z) & _M, (b + c) & _M


def _up_to_16(s: bytes, n: int) -> int:
    if n >= 8:
        mul = _K2 + n * 2
        a, b = (_u64(s, 0) + _K2) & _M, _u64(s, n - 8)
        c = (_rotate(b, 37) * mul + a) & _M
        d = ((_rotate(a, 25) + b) * mul) & _M
        return _mix(c, d, mul)
    if n >= 4:
        return _mix((n + (_u32(s, 0) << 3)) & _M, _u32(s, n - 4), _K2 + n * 2)
    if n:
        y = s[0] + (s[n >> 1] << 8)
        z = n + (s[n - 1] << 2)
        return (_shift_mix((y * _K2) & _M ^ (z * _K0) & _M) * _K2) & _M
    return _K2


def _up_to_64(s: bytes, n: int) -> int:
    mul = (_K2 + n * 2) & _M
    first = _K1 if n <= 32 else _K2
    a, b = (_u64(s, 0) * first) & _M, _u64(s, 8)
    c, d = (_u64(s, n - 8) * mul) & _M, (_u64(s, n - 16) * _K2) & _M
    y = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _M
    z = _mix(y, (a + _rotate(b + _K2, 18) + c) & _M, mul)
    if n <= 32:
        return z
    e, f = (_u64(s, 16) * mul) & _M, _u64(s, 24)
    g, h = ((y + _u64(s, n - 32)) * mul) & _M, ((z + _u64(s, n - 24)) * mul) & _M
    return _mix(
        (_rotate(e + f, 43) + _rotate(g, 30) + h) & _M, (e + _rotate(f + a, 18) + g) & _M, mul
    )


def farm_fingerprint64(s: bytes) -> int:
    """FarmHash's Fingerprint64 of `s`."""
    n = len(s)
    if n <= 16:
        return _up_to_16(s, n)
    if n <= 64:
        return _up_to_64(s, n)
    x, y = 81, (81 * _K1 + 113) & _M
    z = (_shift_mix(y * _K2 + 113) * _K2) & _M
    v, w = (0, 0), (0, 0)
    x = (x * _K2 + _u64(s, 0)) & _M
    end = (n - 1) // 64 * 64
    for at in range(0, end, 64):
        x = (_rotate(x + y + v[0] + _u64(s, at + 8), 37) * _K1) & _M
        y = (_rotate(y + v[1] + _u64(s, at + 48), 42) * _K1) & _M
        x ^= w[1]
        y = (y + v[0] + _u64(s, at + 40)) & _M
        z = (_rotate(z + w[0], 33) * _K1) & _M
        v = _weak(s, at, (v[1] * _K1) & _M, (x + w[0]) & _M)
        w = _weak(s, at + 32, (z + w[1]) & _M, (y + _u64(s, at + 16)) & _M)
        z, x = x, z
    mul = (_K1 + ((z & 0xFF) << 1)) & _M
    at = end + ((n - 1) & 63) - 63
    w = ((w[0] + ((n - 1) & 63)) & _M, w[1])
    v = ((v[0] + w[0]) & _M, v[1])
    w = ((w[0] + v[0]) & _M, w[1])
    x = (_rotate(x + y + v[0] + _u64(s, at + 8), 37) * mul) & _M
    y = (_rotate(y + v[1] + _u64(s, at + 48), 42) * mul) & _M
    x ^= (w[1] * 9) & _M
    y = (y + v[0] * 9 + _u64(s, at + 40)) & _M
    z = (_rotate(z + w[0], 33) * mul) & _M
    v = _weak(s, at, (v[1] * mul) & _M, (x + w[0]) & _M)
    w = _weak(s, at + 32, (z + w[1]) & _M, (y + _u64(s, at + 16)) & _M)
    z, x = x, z
    return _mix(
        (_mix(v[0], w[0], mul) + _shift_mix(y) * _K0 + z) & _M,
        (_mix(v[1], w[1], mul) + x) & _M,
        mul,
    )


def hash64(s: bytes, seed: int = 0xDECAFCAFFE) -> int:
    """TensorFlow's own 64 bit hash (a MurmurHash2)."""
    m = 0xC6A4A7935BD1E995
    h = (seed ^ (len(s) * m)) & _M
    whole = len(s) // 8 * 8
    for at in range(0, whole, 8):
        k = (_u64(s, at) * m) & _M
        k = ((k ^ (k >> 47)) * m) & _M
        h = ((h ^ k) * m) & _M
    if len(s) > whole:
        h = ((h ^ int.from_bytes(s[whole:], "little")) * m) & _M
    h = ((h ^ (h >> 47)) * m) & _M
    return h ^ (h >> 47)


def _sip_round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _M
    v[2] = (v[2] + v[3]) & _M
    v[1] = _rotate(v[1], 64 - 13) ^ v[0]
    v[3] = _rotate(v[3], 64 - 16) ^ v[2]
    v[0] = _rotate(v[0], 32)
    v[2] = (v[2] + v[1]) & _M
    v[0] = (v[0] + v[3]) & _M
    v[1] = _rotate(v[1], 64 - 17) ^ v[2]
    v[3] = _rotate(v[3], 64 - 21) ^ v[0]
    v[2] = _rotate(v[2], 32)


def sip_hash(s: bytes, key: tuple[int, int]) -> int:
    """SipHash-2-4 of `s` under a 128 bit key."""
    k0, k1 = key[0] & _M, key[1] & _M
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    whole = len(s) // 8 * 8
    last = int.from_bytes(s[whole:], "little") | ((len(s) & 0xFF) << 56)
    for block in [*(_u64(s, at) for at in range(0, whole, 8)), last]:
        v[3] ^= block
        _sip_round(v)
        _sip_round(v)
        v[0] ^= block
    v[2] ^= 0xFF
    for _ in range(4):
        _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


class _Buckets(OpDef, abstract=True):
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def hash(self) -> Callable[[bytes], int]:
        """The hash function of this op."""
        raise NotImplementedError

    def compute(self, xp: Any, input: Any) -> Any:
        array, count = np.asarray(input, object), self.attrs["num_buckets"]
        function = self.hash()
        values = [function(as_bytes(v)) % count for v in array.reshape(-1)]
        return np.array(values, np.int64).reshape(array.shape)


class StringToHashBucketFast(_Buckets):
    """A bucket number for each string, by FarmHash."""

    input = Input(string)
    output = Output(int64)
    num_buckets = Attr("int", minimum=1)

    def hash(self) -> Callable[[bytes], int]:
        return farm_fingerprint64


class StringToHashBucketStrong(_Buckets):
    """A bucket number for each string, by SipHash under a secret key."""

    input = Input(string)
    output = Output(int64)
    num_buckets = Attr("int", minimum=1)
    key = Attr("list(int)")

    def hash(self) -> Callable[[bytes], int]:
        key = self.attrs["key"]
        if len(key) != 2:
            raise invalid("Key must have 2 elements")
        return lambda s: sip_hash(s, (key[0], key[1]))


class StringToHashBucket(_Buckets):
    """A bucket number for each string (old hash)."""

    string_tensor = Input(string)
    output = Output(int64)
    num_buckets = Attr("int", minimum=1)

    def hash(self) -> Callable[[bytes], int]:
        return hash64


def string_to_hash_bucket_fast(input: Any, num_buckets: int, name: str | None = None) -> Tensor:
    """A bucket in [0, num_buckets), int64, for each string, by FarmHash (tf.string_to_hash_bucket_fast)."""
    return raw.StringToHashBucketFast(input, num_buckets=num_buckets, name=name)


def string_to_hash_bucket_strong(
    input: Any, num_buckets: int, key: Any, name: str | None = None
) -> Tensor:
    """A bucket for each string, by SipHash under the two ints `key` (tf.string_to_hash_bucket_strong)."""
    return raw.StringToHashBucketStrong(input, num_buckets=num_buckets, key=key, name=name)


def string_to_hash_bucket(
    string_tensor: Any = None, num_buckets: Any = None, name: str | None = None, input: Any = None
) -> Tensor:
    """A bucket for each string, by TensorFlow's own hash (tf.string_to_hash_bucket)."""
    source = input if string_tensor is None else string_tensor
    return raw.StringToHashBucket(source, num_buckets=num_buckets, name=name)
