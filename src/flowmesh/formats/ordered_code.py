"""Encodings whose byte order is the order of the values: the keys of tensor slices."""

from __future__ import annotations

import re

_SIGNED_BYTES = 10
_SPECIAL = re.compile(rb"[\x00\xff]")
_ESCAPES = {b"\x00": b"\x00\xff", b"\xff": b"\xff\x00"}


def encode_unsigned(value: int) -> bytes:
    """Length and big-endian bytes of a number from 0 to 2**64 - 1."""
    body = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(body)]) + body


def encode_string(value: bytes) -> bytes:
    """The string with 0 and 255 escaped, and a terminator."""
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], value) + b"\x00\x01"


def encode_signed(value: int) -> bytes:
    """A number from -2**63 to 2**63 - 1: a unary length over the sign-extended bytes."""
    magnitude = ~value if value < 0 else value
    length = magnitude.bit_length() // 7 + 1
    body = bytearray(value.to_bytes(_SIGNED_BYTES, "big", signed=True)[-length:])
    # As many leading ones as there are bytes, continued into the second byte.
    header = ((1 << length) - 1) << (16 - length)
    body[0] ^= header >> 8
    if length > 8:
        body[1] ^= header & 0xFF
    return bytes(body)
