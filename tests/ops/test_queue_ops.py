"""Queue ops in the graph: names, shapes and errors of TensorFlow 1.15, and what goes in and comes out.

The sources are FIFOQueue, PaddingFIFOQueue, RandomShuffleQueue and PriorityQueue, on a resource handle
(FIFOQueueV2, PaddingFIFOQueueV2, RandomShuffleQueueV2, PriorityQueueV2) and on a ref; so are the operations:
QueueEnqueueV2, QueueEnqueueManyV2, QueueDequeueV2, QueueDequeueManyV2, QueueDequeueUpToV2, QueueCloseV2, QueueSizeV2
and QueueIsClosedV2.
"""

import numpy as np
import pytest

import flowmesh.ops  # noqa: F401  (registers every op)
from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import data_flow
from flowmesh.resources import queues
from flowmesh.resources.manager import ResourceManager
from flowmesh.resources.readers import Reader
from tests.ops.interpreter import host_context


@pytest.fixture(autouse=True)
def graph():
    graph = Graph()
    with graph.as_default():
        yield graph


def run(node, *inputs, **context):
    node = node[0] if isinstance(node, list) else node
    op = getattr(node, "op", node)
    return op.definition.run(host_context(op.name, **context), *inputs)


def f32(value):
    return np.array(value, np.float32)


def invalid(call, text, cls=errors.InvalidArgumentError):
    with pytest.raises(cls) as failure:
        call()
    assert getattr(failure.value, "message", str(failure.value)) == text


SOURCES = {
    "FIFOQueue": {"shapes": [[2]]},
    "PaddingFIFOQueue": {"shapes": [[2]]},
    "RandomShuffleQueue": {"shapes": [[2]]},
}


def source(kind, suffix="V2", **attrs):
    known = {"component_types": ["float32"], "shapes": [[2]], "name": "q", **attrs}
    return getattr(raw, kind + suffix)(**known)


# -- kernels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["V2", ""])
@pytest.mark.parametrize("kind", SOURCES)
def test_elements_go_through_every_kind_of_queue(kind, suffix):
    handle = source(kind, suffix)
    assert handle.dtype == (dtypes.resource if suffix else dtypes.string_ref)
    assert handle.shape.as_list() == ([] if suffix else [2])
    queue = run(handle)
    ops = {name: getattr(raw, f"Queue{name}{suffix}") for name in (
        "Enqueue", "EnqueueMany", "Dequeue", "DequeueMany", "DequeueUpTo", "Close", "Size", "IsClosed"
    )}  # fmt: skip
    types = {"component_types": ["float32"]}
    assert run(ops["Enqueue"](handle, [[1.0, 2.0]]), queue, [f32([1, 2])]) is None
    rows = f32([[3, 4], [5, 6], [7, 8]])
    assert run(ops["EnqueueMany"](handle, [rows]), queue, [rows]) is None
    assert run(ops["Size"](handle), queue) == 4
    ((one,),) = run(ops["Dequeue"](handle, **types), queue)
    ((two,),) = run(ops["DequeueMany"](handle, 2, **types), queue, np.int32(2))
    assert not run(ops["IsClosed"](handle), queue)
    assert run(ops["Close"](handle), queue) is None
    assert run(ops["IsClosed"](handle), queue)
    ((rest,),) = run(ops["DequeueUpTo"](handle, 9, **types), queue, np.int32(9))
    seen = [one.tolist(), *two.tolist(), *rest.tolist()]
    assert sorted(seen) == [[1, 2], [3, 4], [5, 6], [7, 8]]
    if kind != "RandomShuffleQueue":
        assert seen == sorted(seen)
    label = "FIFOQueue" if kind == "PaddingFIFOQueue" else kind
    with pytest.raises(errors.OutOfRangeError, match=f"{label} '_[0-9]+_q' is closed and has"):
        run(ops["Dequeue"](handle, **types), queue)


@pytest.mark.parametrize("suffix", ["V2", ""])
def test_the_priority_is_a_component_of_its_own(suffix):
    handle = source("PriorityQueue", suffix)
    queue = run(handle)
    enqueue = getattr(raw, f"QueueEnqueueMany{suffix}")
    keys, rows = np.array([2, 1]), f32([[2, 2], [1, 1]])
    run(enqueue(handle, [keys, rows]), queue, [keys, rows])
    dequeue = getattr(raw, f"QueueDequeue{suffix}")(handle, component_types=["int64", "float32"])
    ((key, row),) = dequeue[0].op.definition.run(host_context(), queue)
    assert key == 1 and row.tolist() == [1, 1]


