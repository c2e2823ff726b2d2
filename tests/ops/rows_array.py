"""Rows of the ops that make, pass on and reshape tensors."""

from __future__ import annotations

import numpy as np

from tests.ops.table import Row

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
M = np.array([[1.0, -2.0, 3.0], [4.0, 5.5, -6.0]], np.float32)
ALL_KINDS = ("float16", "bfloat16", "float32", "float64", "int32", "int64", "complex64", "bool")
NUMBERS = ("float32", "float64", "int32")


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def rows(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.int32)


def shape_of(x: np.ndarray) -> np.ndarray:
    return np.array(x.shape, np.int32)


def reflected(x: np.ndarray, pads: np.ndarray) -> np.ndarray:
    return np.pad(x, [tuple(p) for p in pads], "reflect")


def mirror_gradient(dy: np.ndarray, pads: np.ndarray) -> np.ndarray:
    """What each element of the middle was copied to, added up."""
    inner = [d - a - b for d, (a, b) in zip(dy.shape, pads)]
    where = np.pad(np.arange(np.prod(inner)).reshape(inner), [tuple(p) for p in pads], "reflect")
    out = np.zeros(int(np.prod(inner)), dy.dtype)
    np.add.at(out, where.reshape(-1), dy.reshape(-1))
    return out.reshape(inner)


def space_to_batch(x: np.ndarray, block: np.ndarray, pads: np.ndarray) -> np.ndarray:
    """By definition: entry (i, j) of a block goes to batch (i * width + j)."""
    x = np.pad(x, [(0, 0), *[tuple(p) for p in pads], (0, 0)])
    parts = [x[:, i :: block[0], j :: block[1]] for i in range(block[0]) for j in range(block[1])]
    return np.concatenate(parts, 0)


def batch_to_space(x: np.ndarray, block: np.ndarray, crops: np.ndarray) -> np.ndarray:
    b0, b1 = block
    n = x.shape[0] // (b0 * b1)
    out = np.zeros((n, x.shape[1] * b0, x.shape[2] * b1, x.shape[3]), x.dtype)
    for k in range(b0 * b1):
        out[:, k // b1 :: b0, k % b1 :: b1] = x[k * n : (k + 1) * n]
    (t, b), (left, r) = crops
    return out[:, t : out.shape[1] - b, left : out.shape[2] - r]


def space_to_depth(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x[:, i::2, j::2] for i in range(2) for j in range(2)], -1)


