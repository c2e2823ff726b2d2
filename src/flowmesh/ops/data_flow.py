"""Queues as Python objects: `QueueBase`, `FIFOQueue`, `RandomShuffleQueue`, `PaddingFIFOQueue`, `PriorityQueue`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes as dtypes_module
from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.shapes import Dimension, TensorShape, as_shape, unknown_shape
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.random_seed import get_seed
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor


def _type_list(dtypes: Any) -> list[DType]:
    if not isinstance(dtypes, (list, tuple)):
        return [as_dtype(dtypes)]
    return [as_dtype(d) for d in dtypes]


def _shape_list(shapes: Any, *, partial: bool = False) -> list[TensorShape] | None:
    """One shape per component, from a list of them or from the shape of the only component."""
    if partial and (
        not isinstance(shapes, (list, tuple))
        or any(not isinstance(s, (list, tuple, TensorShape)) for s in shapes)
    ):
        raise ValueError("When providing partial shapes, a list of shapes must be provided.")
    if shapes is None:
        return None
    if isinstance(shapes, TensorShape):
        shapes = [shapes]
    if not isinstance(shapes, (list, tuple)):
        raise TypeError("shapes must be a TensorShape or a list or tuple of TensorShapes.")
    if all(shape is None or isinstance(shape, (int, Dimension)) for shape in shapes):
        shapes = [shapes]
    result = [as_shape(shape) for shape in shapes]
    if not partial and not all(shape.is_fully_defined() for shape in result):
        raise ValueError(f"All shapes must be fully defined: {result}")
    if any(shape.key is None for shape in result):
        raise ValueError(f"All shapes must have a defined rank: {result}")
    return result


def _name_list(names: Any, dtypes: Sequence[DType]) -> list[str] | None:
    if names is None:
        return None
    if not isinstance(names, (list, tuple)):
        names = [names]
    if len(names) != len(dtypes):
        raise ValueError("List of names must have the same length as the list of dtypes")
    return list(names)


class QueueBase:
    """What all queues have in common (TensorFlow: `tf.QueueBase`).

    A queue holds tuples of tensors, one per component, with fixed dtypes and optionally fixed shapes and
    names. Running an enqueue on a full queue, or a dequeue on an empty one, waits. Once the queue is
    closed an enqueue raises CancelledError and a dequeue that finds too few elements OutOfRangeError.
    """

    def __init__(self, dtypes: Any, shapes: Any, names: Any, queue_ref: Tensor):
        """`shapes` and `names` have one entry per dtype, or are None; ValueError otherwise."""
        self._dtypes = list(dtypes)
        if shapes is not None:
            if len(shapes) != len(self._dtypes):
                raise ValueError("Queue shapes must have the same length as dtypes")
            self._shapes = [TensorShape(s) for s in shapes]
        else:
            self._shapes = [unknown_shape() for _ in self._dtypes]
        if names is not None and len(names) != len(self._dtypes):
            raise ValueError("Queue names must have the same length as dtypes")
        self._names: list[str] | None = None if not names else list(names)
        self._queue_ref = queue_ref
        self._name = queue_ref.op.name.split("/")[-1]

    @staticmethod
    def from_list(index: Any, queues: Sequence[QueueBase]) -> QueueBase:
        """The queue at `index`, an int32 scalar tensor, of a list of queues with the same dtypes and names."""
        if (
            not queues
            or not isinstance(queues, list)
            or not all(isinstance(q, QueueBase) for q in queues)
        ):
            raise TypeError("A list of queues expected")
        first = queues[0]
        if not all(q.dtypes == first.dtypes for q in queues[1:]):
            raise TypeError("Queues do not have matching component dtypes.")
        if not all(q.names == first.names for q in queues[1:]):
            raise TypeError("Queues do not have matching component names.")
        shapes = [_common_shape([q.shapes[i] for q in queues]) for i in range(len(first.dtypes))]
        refs = raw.Pack([q.queue_ref for q in queues], name="stack")
        ref = raw.GatherV2(refs, index, 0, name="GatherV2")
        return QueueBase(first.dtypes, shapes, first.names, ref)

    @property
    def queue_ref(self) -> Tensor:
        """The tensor that holds the handle of the queue."""
        return self._queue_ref

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self._queue_ref.op.name

    @property
    def dtypes(self) -> list[DType]:
        """The dtype of each component."""
        return self._dtypes

    @property
    def shapes(self) -> list[TensorShape]:
        """The shape of each component, as far as it is fixed."""
        return self._shapes

    @property
    def names(self) -> list[str] | None:
        """The names of the components, or None."""
        return self._names

    # -- building blocks ---------------------------------------------------------------------------

    def _op(self, name: str) -> Callable[..., Any]:
        """The op of this name for the kind of handle there is."""
        suffix = "V2" if self._queue_ref.dtype.base_dtype == dtypes_module.resource else ""
        builder: Callable[..., Any] = getattr(raw, name + suffix)
        return builder

    def _components(self, values: Any) -> list[Tensor]:
        """What is to be enqueued, as tensors in the order of the components."""
        if isinstance(values, dict):
            if not self._names:
                raise ValueError("Queue must have names to enqueue a dictionary")
            if sorted(self._names, key=str) != sorted(values.keys(), key=str):
                raise ValueError(
                    "Keys in dictionary to enqueue do not match names of Queue.  "
                    f"Dictionary: ({sorted(values.keys())}), Queue: ({sorted(self._names)})"
                )
            values = [values[name] for name in self._names]
        elif self._names:
            raise ValueError("You must enqueue a dictionary in a Queue with names")
        elif not isinstance(values, (list, tuple)):
            values = [values]
        return [
            convert_to_tensor(value, dtype=dtype, name=f"component_{i}")
            for i, (value, dtype) in enumerate(zip(values, self._dtypes))
        ]

    def _dequeued(self, tensors: Any) -> Any:
        """What a dequeue returns: a dict if the components have names, else a tensor or a list of them."""
        tensors = list(tensors)
        if self._names:
            return dict(zip(self._names, tensors))
        return tensors[0] if len(tensors) == 1 else tensors

    def _with_shapes(self, tensors: Any, lead: list[int | None]) -> Any:
        for tensor, shape in zip(tensors, self._shapes):
            tensor.set_shape(TensorShape(lead).concatenate(shape))
        return tensors

    # -- operations --------------------------------------------------------------------------------

    def enqueue(self, vals: Any, name: str | None = None) -> Any:
        """The operation that adds one element: a tensor, a list or tuple of them, or a dict by name.

        Raises ValueError when a shape does not fit or the names differ, TypeError for another dtype.
        """
        with self._queue_ref.graph.name_scope(name or f"{self._name}_enqueue") as scope:
            components = self._components(vals)
            for component, shape in zip(components, self._shapes):
                component.shape.assert_is_compatible_with(shape)
            return self._op("QueueEnqueue")(self._queue_ref, components, name=scope)

    def enqueue_many(self, vals: Any, name: str | None = None) -> Any:
        """The operation that adds the rows of the given tensors as elements.

        All have the same first dimension. Raises ValueError and TypeError as `enqueue` does.
        """
        with self._queue_ref.graph.name_scope(name or f"{self._name}_EnqueueMany") as scope:
            components = self._components(vals)
            batch = Dimension(None)
            for component, shape in zip(components, self._shapes):
                given = component.shape.with_rank_at_least(1)
                batch = batch.merge_with(given[0])
                given[1:].assert_is_compatible_with(shape)
            return self._op("QueueEnqueueMany")(self._queue_ref, components, name=scope)

    def dequeue(self, name: str | None = None) -> Any:
        """The tensors of one element taken out: one tensor, a list of them, or a dict by name."""
        result = self._op("QueueDequeue")(
            self._queue_ref, component_types=self._dtypes, name=name or f"{self._name}_Dequeue"
        )
        return self._dequeued(self._with_shapes(result, []))

    def dequeue_many(self, n: Any, name: str | None = None) -> Any:
        """The tensors of `n` elements, stacked: shapes [n, ...]. The components must have fixed shapes."""
        result = self._op("QueueDequeueMany")(
            self._queue_ref,
            n=n,
            component_types=self._dtypes,
            name=name or f"{self._name}_DequeueMany",
        )
        known = constant_value(result[0].op.inputs[1])
        batch = None if known is None else int(np.reshape(known, ()))
        return self._dequeued(self._with_shapes(result, [batch]))

    def dequeue_up_to(self, n: Any, name: str | None = None) -> Any:
        """As `dequeue_many`; a closed queue gives what is left, at least one element: shapes [?, ...]."""
        result = self._op("QueueDequeueUpTo")(
            self._queue_ref,
            n=n,
            component_types=self._dtypes,
            name=name or f"{self._name}_DequeueUpTo",
        )
        return self._dequeued(self._with_shapes(result, [None]))

    def close(self, cancel_pending_enqueues: bool = False, name: str | None = None) -> Any:
        """The operation that closes the queue; waiting enqueues go first, or fail if they are cancelled."""
        return self._op("QueueClose")(
            self._queue_ref,
            cancel_pending_enqueues=cancel_pending_enqueues,
            name=name or f"{self._name}_Close",
        )

    def is_closed(self, name: str | None = None) -> Tensor:
        """Whether the queue is closed, a bool scalar."""
        result: Tensor = self._op("QueueIsClosed")(
            self._queue_ref, name=name or f"{self._name}_Is_Closed"
        )
        return result

    def size(self, name: str | None = None) -> Tensor:
        """The number of elements, an int32 scalar."""
        result: Tensor = self._op("QueueSize")(self._queue_ref, name=name or f"{self._name}_Size")
        return result


def _common_shape(shapes: Sequence[TensorShape]) -> TensorShape:
    result = shapes[0]
    for shape in shapes[1:]:
        result = result.most_specific_compatible_shape(shape)
    return result


class FIFOQueue(QueueBase):
    """A queue that gives out elements in the order they came in (TensorFlow: `tf.FIFOQueue`)."""

    def __init__(
        self,
        capacity: int,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "fifo_queue",
    ):
        """`capacity` -1 is no bound. Queues with one `shared_name` on a device are one, also between sessions."""
        types = _type_list(dtypes)
        fixed = _shape_list(shapes)
        names = _name_list(names, types)
        ref = raw.FIFOQueueV2(
            component_types=types,
            shapes=fixed,
            capacity=capacity,
            shared_name=_shared(shared_name),
            name=name,
        )
        super().__init__(types, fixed, names, ref)


class RandomShuffleQueue(QueueBase):
    """A queue that gives out elements in random order (TensorFlow: `tf.RandomShuffleQueue`)."""

    def __init__(
        self,
        capacity: int,
        min_after_dequeue: int,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        seed: int | None = None,
        shared_name: str | None = None,
        name: str = "random_shuffle_queue",
    ):
        """At least `min_after_dequeue` elements stay in the open queue; `seed` fixes the order."""
        types = _type_list(dtypes)
        fixed = _shape_list(shapes)
        names = _name_list(names, types)
        seed1, seed2 = get_seed(seed)
        if seed1 is None and seed2 is None:
            seed1, seed2 = 0, 0
        elif seed is None and shared_name is not None:
            # The second seed must not depend on how many ops the graph has: others share the queue.
            digest = hashlib.md5((str(seed1) + shared_name).encode("utf-8")).hexdigest()
            seed2 = int(digest[:8], 16) & 0x7FFFFFFF
        ref = raw.RandomShuffleQueueV2(
            component_types=types,
            shapes=fixed,
            capacity=capacity,
            min_after_dequeue=min_after_dequeue,
            seed=seed1,
            seed2=seed2,
            shared_name=_shared(shared_name),
            name=name,
        )
        super().__init__(types, fixed, names, ref)


class PaddingFIFOQueue(QueueBase):
    """A FIFO queue whose batches are padded to one shape (TensorFlow: `tf.PaddingFIFOQueue`)."""

    def __init__(
        self,
        capacity: int,
        dtypes: Any,
        shapes: Any,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "padding_fifo_queue",
    ):
        """`shapes` gives each component's rank; sizes that are None may differ between elements."""
        types = _type_list(dtypes)
        fixed = _shape_list(shapes, partial=True) or []
        names = _name_list(names, types)
        if len(types) != len(fixed):
            raise ValueError(
                f"Shapes must be provided for all components, but received {len(types)} dtypes and "
                f"{len(fixed)} shapes."
            )
        ref = raw.PaddingFIFOQueueV2(
            component_types=types,
            shapes=fixed,
            capacity=capacity,
            shared_name=_shared(shared_name),
            name=name,
        )
        super().__init__(types, fixed, names, ref)


class PriorityQueue(QueueBase):
    """A queue that gives out the element with the smallest priority first (TensorFlow: `tf.PriorityQueue`).

    The priority is an additional first component, an int64 scalar.
    """

    def __init__(
        self,
        capacity: int,
        types: Any,
        shapes: Any = None,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "priority_queue",
    ):
        """`types` and `shapes` do not count the priority; `names`, if given, do."""
        listed = _type_list(types)
        fixed = _shape_list(shapes)
        ref = raw.PriorityQueueV2(
            component_types=listed,
            shapes=fixed,
            capacity=capacity,
            shared_name=_shared(shared_name),
            name=name,
        )
        all_shapes = [TensorShape(()), *fixed] if fixed else fixed
        super().__init__([dtypes_module.int64, *listed], all_shapes, names, ref)


def _shared(name: str | None) -> str:
    return "" if name is None else name
