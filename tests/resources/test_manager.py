"""`ResourceManager` and `Variable`."""

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import Resource, ResourceManager
from flowmesh.resources.queues import FIFOQueue, Queue
from flowmesh.resources.variable import Variable


class Thing(Resource):
    type_name = "Thing"

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


def variable(shape=(2,), **kwargs) -> Variable:
    return Variable("w", dtypes.float32, TensorShape(shape), **kwargs)


def test_lookup_or_create_makes_one_resource_per_container_name_and_kind():
    manager = ResourceManager()
    first = manager.lookup_or_create("", "x", Thing, Thing)
    assert manager.lookup_or_create("localhost", "x", Thing, Thing) is first
    assert manager.lookup("", "x", Thing) is first
    assert manager.lookup_or_create("other", "x", Thing, Thing) is not first
    queue = manager.lookup_or_create("", "x", Queue, lambda: FIFOQueue("x", [dtypes.int32]))
    assert isinstance(queue, FIFOQueue)
    assert manager.names() == ["x", "x"]
    assert manager.names("", Thing) == ["x"]
    assert manager.containers() == ["localhost", "other"]


def test_lookup_of_what_is_not_there_names_it():
    manager = ResourceManager()
    with pytest.raises(errors.NotFoundError) as failure:
        manager.lookup("", "x", Variable)
    assert failure.value.message == (
        "Container localhost does not exist. (Could not find resource: localhost/x)"
    )
    manager.lookup_or_create("", "y", Thing, Thing)
    with pytest.raises(errors.NotFoundError) as failure:
        manager.lookup("", "x", Variable)
    assert failure.value.message == ("Resource localhost/x/N10tensorflow3VarE does not exist.")


def test_delete_releases_and_then_misses():
    manager = ResourceManager()
    thing = manager.lookup_or_create("", "x", Thing, Thing)
    manager.delete("", "x", Thing)
    assert thing.released == 1
    with pytest.raises(errors.NotFoundError, match="does not exist"):
        manager.delete("", "x", Thing)


def test_clear_takes_the_default_container_unless_others_are_named():
    manager = ResourceManager()
    here = manager.lookup_or_create("", "x", Thing, Thing)
    there = manager.lookup_or_create("c", "x", Thing, Thing)
    manager.clear(["c", "unheard of"])
    assert (here.released, there.released) == (0, 1)
    manager.clear([])
    assert (here.released, there.released) == (1, 1)
    assert manager.names() == []
    last = manager.lookup_or_create("d", "x", Thing, Thing)
    manager.clear_all()
    assert last.released == 1


def test_clear_fails_what_waits_on_a_queue():
    manager = ResourceManager()
    queue = manager.lookup_or_create("", "q", Queue, lambda: FIFOQueue("q", [dtypes.int32]))
    waiting = queue.dequeue()
    manager.clear()
    with pytest.raises(errors.CancelledError, match="Dequeue operation was cancelled"):
        waiting.result(0)


def test_variable_without_value():
    ref, resource = variable(), variable(is_resource=True)
    with pytest.raises(errors.FailedPreconditionError) as failure:
        ref.read()
    assert failure.value.message == "Attempting to use uninitialized value w"
    with pytest.raises(errors.FailedPreconditionError) as failure:
        resource.read()
    assert failure.value.message == (
        "Error while reading resource variable w from Container: localhost. This could mean that "
        "the variable was uninitialized. Not found: Resource localhost/w/N10tensorflow3VarE does "
        "not exist."
    )


def test_variable_counts_assignments():
    v = variable()
    assert not v.is_initialized and v.generation == 0
    v.assign(np.ones(2, np.float32))
    assert v.is_initialized and v.generation == 1
    np.testing.assert_array_equal(v.read(), [1, 1])
    v.release()
    assert not v.is_initialized and v.generation == 2


def test_variable_validates_shape_only_on_request():
    v = variable()
    with pytest.raises(errors.InvalidArgumentError) as failure:
        v.assign(np.ones(3, np.float32), validate_shape=True)
    assert failure.value.message == (
        "Assign requires shapes of both tensors to match. lhs shape= [2] rhs shape= [3]"
    )
    v.assign(np.ones(3, np.float32))
    v.assign(np.zeros(3, np.float32), validate_shape=True)
    with pytest.raises(errors.InvalidArgumentError, match=r"lhs shape= \[3\] rhs shape= \[2\]"):
        v.assign(np.ones(2, np.float32), validate_shape=True)
    unknown = variable(shape=None)
    unknown.assign(np.ones((2, 2), np.float32), validate_shape=True)