def depth_to_space(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    out = np.zeros((n, 2 * h, 2 * w, c // 4), x.dtype)
    for k in range(4):
        out[:, k // 2 :: 2, k % 2 :: 2] = x[..., k * (c // 4) : (k + 1) * (c // 4)]
    return out


def nchw(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 3, 1, 2)


def nhwc(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 3, 1)


IMAGE = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
BATCH = np.arange(48, dtype=np.float32).reshape(4, 2, 3, 2)
PASSES = "tests/ops/test_array_ops.py"

ROWS = [
    Row("Const", attrs={"value": M, "dtype": "float32"}, want=M),
    Row("Placeholder", covered_by=PASSES),
    Row("PlaceholderV2", covered_by=PASSES),
    Row("PlaceholderWithDefault", [M], {"shape": [None, 3]}, want=lambda x: x, loose_shape=True),
    Row("Identity", [M], want=lambda x: x, dtypes=ALL_KINDS),
    Row("Identity", [np.array([b"a", b"b"], object)], id="string", want=lambda x: x),
    Row("IdentityN", [[M, ints(1, 2)]], want=tuple),
    Row("Snapshot", [M], want=lambda x: x),
    Row("DeepCopy", [M], want=lambda x: x),
    Row("StopGradient", [M], want=lambda x: x),
    Row("PreventGradient", [M], {"message": "no"}, want=lambda x: x, grad=False),
    Row("GuaranteeConst", [M], want=lambda x: x),
    Row("EnsureShape", [M], {"shape": [None, 3]}, want=lambda x: x),
    Row("CheckNumerics", [M], {"message": "bad"}, want=lambda x: x, dtypes=("float32", "float64")),
    # -- shapes ------------------------------------------------------------------------------
    Row("Shape", [A], want=shape_of),
    Row(
        "Shape", [A], {"out_type": "int64"}, id="int64", want=lambda x: np.array(x.shape, np.int64)
    ),
    Row("ShapeN", [[A, np.zeros([5, 6, 7], np.float32)]], want=lambda xs: tuple(map(shape_of, xs))),
    Row("Size", [A], want=np.int32(24)),
    Row("Rank", [A], want=np.int32(3)),
    Row("BroadcastArgs", [ints(2, 1, 3), ints(4, 1)], want=ints(2, 4, 3)),
    Row("Reshape", [A, ints(4, -1)], want=lambda x, s: x.reshape(4, 6), dtypes=ALL_KINDS),
    Row("Reshape", [A, np.array([24], np.int64)], id="int64", want=lambda x, s: x.reshape(24)),
    Row("ExpandDims", [M, np.int32(-1)], want=lambda x, d: x[..., None], dtypes=NUMBERS),
    Row("ExpandDims", [M, np.int64(1)], id="int64", want=lambda x, d: x[:, None]),
    Row("Squeeze", [M.reshape(2, 1, 3, 1)], want=lambda x: x.reshape(2, 3)),
    Row("Squeeze", [M.reshape(2, 1, 3, 1)], {"squeeze_dims": [-1]}, want=lambda x: x[..., 0]),
    Row("Transpose", [A, ints(2, 0, 1)], want=np.transpose, dtypes=ALL_KINDS),
    Row(
        "ConjugateTranspose",
        [np.array([[1 + 2j, 3j]], np.complex64), ints(1, 0)],
        want=lambda x, p: x.T.conj(),
    ),
    Row("InvertPermutation", [ints(2, 0, 1)], want=np.argsort),
    # -- joining and splitting -----------------------------------------------------------------
    Row("Concat", [np.int32(1), [M, M * 2]], want=lambda d, xs: np.concatenate(xs, 1)),
    Row(
        "ConcatV2",
        [[M, M * 2], np.int32(-2)],
        want=lambda xs, d: np.concatenate(xs, 0),
        dtypes=ALL_KINDS,
    ),
    Row(
        "ConcatOffset",
        [np.int32(1), [ints(2, 3, 4), ints(2, 5, 4)]],
        want=(ints(0, 0, 0), ints(0, 3, 0)),
    ),
    Row("ParallelConcat", [[M[:1], M[1:]]], {"shape": [2, 3]}, want=np.concatenate),
    Row("Split", [np.int32(2), A], {"num_split": 2}, want=lambda d, x: tuple(np.split(x, 2, 2))),
    Row(
        "SplitV",
        [A, ints(1, -1, 2), np.int32(-1)],
        {"num_split": 3},
        want=lambda x, s, d: tuple(np.split(x, [1, 2], -1)),
    ),
    Row("Pack", [[M, M * 2]], {"axis": -1}, want=lambda xs: np.stack(xs, -1), dtypes=ALL_KINDS),
    Row("Unpack", [M], {"num": 3, "axis": 1}, want=lambda x: tuple(x[:, i] for i in range(3))),
    Row("Tile", [M, ints(2, 3)], want=np.tile, dtypes=NUMBERS),
    Row(
        "Pad",
        [M, rows((1, 0), (2, 1))],
        want=lambda x, p: np.pad(x, [(1, 0), (2, 1)]),
        dtypes=NUMBERS,
    ),
    Row(
        "PadV2",
        [M, rows((1, 0), (2, 1)), np.float32(7)],
        want=lambda x, p, c: np.pad(x, [(1, 0), (2, 1)], constant_values=7),
        grad=[0],
    ),
    Row("MirrorPad", [M, rows((1, 0), (2, 1))], {"mode": "REFLECT"}, want=reflected),
    Row(
        "MirrorPad",
        [M, rows((2, 0), (1, 3))],
        {"mode": "SYMMETRIC"},
        id="symmetric",
        want=lambda x, p: np.pad(x, [(2, 0), (1, 3)], "symmetric"),
    ),
    Row("MirrorPadGrad", [A[0], rows((1, 0), (0, 1))], {"mode": "REFLECT"}, want=mirror_gradient),
    # -- making ----------------------------------------------------------------------------------
    Row("Fill", [ints(2, 3), np.float32(1.5)], want=np.full, dtypes=NUMBERS),
    Row(
        "Fill", [ints(2), np.array(b"ab", object)], id="string", want=np.array([b"ab"] * 2, object)
    ),
    Row("ZerosLike", [M], want=np.zeros_like, dtypes=ALL_KINDS),
    Row("OnesLike", [M], want=np.ones_like, dtypes=ALL_KINDS),
    Row("BroadcastTo", [M, ints(4, 2, 3)], want=np.broadcast_to, dtypes=NUMBERS),
    Row(
        "Empty", [ints(2, 3)], {"dtype": "float32", "init": True}, want=np.zeros([2, 3], np.float32)
    ),
    Row("Range", [np.int32(10), np.int32(0), np.int32(-3)], want=ints(10, 7, 4, 1)),
    Row("Range", [0.5, 2.0, 0.5], id="float", want=np.array([0.5, 1.0, 1.5], np.float32)),
    Row(
        "OneHot",
        [ints(0, 2, -1, 3), np.int32(3), 5.0, -1.0],
        want=np.where(np.eye(3)[[0, 2, 0, 0]] * [[1], [1], [0], [0]] > 0, 5.0, -1.0),
    ),
    Row(
        "OneHot",
        [np.array([[1, 0]], np.int64), np.int32(2), np.int32(1), np.int32(0)],
        {"axis": 0},
        id="axis",
        want=np.array([[[0, 1]], [[1, 0]]], np.int32),
    ),
    # -- space -------------------------------------------------------------------------------------
    Row("SpaceToDepth", [IMAGE], {"block_size": 2}, want=space_to_depth),
    Row(
        "SpaceToDepth",
        [nchw(IMAGE)],
        {"block_size": 2, "data_format": "NCHW"},
        id="nchw",
        want=lambda x: nchw(space_to_depth(nhwc(x))),
    ),
    Row("DepthToSpace", [IMAGE], {"block_size": 2}, want=depth_to_space),
    Row(
        "DepthToSpace",
        [nchw(IMAGE)],
        {"block_size": 2, "data_format": "NCHW"},
        id="nchw",
        want=lambda x: nchw(depth_to_space(nhwc(x))),
    ),
    Row("SpaceToBatchND", [IMAGE, ints(2, 3), rows((1, 1), (0, 2))], want=space_to_batch),
    Row("BatchToSpaceND", [BATCH, ints(2, 2), rows((1, 0), (0, 1))], want=batch_to_space),
    Row(
        "SpaceToBatch",
        [IMAGE, rows((1, 1), (0, 0))],
        {"block_size": 2},
        want=lambda x, p: space_to_batch(x, ints(2, 2), p),
    ),
    Row(
        "BatchToSpace",
        [BATCH, rows((0, 1), (1, 0))],
        {"block_size": 2},
        want=lambda x, c: batch_to_space(x, ints(2, 2), c),
    ),
]
