"""UniformCandidateSampler, LogUniformCandidateSampler and ComputeAccidentalHits.

The samplers' numbers are compared with TensorFlow's in test_random_values.py.
"""

from __future__ import annotations

import numpy as np

import flowmesh.ops
from flowmesh.core.dtypes import int64
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import candidate_sampling
from flowmesh.ops.placeholder import placeholder
from tests.ops import interpreter

assert flowmesh.ops


def test_log_uniform_prefers_small_classes() -> None:
    with Graph().as_default():
        sampled, _, expected = candidate_sampling.log_uniform_candidate_sampler(
            [[0, 3]], 2, 4000, False, 100, seed=6
        )
        values, counts = interpreter.evaluate([sampled, expected], {})
    assert values.min() == 0
    assert values.max() < 100
    share = (values == 0).mean()
    assert abs(share - np.log(2) / np.log(101)) < 0.02
    np.testing.assert_allclose(counts[values == 0], 4000 * np.log(2) / np.log(101), rtol=1e-5)


def test_shapes() -> None:
    with Graph().as_default():
        true = placeholder(int64, [None, 2])
        for op in (raw.UniformCandidateSampler, raw.LogUniformCandidateSampler):
            found = op(true, num_true=2, num_sampled=7, unique=False, range_max=9)
            assert [t.shape.as_list() for t in found] == [[7], [None, 2], [7]]
        hits = raw.ComputeAccidentalHits(true, np.arange(3), num_true=2)
        assert [t.shape.as_list() for t in hits] == [[None]] * 3


def test_accidental_hits() -> None:
    with Graph().as_default():
        true = np.array([[1, 9], [4, 1]], np.int64)
        found = candidate_sampling.compute_accidental_hits(true, np.array([4, 7, 1]), 2)
        rows, ids, weights = interpreter.evaluate(list(found), {})
    assert rows.tolist() == [0, 1, 1]
    assert ids.tolist() == [2, 0, 2]
    assert (weights == np.finfo(np.float32).min).all()
