"""`dataset.reduce`: the elements of a dataset in one state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.frontend.data import nest, structure
from flowmesh.frontend.data.functions import StructuredFunction
from flowmesh.frontend.data.structure import TensorSpec
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw


def reduced(dataset: Any, initial_state: Any, function: Callable[..., Any]) -> Any:
    """The last state, as tensors; the function is traced again while it makes the state's shapes less specific."""
    with get_default_graph().name_scope("initial_state"):
        state = structure.normalized(initial_state)
    spec = structure.spec_of(state)
    while True:
        made = StructuredFunction(
            function, "reduce()", (spec, dataset.element_spec), add_to_graph=False
        )
        wider = _wider(spec, made.output_spec)
        if nest.flatten(wider) == nest.flatten(spec):
            break
        spec = wider
    get_default_graph().add_function(made.function)
    tensors = raw.ReduceDataset(
        dataset._variant_tensor,
        structure.to_tensors(spec, state),
        made.captured,
        f=made.function,
        output_types=structure.flat_types(spec),
        output_shapes=structure.flat_shapes(spec),
    )
    return structure.from_tensors(spec, tensors)


def _wider(spec: Any, after: Any) -> Any:
    nest.check_same(spec, after)
    for which, what in ((2, "classes"), (0, "types")):
        old, new = structure.legacy(spec, which), structure.legacy(after, which)
        if nest.flatten(old) != nest.flatten(new):
            raise TypeError(
                f"The element {what} for the new state must match the initial state. Expected {old}; got {new}."
            )
    pairs = zip(nest.flatten(spec), nest.flatten(after))
    return nest.pack(
        spec,
        [
            TensorSpec(structure.common_shape(a.flat.shape, b.flat.shape), a.flat.dtype)
            for a, b in pairs
        ],
    )
