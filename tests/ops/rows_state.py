"""Rows of variables, assignments and scatter ops."""

import numpy as np

from tests.ops.table import Row

REF = np.array([[1.0, -2.0], [3.0, 4.0], [5.0, -6.0]], np.float32)
INDICES = np.array([2, 0, 2], np.int32)
UPDATES = np.array([[1.0, 2.0], [3.0, -4.0], [0.5, 2.0]], np.float32)
ND_INDICES = np.array([[2, 1], [0, 0], [2, 1]], np.int32)
ND_UPDATES = np.array([1.5, 2.5, 3.5], np.float32)
NUMERIC = ["float32", "float64", "int32", "int64"]
GRAPH_TESTS = "tests/ops/test_state_ops.py"


def loop(combine):
    """What a scatter does, one update after another."""

    def want(ref, indices, updates):
        result = np.array(ref)
        rows = np.broadcast_to(updates, np.shape(indices) + result.shape[1:])
        for place in np.ndindex(np.shape(indices)):
            result[indices[place]] = combine(result[indices[place]], rows[place])
        return result

    return want


def loop_nd(combine):
    def want(ref, indices, updates):
        result = np.array(ref)
        for place in np.ndindex(np.shape(indices)[:-1]):
            at = tuple(indices[place])
            result[at] = combine(result[at], updates[place])
        return result

    return want


def quotient(x, y):
    return np.trunc(x / y) if np.issubdtype(np.asarray(x).dtype, np.integer) else x / y


COMBINE = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": quotient,
    "Min": np.minimum,
    "Max": np.maximum,
    "Update": lambda old, new: new,
}


def scatter_rows():
    for suffix, combine in COMBINE.items():
        for form, vary in (("Scatter", "T"), ("ResourceScatter", "dtype")):
            op, want = form + suffix, loop(combine)
            integers = UPDATES if suffix != "Div" else np.where(UPDATES == 0.5, 3, UPDATES)
            yield Row(op, [REF, INDICES, integers], want=want, dtypes=NUMERIC, vary=vary)
            matrix = np.array([[2, 0], [1, 1]], np.int64)
            yield Row(op, [REF, matrix, np.ones((2, 2, 2), np.float32)], want=want, id="matrix")
            yield Row(op, [REF, INDICES, np.float32(2.0)], want=want, id="scalar")
            none = np.zeros(0, np.int32)
            yield Row(op, [REF, none, np.zeros((0, 2), np.float32)], want=want, id="none")


def scatter_nd_rows():
    for suffix in ("Add", "Sub", "Update"):
        for form in ("ScatterNd", "ResourceScatterNd"):
            op, want = form + suffix, loop_nd(COMBINE[suffix])
            yield Row(op, [REF, ND_INDICES, ND_UPDATES], want=want, dtypes=["float32", "int32"])
            yield Row(op, [REF, INDICES[:, None], UPDATES], want=want, id="slices")


def gather(params, indices):
    return np.take(params, indices, axis=0)


ROWS = [
    Row("VariableV2", covered_by=GRAPH_TESTS),
    Row("Variable", covered_by=GRAPH_TESTS),
    Row("TemporaryVariable", covered_by=GRAPH_TESTS),
    Row("DestroyTemporaryVariable", covered_by=GRAPH_TESTS),
    Row("VarHandleOp", covered_by=GRAPH_TESTS),
    Row("IsVariableInitialized", covered_by=GRAPH_TESTS),
    Row("VarIsInitializedOp", covered_by=GRAPH_TESTS),
    Row("DestroyResourceOp", covered_by=GRAPH_TESTS),
    Row("Assign", [REF, REF + 1], want=lambda ref, value: value, dtypes=[*NUMERIC, "bool"]),
    Row("AssignAdd", [REF, REF * 2], want=np.add, dtypes=[*NUMERIC, "float16", "complex64"]),
    Row("AssignSub", [REF, REF * 2], want=np.subtract, dtypes=[*NUMERIC, "float16", "complex64"]),
    Row("AssignVariableOp", [REF, REF + 1], {"dtype": "float32"}, want=lambda ref, value: value),
    Row("AssignAddVariableOp", [REF, REF * 2], {"dtype": "float32"}, want=np.add),
    Row("AssignSubVariableOp", [REF, REF * 2], {"dtype": "float32"}, want=np.subtract),
    Row("ReadVariableOp", [REF], {"dtype": "float32"}, want=lambda value: value, grad=False),
    Row("VariableShape", [REF], want=lambda value: np.array([3, 2], np.int32)),
    Row(
        "VariableShape",
        [REF],
        {"out_type": "int64"},
        want=lambda value: np.array([3, 2], np.int64),
        id="int64",
    ),
    Row("ResourceGather", [REF, INDICES], {"dtype": "float32"}, want=gather, grad=False),
    Row(
        "ResourceGather",
        [REF, np.array([[0, 1], [2, 2]])],
        {"dtype": "float32"},
        want=gather,
        grad=False,
        id="matrix",
    ),
    Row(
        "ResourceGather",
        [REF, np.array([[1, 0], [0, 0], [1, 1]], np.int32)],
        {"dtype": "float32", "batch_dims": 1},
        want=lambda params, indices: np.take_along_axis(params, indices, 1),
        grad=False,
        id="batch",
    ),
    Row(
        "ResourceGatherNd",
        [REF, ND_INDICES],
        {"dtype": "float32"},
        want=lambda params, indices: params[tuple(indices.T)],
        grad=False,
    ),
    Row(
        "ResourceGatherNd",
        [REF, INDICES[:, None]],
        {"dtype": "float32"},
        want=lambda params, indices: params[indices[:, 0]],
        grad=False,
        id="slices",
    ),
    Row("CountUpTo", [np.int32(3)], {"limit": 5}, want=(np.int32(4), np.int32(3))),
    Row("CountUpTo", [np.int64(3)], {"limit": 5}, want=(np.int64(4), np.int64(3)), id="int64"),
    Row(
        "ResourceCountUpTo",
        [np.int32(3)],
        {"limit": 5, "T": "int32"},
        want=(np.int32(4), np.int32(3)),
    ),
    *scatter_rows(),
    *scatter_nd_rows(),
]
