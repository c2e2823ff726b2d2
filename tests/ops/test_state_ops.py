"""Variables in the graph: node names, static shapes, errors and gradients as TensorFlow 1.15 has them.

The ops VariableV2, Variable, VarHandleOp, TemporaryVariable, DestroyTemporaryVariable, IsVariableInitialized,
VarIsInitializedOp and DestroyResourceOp are tested here and not by rows of the op table.
"""

import numpy as np
import pytest

import flowmesh.ops  # noqa: F401  (registers every op)
from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import registry
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import scatter, state
from flowmesh.ops.row_updates import update_rows
from flowmesh.resources.queues import FIFOQueue, Queue
from flowmesh.resources.variable import Variable
from tests.ops.interpreter import evaluate, host_context, jax_numpy


@pytest.fixture(autouse=True)
def graph():
    graph = Graph()
    with graph.as_default():
        yield graph


def ref(shape=(2,), dtype="float32", name="w"):
    return raw.VariableV2(shape=shape, dtype=dtype, name=name)


def handle(shape=(2,), dtype="float32"):
    return raw.VarHandleOp(shape=shape, dtype=dtype, name="v", shared_name="v")


def resource(value=None, name="w", is_resource=True):
    variable = Variable(name, dtypes.float32, TensorShape([2]), is_resource=is_resource)
    if value is not None:
        variable.value = np.asarray(value, np.float32)
    return variable


def fails(build, text, cls=ValueError):
    with Graph().as_default(), pytest.raises(cls) as failure:
        build()
    assert str(failure.value) == text


# -- shapes and dtypes -------------------------------------------------------------------------------


def test_variables_have_the_shape_and_dtype_of_their_attrs():
    assert ref().dtype == dtypes.float32_ref and ref().shape.as_list() == [2]
    assert ref(shape=None).shape.ndims is None
    assert ref(shape=[None, 3]).shape.as_list() == [None, 3]
    legacy = raw.Variable(shape=[], dtype="float32")
    assert legacy.shape.ndims is None
    assert raw.Variable(shape=[2], dtype="float32").shape.as_list() == [2]
    assert handle().dtype == dtypes.resource and handle().shape.as_list() == []
    temporary = raw.TemporaryVariable(shape=[2], dtype="int32")
    assert temporary.dtype == dtypes.int32_ref and temporary.shape.as_list() == [2]


def test_assignments_merge_shapes():
    assert raw.Assign(ref(shape=[None]), [1.0]).shape.as_list() == [1]
    assert raw.Assign(ref(), [1.0], validate_shape=False).shape.as_list() == [1]
    fails(
        lambda: raw.Assign(ref(), [1.0], name="A"),
        "Dimension 0 in both shapes must be equal, but are 2 and 1. Shapes are [2] and [1]. "
        "for 'A' (op: 'Assign') with input shapes: [2], [1].",
    )
    fails(
        lambda: raw.AssignAddVariableOp(handle(), [1.0], name="A"),
        "Dimension 0 in both shapes must be equal, but are 2 and 1. Shapes are [2] and [1]. "
        "for 'A' (op: 'AssignAddVariableOp') with input shapes: [], [1].",
    )


def test_an_assignment_needs_a_ref():
    fails(
        lambda: raw.AssignAdd(raw.Identity([1.0]), [1.0]),
        "'AssignAdd' Op requires that input 'ref' be a mutable tensor (e.g.: a tf.Variable)",
        TypeError,
    )


def test_a_handle_knows_the_dtype_and_shape_of_its_variable():
    assert raw.ReadVariableOp(handle(), dtype="float32").shape.as_list() == [2]
    assert raw.VariableShape(handle([2, 3])).shape.as_list() == [2]
    assert raw.ResourceGather(handle([2, 3]), [[1]], dtype="float32").shape.as_list() == [1, 1, 3]
    assert raw.ResourceGatherNd(handle([2, 3]), [[1]], dtype="float32").shape.as_list() == [1, 3]
    wrong = "Trying to read variable with wrong dtype. Expected float got int32"
    fails(
        lambda: raw.ReadVariableOp(handle(), dtype="int32", name="R"),
        f"{wrong} for 'R' (op: 'ReadVariableOp') with input shapes: [].",
    )
    fails(
        lambda: raw.AssignVariableOp(handle(), [1, 2], name="A"),
        f"{wrong} for 'A' (op: 'AssignVariableOp') with input shapes: [], [2].",
    )
    fails(
        lambda: raw.ResourceGather(handle([]), [1], dtype="float32", name="G"),
        "Shape must be at least rank 1 but is rank 0 "
        "for 'G' (op: 'ResourceGather') with input shapes: [], [1].",
    )