def test_a_dequeue_that_waits_gives_a_future():
    handle = source("FIFOQueue")
    queue = run(handle)
    waiting = run(raw.QueueDequeueV2(handle, component_types=["float32"])[0], queue)
    assert not waiting.done()
    run(raw.QueueEnqueueV2(handle, [[1.0, 2.0]]), queue, [f32([1, 2])])
    ((value,),) = waiting.result(0)
    assert value.tolist() == [1, 2]
    late = run(raw.QueueDequeueV2(handle, component_types=["float32"])[0], queue)
    run(raw.QueueCloseV2(handle), queue)
    with pytest.raises(errors.OutOfRangeError):
        late.result(0)


def test_components_must_be_those_of_the_queue():
    handle = source("FIFOQueue")
    queue = run(handle)
    enqueue = raw.QueueEnqueueV2(handle, [[1, 2]])
    invalid(
        lambda: run(enqueue, queue, [np.array([1, 2], np.int32)]),
        "Signature mismatch, have: resource, int32-> expected: resource, float->",
    )
    many = raw.QueueDequeueManyV2(handle, 2, component_types=["float32", "float64"])[0]
    invalid(
        lambda: run(many, queue, np.int32(2)),
        "Signature mismatch, have: resource, int32->float, double expected: resource, int32->float",
    )
    old = source("FIFOQueue", "")
    invalid(
        lambda: run(raw.QueueDequeue(old, component_types=["int32"])[0], queue),
        "Signature mismatch, have: string_ref->int32 expected: string_ref->float",
    )
    late = raw.QueueDequeueV2(handle, component_types=["float32"], timeout_ms=5)[0]
    invalid(lambda: run(late, queue), "Timeout not supported yet.")
    reader = Reader("r", lambda name: iter(()))
    invalid(
        lambda: run(raw.QueueSizeV2(handle), reader),
        "Trying to access resource using the wrong type. Expected "
        "N10tensorflow14QueueInterfaceE got N10tensorflow15ReaderInterfaceE",
    )


def test_a_negative_batch_is_refused_when_the_graph_is_built():
    handle = source("FIFOQueue")
    with pytest.raises(ValueError, match="Input 'n' must be >= 0, but is -1 for 'D'"):
        raw.QueueDequeueManyV2(handle, -1, component_types=["float32"], name="D")


def test_private_queues_belong_to_their_node_and_session():
    handle, state = source("FIFOQueue"), {}
    queue = run(handle, state=state)
    assert run(handle, state=state) is queue
    assert run(handle, state={}) is not queue


def test_shared_queues_must_be_alike():
    resources = ResourceManager()

    def shared(kind="FIFOQueue", **attrs):
        return run(source(kind, shared_name="z", **attrs), resources=resources)

    first = shared(capacity=3)
    assert shared(capacity=3) is first and first.name == "z"
    invalid(
        lambda: shared(capacity=4), "Shared queue 'z' has capacity 3 but requested capacity was 4"
    )
    invalid(
        lambda: shared(capacity=3, component_types=["int32"]),
        "Shared queue 'z' has component types float but requested component types were int32",
    )
    invalid(
        lambda: shared(capacity=3, shapes=[[3]]),
        "Shared queue 'z' has component shapes [[2]] but requested component shapes were [[3]]",
    )
    invalid(lambda: shared("RandomShuffleQueue"), "Expected FIFOQueue, found RandomShuffleQueueV2")
    other = ResourceManager()

    def shuffled(**attrs):
        return run(source("RandomShuffleQueue", shared_name="z", **attrs), resources=other)

    shuffled(min_after_dequeue=1, seed=1, seed2=3)
    invalid(
        lambda: shuffled(min_after_dequeue=0, seed=1, seed2=3),
        "Shared queue 'z' has min_after_dequeue 1 but requested min_after_dequeue was 0.",
    )
    invalid(
        lambda: shuffled(min_after_dequeue=1, seed=1, seed2=4),
        "Shared queue 'z' has random seeds (1, 3) but requested seeds are (1, 4).",
    )


