"""UniformCandidateSampler, LogUniformCandidateSampler and ComputeAccidentalHits.

The samplers' numbers are compared with TensorFlow's in test_random_values.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh.ops
from flowmesh.core.dtypes import int64
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import candidate_sampling, philox
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


TRUE = np.array([[0, 3], [6, 2], [1, 1]], np.int64)
CASES = [
    (name, unique, count, size)
    for name in ("Uniform", "LogUniform")
    for unique, count, size in [
        (True, 64, 1_000_000),
        (True, 8, 11),  # more is drawn than is looked at at once
        (True, 5, 5),
        (False, 3, 7),
        (True, 700, 100_000),
    ]
] + [("Uniform", False, 40, 3 * (1 << 61) + 5)]  # one pair of words in four gives no class


def sampler(name: str, unique: bool, count: int, size: int) -> Any:
    kind = getattr(candidate_sampling, f"{name}CandidateSampler")
    attrs = {"num_true": 2, "num_sampled": count, "unique": unique, "range_max": size}
    return kind(attrs | {"seed": 7, "seed2": 2**40 + 3})


def run(definition: Any, state: np.ndarray) -> tuple[np.ndarray, list[bytes]]:
    """The next state, and the bits of all outputs."""
    moved, *outputs = definition.compute(np, state, TRUE)
    assert [o.dtype for o in outputs] == [np.int64, np.float32, np.float32]
    return moved, [moved.tobytes(), *(o.tobytes() for o in outputs)]


@pytest.mark.parametrize(("name", "unique", "count", "size"), CASES)
def test_what_is_drawn_ahead_has_the_bits_of_single_draws(
    name: str, unique: bool, count: int, size: int
) -> None:
    repeated = sampler(name, unique, count, size)
    state = repeated.initial_state()
    state[2:] = 0xFFFFFFFF  # the counter goes over its end on the way
    state[2] -= 10 * 512 * count
    for _ in range(70 if count < 700 else 12):
        fresh = sampler(name, unique, count, size)
        _, alone = run(fresh, state)
        state, together = run(repeated, state)
        assert together == alone


def test_repeated_steps_call_the_cipher_for_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    blocks_at = philox.blocks_at

    def counted(xp: Any, state: Any, offsets: Any) -> Any:
        calls.append(len(offsets))
        return blocks_at(xp, state, offsets)

    monkeypatch.setattr(philox, "blocks_at", counted)
    definition = sampler("LogUniform", True, 64, 1_000_000)
    state = definition.initial_state()
    state, _ = run(definition, state)
    assert calls == [44]  # one step draws for itself alone
    for _ in range(30 + 64):
        state, _ = run(definition, state)
    assert calls == [44 * steps for steps in (1, 2, 4, 8, 16, 32, 32)]
    large = sampler("LogUniform", False, 3000, 1_000_000)
    state, calls[:] = large.initial_state(), []
    for _ in range(4):
        state, _ = run(large, state)
    assert len(calls) == 4  # nothing is gained by drawing so many ahead


def test_sessions_that_share_a_sampler_do_not_disturb_each_other() -> None:
    shared = sampler("Uniform", True, 16, 50)
    states = [shared.initial_state() for _ in range(3)]
    for number, state in enumerate(states):
        state[3] = number
    for turn in range(150):
        for number in range(3 if turn % 7 else 1):  # not in step
            _, alone = run(sampler("Uniform", True, 16, 50), states[number])
            states[number], found = run(shared, states[number])
            assert found == alone


def test_a_step_that_is_repeated_draws_the_same() -> None:
    definition = sampler("LogUniform", True, 16, 500)
    state = definition.initial_state()
    for _ in range(20):
        _, first = run(definition, state)
        moved, second = run(definition, state)  # as after a step that failed
        assert first == second
        state = moved


def test_what_is_kept_is_bounded() -> None:
    shared = sampler("LogUniform", True, 16, 500)
    for number in range(400):
        state = shared.initial_state()
        state[3] = number
        for _ in range(4):
            state, _ = run(shared, state)
    assert len(shared._ahead) < 600


def test_the_samples_of_a_step_may_be_written_to() -> None:
    definition = sampler("LogUniform", True, 16, 500)
    other = sampler("LogUniform", True, 16, 500)
    state = definition.initial_state()
    for _ in range(10):
        moved, *outputs = definition.compute(np, state, TRUE)
        expected = other.compute(np, state, TRUE)
        for output, value in zip(outputs, expected[1:]):
            np.testing.assert_array_equal(output, value)
            output[...] = -1
        state = moved
