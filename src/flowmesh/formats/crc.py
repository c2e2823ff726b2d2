"""The masked CRC-32C that guards every record and tensor TensorFlow writes."""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np

_MASK_DELTA = 0xA282EAD8
_WORD = 0xFFFFFFFF


def extend(checksum: int, data: Any) -> int:
    """The CRC of what `checksum` covers followed by `data`, any contiguous buffer."""
    if not isinstance(data, bytes):
        # The C code refuses buffers that need releasing, such as memoryviews; an array is none.
        data = np.frombuffer(data, np.uint8) if memoryview(data).nbytes else b""
    return int(google_crc32c.extend(checksum, data))


def crc32c(data: Any) -> int:
    """The plain CRC-32C of a contiguous buffer."""
    return extend(0, data)


def mask(checksum: int) -> int:
    """Masks a CRC, so that the CRC of data which holds CRCs stays sound."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & _WORD


def unmask(masked: int) -> int:
    rotated = (masked - _MASK_DELTA) & _WORD
    return (rotated >> 17 | rotated << 15) & _WORD


def masked_crc32c(data: Any) -> int:
    """The masked CRC-32C of a contiguous buffer."""
    return mask(crc32c(data))