def test_impossible_queues_are_refused():
    wrong = source("RandomShuffleQueue", capacity=3, min_after_dequeue=4)
    invalid(lambda: run(wrong), "min_after_dequeue 4 must be < capacity 3")
    wrong = source("RandomShuffleQueue", min_after_dequeue=-1)
    invalid(lambda: run(wrong), "min_after_dequeue -1 must be >= 0")
    invalid(
        lambda: run(source("FIFOQueue", shapes=[[2], [3]])),
        "Different number of component types.  Types: float, Shapes: [[2], [3]]",
    )


def test_the_shuffled_order_is_tensorflows():
    handle = source("RandomShuffleQueue", component_types=["int32"], shapes=[[]],
                    capacity=100, seed=87654321, seed2=3)  # fmt: skip
    queue = run(handle)
    queue.enqueue_many([np.arange(20, dtype=np.int32)]).result(0)
    order = queue.dequeue_many(20).result(0)[0].tolist()
    assert order == [7, 4, 10, 11, 15, 16, 18, 14, 1, 3, 0, 2, 13, 12, 6, 19, 5, 9, 17, 8]


# -- Python objects ----------------------------------------------------------------------------------------


def test_names_and_shapes_of_nodes_are_tensorflows(graph):
    q = data_flow.FIFOQueue(3, ["float32", "int32"], shapes=[[2], [3]], name="q")
    one, many, some = q.dequeue(), q.dequeue_many(4), q.dequeue_up_to(5)
    assert [t.name for t in one + many + some] == [
        "q_Dequeue:0",
        "q_Dequeue:1",
        "q_DequeueMany:0",
        "q_DequeueMany:1",
        "q_DequeueUpTo:0",
        "q_DequeueUpTo:1",
    ]
    assert [t.shape.as_list() for t in one + many + some] == [
        [2], [3], [4, 2], [4, 3], [None, 2], [None, 3],
    ]  # fmt: skip
    unknown = q.dequeue_many(raw.Placeholder(dtype="int32", shape=[]))
    assert unknown[0].shape.as_list() == [None, 2]
    assert q.enqueue([[1.0, 2.0], [1, 2, 3]]).name == "q_enqueue"
    assert q.enqueue_many([[[1.0, 2.0]], [[1, 2, 3]]]).name == "q_EnqueueMany"
    assert q.size().name == "q_Size:0" and q.is_closed().name == "q_Is_Closed:0"
    assert q.close().name == "q_Close" and q.name == "q"
    names = [op.name for op in graph.get_operations()]
    assert "q_enqueue/component_0" in names and "q_DequeueMany/n" in names
    assert q.dtypes == [dtypes.float32, dtypes.int32] and q.names is None
    assert q.queue_ref.name == "q:0"


def test_default_names():
    made = [
        data_flow.FIFOQueue(3, "float32"),
        data_flow.RandomShuffleQueue(3, 1, "int32"),
        data_flow.PaddingFIFOQueue(3, ["int32"], [[None]]),
        data_flow.PriorityQueue(3, "string", [[]]),
    ]
    assert [q.name for q in made] == [
        "fifo_queue",
        "random_shuffle_queue",
        "padding_fifo_queue",
        "priority_queue",
    ]
    assert made[0].enqueue([1.0]).name == "fifo_queue_enqueue"
    assert made[2].dequeue_many(3).shape.as_list() == [3, None]
    assert made[3].dtypes == [dtypes.int64, dtypes.string]
    key, value = made[3].dequeue()
    assert key.dtype == dtypes.int64 and value.shape.as_list() == []
    assert made[1].dequeue().shape.ndims is None


def test_shapes_may_be_given_in_several_forms():
    def shapes(given):
        return [s.key for s in data_flow.FIFOQueue(3, "float32", given).shapes]

    assert shapes(()) == [()] and shapes([2, 3]) == [(2, 3)] and shapes(None) == [None]
    assert shapes(TensorShape([2])) == [(2,)] and shapes([[2]]) == [(2,)]
    with pytest.raises(TypeError, match="shapes must be a TensorShape or a list or tuple"):
        shapes(5)
    with pytest.raises(ValueError, match="All shapes must be fully defined"):
        shapes([[None]])
    invalid(
        lambda: data_flow.FIFOQueue(3, ["float32", "int32"], [[2]]),
        "Queue shapes must have the same length as dtypes",
        ValueError,
    )
    partial = "When providing partial shapes, a list of shapes must be provided."
    for wrong in (None, [None, 3], TensorShape([None])):
        invalid(lambda w=wrong: data_flow.PaddingFIFOQueue(3, "int32", w), partial, ValueError)
    invalid(
        lambda: data_flow.PaddingFIFOQueue(3, "int32", [[3], [3]]),
        "Shapes must be provided for all components, but received 1 dtypes and 2 shapes.",
        ValueError,
    )