def test_updates_check_shapes_when_they_are_built():
    fails(
        lambda: raw.ApplyGradientDescent(ref(), 1.0, [1.0, 2.0, 3.0], name="A"),
        "Dimension 0 in both shapes must be equal, but are 2 and 3. Shapes are [2] and [3]. "
        "for 'A' (op: 'ApplyGradientDescent') with input shapes: [2], [], [3].",
    )
    fails(
        lambda: raw.ApplyGradientDescent(ref(), [1.0], [1.0, 2.0], name="A"),
        "Shape must be rank 0 but is rank 1 "
        "for 'A' (op: 'ApplyGradientDescent') with input shapes: [2], [1], [2].",
    )
    fails(
        lambda: raw.ResourceApplyGradientDescent(handle(), 1.0, [1.0], name="A"),
        "Dimension 0 in both shapes must be equal, but are 2 and 1. Shapes are [2] and [1]. "
        "for 'A' (op: 'ResourceApplyGradientDescent') with input shapes: [], [], [1].",
    )
    fails(
        lambda: raw.SparseApplyAdagrad(
            ref([1, 2]), ref([1, 2]), 1.0, [[1.0, 2.0]] * 2, [0], name="A"
        ),
        "Dimensions must be equal, but are 1 and 2 "
        "for 'A' (op: 'SparseApplyAdagrad') with input shapes: [1,2], [1,2], [], [2,2], [1].",
    )
    fails(
        lambda: raw.ScatterAdd(ref(), [0, 1], [1.0, 2.0, 3.0], name="A"),
        "Dimension 0 in both shapes must be equal, but are 3 and 2. Shapes are [3] and [2]. "
        "for 'A' (op: 'ScatterAdd') with input shapes: [2], [2], [3].",
    )
    fails(
        lambda: raw.ScatterNdUpdate(ref(), [[0], [1]], [1.0, 2.0, 3.0], name="A"),
        "The outer 1 dimensions of indices.shape=[2,1] must match the outer 1 dimensions of "
        "updates.shape=[3]: Dimension 0 in both shapes must be equal, but are 2 and 3. "
        "Shapes are [2] and [3]. "
        "for 'A' (op: 'ScatterNdUpdate') with input shapes: [2], [2,1], [3].",
    )
    fails(
        lambda: raw.CountUpTo(ref([1], "int32"), limit=3, name="A"),
        "Shape must be rank 0 but is rank 1 for 'A' (op: 'CountUpTo') with input shapes: [1].",
    )


# -- kernels: what they refuse ---------------------------------------------------------------------------


def kernel(op_type, *inputs, **attrs):
    """The NumPy kernel on arrays whose shapes only the run knows."""
    cls = registry.lookup(op_type)
    known = {k: d.default for k, d in cls.attr_defs.items() if not d.required}
    definition = cls({**known, "T": dtypes.float32, "dtype": dtypes.float32, **attrs})
    return definition.compute(np, *(np.asarray(i) for i in inputs))


W = np.array([1, 2], np.float32)
ONE = np.float32(1)


@pytest.mark.parametrize(
    ("op_type", "inputs", "text"),
    [
        ("AssignAdd", [W, W[:1]], "Parameters and update must be the same size"),
        (
            "AssignAddVariableOp",
            [W, W[:1]],
            "Cannot update variable with shape [2] using a Tensor with shape [1], "
            "shapes must be equal.",
        ),
        (
            "ApplyGradientDescent",
            [W, ONE, np.ones(3, np.float32)],
            "var and delta do not have the same shape[2] [3]",
        ),
        ("ApplyGradientDescent", [W, W, W], "alpha is not a scalar: [2]"),
        (
            "ApplyAdagrad",
            [W, W[:1], ONE, W],
            "var and accum do not have the same shape[2] [1]",
        ),
        ("ScatterAdd", [W, [0, 5], W], "indices[1] = 5 is not in [0, 2)"),
        ("ScatterAdd", [W, [[0, -1]], W[None]], "indices[0,1] = -1 is not in [0, 2)"),
        (
            "ResourceScatterAdd",
            [W, [0, 1], np.ones(3, np.float32)],
            "Must have updates.shape = indices.shape + params.shape[1:] or updates.shape = [], got "
            "updates.shape [3], indices.shape [2], params.shape [2]",
        ),
        ("ScatterNdUpdate", [W, [[0], [5]], W], "indices[1] = [5] does not index into shape [2]"),
        (
            "ScatterNdUpdate",
            [W, [[0], [1]], np.ones(3, np.float32)],
            "The outermost dimension of updates and indices must match. Got indices.shape [2,1], "
            "updates.shape [3]",
        ),
        ("ResourceGather", [W, [0, 5]], "indices[1] = 5 is not in [0, 2)"),
        (
            "SparseApplyAdagrad",
            [W, W, ONE, W[:1], [7]],
            "Index 7 at offset 0 in indices is out of range",
        ),
        (
            "SparseApplyMomentum",
            [W, W, ONE, W, [0], ONE],
            "grad must be the same size as indices in the first dimension.",
        ),
    ],
)
def test_kernels_refuse_what_does_not_fit(op_type, inputs, text):
    attrs = {"batch_dims": 0} if op_type == "ResourceGather" else {}
    with pytest.raises(errors.InvalidArgumentError) as failure:
        kernel(op_type, *inputs, **attrs)
    assert failure.value.message == text


