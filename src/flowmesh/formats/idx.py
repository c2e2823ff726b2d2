"""IDX files, the format of the MNIST data (http://yann.lecun.com/exdb/mnist): bytes to arrays."""

from __future__ import annotations

import gzip
import struct
import zlib

import numpy as np

from flowmesh.core import errors

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


def parse_idx(data: bytes, name: str = "") -> np.ndarray:
    """The array in an IDX file's bytes (gzipped or not); DataLossError, naming the file, when they are none."""
    try:
        if data[:2] == _GZIP:
            data = gzip.decompress(data)
        zero, code, rank = struct.unpack(">HBB", data[:4])
        if zero or code not in _DTYPES:
            raise ValueError("it does not begin with an IDX magic number")
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
        dtype = np.dtype(_DTYPES[code])
        count = int(np.prod(shape, dtype=np.int64)) if shape else 1
        body = data[4 + 4 * rank :]
        if len(body) != count * dtype.itemsize:
            raise ValueError(
                f"shape {shape} needs {count * dtype.itemsize} bytes, there are {len(body)}"
            )
        return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except (ValueError, struct.error, EOFError, OSError, zlib.error) as error:
        raise errors.DataLossError(
            None, None, f"{name or 'the data'} is no IDX file: {error}"
        ) from error


def write_idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file that holds `array` (uint8, int8, int16, int32, float32 or float64)."""
    for code, text in _DTYPES.items():
        dtype = np.dtype(text)
        if dtype.newbyteorder("=") == array.dtype:
            head = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(
                f">{array.ndim}I", *array.shape
            )
            return head + array.astype(dtype).tobytes()
    raise errors.InvalidArgumentError(None, None, f"an IDX file cannot hold {array.dtype}")