def test_enqueue_checks_what_it_is_given():
    q = data_flow.FIFOQueue(3, "float32", [[2]])
    invalid(
        lambda: q.enqueue([[1.0, 2.0, 3.0]]), "Shapes (3,) and (2,) are incompatible", ValueError
    )
    with pytest.raises(TypeError, match="Expected float32, got 'a' of type 'str' instead"):
        q.enqueue([["a", "b"]])
    with pytest.raises(ValueError, match="must have rank at least 1"):
        q.enqueue_many(1.0)
    pair = data_flow.FIFOQueue(3, ["float32", "int32"], [[], []])
    invalid(
        lambda: pair.enqueue_many([[1.0, 2.0], [1, 2, 3]]),
        "Dimensions 2 and 3 are not compatible",
        ValueError,
    )


def test_named_components_are_dicts():
    q = data_flow.FIFOQueue(3, ["float32", "int32"], [[], []], names=["a", "b"])
    assert sorted(q.dequeue()) == ["a", "b"] and q.names == ["a", "b"]
    components = q.enqueue({"b": 1, "a": 2.0}).inputs[1:]
    assert [t.dtype for t in components] == [dtypes.float32, dtypes.int32]
    invalid(
        lambda: q.enqueue([1.0, 2]),
        "You must enqueue a dictionary in a Queue with names",
        ValueError,
    )
    invalid(
        lambda: q.enqueue({"a": 1.0}),
        "Keys in dictionary to enqueue do not match names of Queue.  Dictionary: (['a']), "
        "Queue: (['a', 'b'])",
        ValueError,
    )
    plain = data_flow.FIFOQueue(3, "float32")
    invalid(
        lambda: plain.enqueue({"a": 1.0}),
        "Queue must have names to enqueue a dictionary",
        ValueError,
    )
    invalid(
        lambda: data_flow.FIFOQueue(3, ["float32", "int32"], names=["a"]),
        "List of names must have the same length as the list of dtypes",
        ValueError,
    )


def test_seeds_follow_the_graph(graph):
    graph.seed = 7
    q = data_flow.RandomShuffleQueue(3, 1, "float32", shared_name="foo")
    attrs = q.queue_ref.op
    assert (attrs.get_attr("seed"), attrs.get_attr("seed2")) == (7, 1723790289)
    graph.seed = None
    q = data_flow.RandomShuffleQueue(3, 1, "float32", seed=3)
    assert q.queue_ref.op.get_attr("seed2") == 3
    q = data_flow.RandomShuffleQueue(3, 1, "float32")
    assert q.queue_ref.op.get_attr("seed") == 0


def test_a_queue_can_be_chosen_from_a_list(graph):
    a = data_flow.FIFOQueue(3, "float32", [2])
    b = data_flow.FIFOQueue(3, "float32", [3])
    chosen = data_flow.QueueBase.from_list(0, [a, b])
    assert chosen.shapes[0].as_list() == [None] and chosen.name == "GatherV2"
    assert "stack" in [op.name for op in graph.get_operations()]
    for wrong in ([], [3], None):
        with pytest.raises(TypeError, match="A list of queues expected"):
            data_flow.QueueBase.from_list(0, wrong)
    c = data_flow.FIFOQueue(3, "int32")
    with pytest.raises(TypeError, match="Queues do not have matching component dtypes"):
        data_flow.QueueBase.from_list(0, [a, c])
    d = data_flow.FIFOQueue(3, "float32", [2], names=["x"])
    with pytest.raises(TypeError, match="Queues do not have matching component names"):
        data_flow.QueueBase.from_list(0, [a, d])


def test_the_resource_is_the_class_that_the_op_names():
    made = {kind: type(run(source(kind))) for kind in [*SOURCES, "PriorityQueue"]}
    assert made == {
        "FIFOQueue": queues.FIFOQueue,
        "PaddingFIFOQueue": queues.PaddingFIFOQueue,
        "RandomShuffleQueue": queues.RandomShuffleQueue,
        "PriorityQueue": queues.PriorityQueue,
    }