def test_reading_with_another_dtype_fails_in_the_run_too():
    with pytest.raises(errors.InvalidArgumentError, match="Expected float got int32"):
        kernel("ReadVariableOp", W, dtype=dtypes.int32)


def test_count_up_to_ends_at_its_limit():
    assert kernel("CountUpTo", np.int32(9), limit=10) == (10, 9)
    for op_type in ("CountUpTo", "ResourceCountUpTo"):
        with pytest.raises(errors.OutOfRangeError) as failure:
            kernel(op_type, np.int32(10), limit=10)
        assert failure.value.message == "Reached limit of 10"


def test_the_kernels_leave_their_inputs_alone():
    before = W.copy()
    kernel("ScatterAdd", W, [0, 1], W)
    kernel("ScatterNdUpdate", W, [[0]], W[:1])
    kernel("SparseApplyAdagrad", W, W, ONE, W, [0, 1])
    np.testing.assert_array_equal(W, before)


def test_compiled_updates_ignore_indices_out_of_range():
    xp = jax_numpy()
    index = xp.asarray([0, 5, -1])
    ones = xp.ones(3, xp.float32)
    add = registry.lookup("ScatterAdd")({"T": dtypes.float32})
    np.testing.assert_array_equal(add.compute(xp, xp.asarray(W), index, ones), [2, 2])
    (new,) = update_rows(xp, [xp.asarray(W)], index, [ones], lambda rows, by: [rows[0] + by[0]], 2)
    np.testing.assert_array_equal(new, [2, 2])


# -- host ops --------------------------------------------------------------------------------------------


def run(tensor_or_op, *inputs, **context):
    op = getattr(tensor_or_op, "op", tensor_or_op)
    return op.definition.run(host_context(**context), *inputs)


def test_initialization_is_visible():
    check = raw.IsVariableInitialized(ref())
    assert check.dtype == dtypes.bool and check.shape.as_list() == []
    assert not run(check, resource(is_resource=False))
    assert run(check, resource([1, 2], is_resource=False))
    check = raw.VarIsInitializedOp(handle())
    assert not run(check, resource())
    assert run(check, resource([1, 2]))


def test_destroy_removes_the_variable():
    context = host_context()
    manager = context.resources
    variable = manager.lookup_or_create("", "w", Variable, lambda: resource([1, 2]))
    destroy = raw.DestroyResourceOp(handle(), ignore_lookup_error=False)
    destroy.definition.run(context, variable)
    assert not variable.is_initialized and manager.names() == []
    with pytest.raises(errors.NotFoundError) as failure:
        destroy.definition.run(context, variable)
    assert "localhost/w/N10tensorflow3VarE does not exist." in failure.value.message
    raw.DestroyResourceOp(handle()).definition.run(context, variable)


def test_destroy_closes_a_queue():
    context = host_context()
    queue = context.resources.lookup_or_create(
        "", "q", Queue, lambda: FIFOQueue("q", [dtypes.int32])
    )
    raw.DestroyResourceOp(handle()).definition.run(context, queue)
    assert queue.is_closed() and context.resources.names() == []


def test_temporary_variables_end_with_their_value():
    temporary = raw.TemporaryVariable(shape=[2], dtype="float32", var_name="t")
    variable = run(temporary)
    assert variable.read().tolist() == [0, 0]
    variable.value = W
    final = run(raw.DestroyTemporaryVariable(temporary, var_name="t"), variable)
    assert final.tolist() == [1, 2] and not variable.is_initialized


# -- wrappers --------------------------------------------------------------------------------------------


