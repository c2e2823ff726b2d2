"""Graph-level and op-level random seeds (TensorFlow: `tf.set_random_seed`, `tf.get_seed`)."""

from __future__ import annotations

from flowmesh.graph.graph import get_default_graph

DEFAULT_GRAPH_SEED = 87654321
_MAXINT32 = 2**31 - 1


def get_seed(op_seed: int | None) -> tuple[int | None, int | None]:
    """The pair of seeds for a random op: from the graph's seed and the op's, or (None, None) for no seed at all.

    With only a graph seed, the op seed is the id of the newest node, so that each op has its own numbers.
    """
    graph = get_default_graph()
    if graph.seed is not None:
        if op_seed is None:
            op_seed = graph.last_id
        seeds: tuple[int | None, int | None] = (graph.seed % _MAXINT32, op_seed % _MAXINT32)
    elif op_seed is not None:
        seeds = (DEFAULT_GRAPH_SEED, op_seed % _MAXINT32)
    else:
        return None, None
    return (0, _MAXINT32) if seeds == (0, 0) else seeds


def set_random_seed(seed: int | None) -> None:
    """Sets the graph-level seed of the default graph."""
    get_default_graph().seed = seed
