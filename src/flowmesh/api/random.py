"""Random numbers: the names of `tf.random`."""

from __future__ import annotations

from flowmesh.graph.random_seed import (
    get_seed as get_seed,
    set_random_seed as set_random_seed,
)
from flowmesh.ops.candidate_sampling import (
    log_uniform_candidate_sampler as log_uniform_candidate_sampler,
    uniform_candidate_sampler as uniform_candidate_sampler,
)
from flowmesh.ops.random_ops import (
    categorical as categorical,
    multinomial as multinomial,
    random_gamma as gamma,
    random_normal as normal,
    random_shuffle as shuffle,
    random_uniform as uniform,
    truncated_normal as truncated_normal,
)
from flowmesh.ops.random_stateless import (
    stateless_multinomial as stateless_multinomial,
    stateless_truncated_normal as stateless_truncated_normal,
)

__all__ = [
    "categorical",
    "gamma",
    "get_seed",
    "log_uniform_candidate_sampler",
    "multinomial",
    "normal",
    "set_random_seed",
    "shuffle",
    "stateless_multinomial",
    "stateless_truncated_normal",
    "truncated_normal",
    "uniform",
    "uniform_candidate_sampler",
]