class Handle:
    """Stands for a resource variable object of the layers above."""

    def __init__(self):
        self.handle = handle([3, 2])
        self.dtype = dtypes.float32
        self.calls = []

    def assign(self, value, name=None):
        return ("assign", value, name)

    def assign_add(self, value):
        return ("assign_add", value)

    def assign_sub(self, value):
        return ("assign_sub", value)

    def is_initialized(self, name=None):
        return ("is_initialized", name)


def test_wrappers_on_refs_make_tensorflows_nodes(graph):
    w = state.variable_op_v2([2], dtypes.float32, name="w")
    assert state.assign(w, [1.0, 2.0]).dtype == dtypes.float32_ref
    state.assign_add(w, [1.0, 2.0])
    state.assign_sub(w, [1.0, 2.0], name="minus")
    state.is_variable_initialized(w)
    scatter.scatter_add(w, [0], 1.0)
    scatter.scatter_update(w, [0], [1.0])
    scatter.scatter_nd_update(w, [[0]], [1.0])
    state.count_up_to(raw.VariableV2(shape=[], dtype="int32", name="n"), 4)
    assert [op.name for op in graph.get_operations()] == [
        "w",
        "Assign/value",
        "Assign",
        "AssignAdd/value",
        "AssignAdd",
        "minus/value",
        "minus",
        "IsVariableInitialized",
        "ScatterAdd/indices",
        "ScatterAdd/updates",
        "ScatterAdd",
        "ScatterUpdate/indices",
        "ScatterUpdate/updates",
        "ScatterUpdate",
        "ScatterNdUpdate/indices",
        "ScatterNdUpdate/updates",
        "ScatterNdUpdate",
        "n",
        "CountUpTo",
    ]
    assert graph.get_operation_by_name("ScatterUpdate").get_attr("use_locking") is True
    assert graph.get_operation_by_name("Assign").get_attr("validate_shape") is True


def test_wrappers_on_resource_variables_ask_the_variable(graph):
    v = Handle()
    assert state.assign(v, 1.0, name="a") == ("assign", 1.0, "a")
    assert state.assign_add(v, 1.0) == ("assign_add", 1.0)
    assert state.assign_sub(v, 1.0) == ("assign_sub", 1.0)
    assert state.is_variable_initialized(v) == ("is_initialized", None)
    for wrapper in (
        scatter.scatter_add,
        scatter.scatter_sub,
        scatter.scatter_mul,
        scatter.scatter_div,
        scatter.scatter_min,
        scatter.scatter_max,
    ):
        read = wrapper(v, [0], 1.0)
        assert read.op.type == "ReadVariableOp"
        (update,) = read.op.control_inputs
        assert update.type.startswith("ResourceScatter")
    for wrapper in (scatter.scatter_nd_add, scatter.scatter_nd_sub):
        read = wrapper(v, [[0]], [[1.0, 2.0]])
        assert read.op.control_inputs[0].type.startswith("ResourceScatterNd")
    counter = Handle()
    counter.handle, counter.dtype = handle([], "int32"), dtypes.int32
    assert state.count_up_to(counter, 3).op.type == "ResourceCountUpTo"


# -- gradients -------------------------------------------------------------------------------------------


def test_the_gradient_of_a_read_passes_through():
    v = handle()
    (grad,) = gradients(raw.ReadVariableOp(v, dtype="float32"), [v])
    assert evaluate([grad], {})[0].tolist() == [1, 1]


@pytest.mark.parametrize("shape", [[4, 3], [None, 3]])
def test_the_gradient_of_a_gather_is_sparse(shape):
    v = raw.VarHandleOp(shape=shape, dtype="float32", name="v")
    gathered = raw.ResourceGather(v, [[1, 2], [1, 0]], dtype="float32")
    (grad,) = gradients(gathered, [v])
    assert isinstance(grad, IndexedSlices)
    value = np.zeros([4, 3], np.float32)
    feeds = {gathered: value[[[1, 2], [1, 0]]]}
    values, indices, dense_shape = evaluate(
        [grad.values, grad.indices, grad.dense_shape], feeds, variables={"v": value}
    )
    assert values.shape == (4, 3) and (values == 1).all()
    assert indices.tolist() == [1, 2, 1, 0]
    assert dense_shape.tolist() == [4, 3]


def test_the_gradient_of_gather_nd():
    v = handle([4, 3])
    gathered = raw.ResourceGatherNd(v, [[1], [3]], dtype="float32")
    (grad,) = gradients(gathered, [v])
    assert isinstance(grad, IndexedSlices)
    assert evaluate([grad.indices], {})[0].tolist() == [1, 3]


def test_updates_have_no_gradient():
    w = ref()
    updated = raw.AssignAdd(w, [1.0, 2.0])
    assert gradients(raw.Identity(updated), [w]) == [None]
