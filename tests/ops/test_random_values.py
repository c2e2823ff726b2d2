"""The random ops give TensorFlow's numbers for equal seeds, bit for bit, run after run."""

from __future__ import annotations

import hashlib
import json
import pathlib
from functools import partial
from typing import Any

import numpy as np
import pytest

import flowmesh.ops
from flowmesh.core import dtypes
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.graph import random_seed
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import (
    candidate_sampling,
    constant,
    philox,
    philox_draws,
    random_ops,
    random_stateless,
    single_math,
)
from tests.ops import interpreter

assert flowmesh.ops
RECORDED: dict[str, Any] = json.loads(
    (pathlib.Path(__file__).parents[1] / "oracle" / "random_values.json").read_text()
)
SEEDS = {"seed": 7, "seed2": 12345678901}
LOGITS = np.log(np.arange(1, 36, dtype=np.float32).reshape(5, 7) % 8 + 0.5)
ALPHAS = np.array([0.3, 1, 2.5, 10], np.float32)
STATELESS = np.array([5, -7], np.int32)
TRUE_CLASSES = np.array([[0, 5], [7, 2]], np.int64)


def make(name: str) -> tuple[Any, list[Any], int]:
    """The definition, the input values and the output index of a recorded case."""
    op, kind, last = name.split("-")
    size = int(last)
    shape = np.array([size], np.int32)
    index = 0
    with Graph().as_default():
        if op.endswith("Sampler"):
            node = getattr(raw, op)(
                TRUE_CLASSES,
                num_true=2,
                num_sampled=20,
                unique=kind == "True",
                range_max=50,
                **SEEDS,
            )[0]
            index = size
        elif op == "StatelessMultinomial":
            node = raw.StatelessMultinomial(LOGITS, np.int32(size), STATELESS)
        elif op == "StatelessRandomUniformInt":
            low, high = (np.array(v, kind) for v in (-3, 1000))
            node = raw.StatelessRandomUniformInt(shape, STATELESS, low, high)
        elif op.startswith("Stateless"):
            node = getattr(raw, op)(shape, STATELESS, dtype=dtypes.as_dtype(kind))
        elif op == "RandomShuffle":
            node = raw.RandomShuffle(np.arange(size, dtype=np.int32), **SEEDS)
        elif op == "Multinomial":
            node = raw.Multinomial(LOGITS, np.int32(size), **SEEDS)
        elif op == "RandomGamma":
            node = raw.RandomGamma(shape, ALPHAS, **SEEDS)
        elif op == "RandomUniformInt":
            low, high = (np.array(v, kind) for v in (-10, 1000003))
            node = raw.RandomUniformInt(shape, low, high, **SEEDS)
        else:
            node = getattr(raw, op)(shape, dtype=dtypes.as_dtype(kind), **SEEDS)
        values = interpreter.evaluate(list(node.op.inputs), {})
    return node.op.definition, values, index


def compiled(function: Any) -> Any:
    """`function` under `jax.jit`."""
    import jax

    return jax.jit(function)


def runs(name: str, xp: Any) -> list[np.ndarray]:
    definition, values, index = make(name)
    if not definition.implicit_state:
        whole = partial(definition.compute, xp, *values)
        found = np.asarray(whole() if xp is np else compiled(whole)())
        return [found] * len(RECORDED[name])
    state = definition.initial_state()

    def step(state: Any) -> Any:
        return definition.compute(xp, state, *values)

    if xp is not np:
        step = compiled(step)
    found = []
    for _ in RECORDED[name]:
        state, *outputs = step(state)
        found.append(np.asarray(outputs[index]))
    return found


def check(name: str, xp: Any) -> None:
    for got, want in zip(runs(name, xp), RECORDED[name]):
        if "float64" in name or "Sampler-True" in name or name.startswith("LogUniform"):
            # These go through the C library's functions, which differ in their last bits.
            np.testing.assert_allclose(got.ravel()[:6].astype(float), want["first"], rtol=1e-6)
        else:
            assert hashlib.sha256(got.tobytes()).hexdigest() == want["sha256"], (got, want["first"])


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_numpy_gives_the_recorded_numbers(name: str) -> None:
    check(name, np)


HOST_ONLY = ("RandomShuffle", "RandomGamma")
COMPILED = [
    name
    for name in sorted(RECORDED)
    if name.endswith(("-5", "-1000", "float32-20003", "int64-17"))
    and not name.startswith(HOST_ONLY)
    and "Sampler" not in name
]


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_program_gives_the_recorded_numbers(name: str) -> None:
    check(name, interpreter.jax_numpy())


def test_float64_normals_are_within_two_units_in_the_last_place() -> None:
    for op in ("RandomStandardNormal", "TruncatedNormal"):
        name = f"{op}-float64-17"
        for got, want in zip(runs(name, np), RECORDED[name]):
            np.testing.assert_array_max_ulp(got[:6], np.array(want["first"]), maxulp=2)


def test_known_answer_of_the_cipher() -> None:
    ones = np.full(6, 0xFFFFFFFF, np.uint32)
    zero = philox.blocks(np, np.zeros(6, np.uint32), 1)[0]
    assert [hex(w) for w in zero] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
    full = philox.blocks(np, ones, 1)[0]
    assert [hex(w) for w in full] == ["0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd"]


def test_counter_carries_through_all_words() -> None:
    state = np.array([1, 2, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFF, 3], np.uint32)
    for xp in (np, interpreter.jax_numpy()):
        moved = np.asarray(philox.skip(xp, xp.asarray(state), 5))
        assert moved.tolist() == [1, 2, 3, 0, 0, 4]
        ahead = np.asarray(philox.blocks(xp, xp.asarray(state), 7))
        later = np.asarray(philox.blocks(xp, xp.asarray(moved), 2))
        np.testing.assert_array_equal(ahead[5:], later)


def test_no_seeds_draw_entropy() -> None:
    first, second = philox.initial_state(0, 0), philox.initial_state(0, 0)
    assert first.dtype == np.uint32
    assert first.shape == (6,)
    assert first.tolist() != second.tolist()


def test_single_precision_functions_are_close_everywhere() -> None:
    angles = np.linspace(0, 2 * np.pi, 10001, dtype=np.float32)
    sine, cosine = single_math.sine_cosine(np, angles)
    np.testing.assert_allclose(sine, np.sin(angles.astype(float)), rtol=7e-8, atol=1e-12)
    np.testing.assert_allclose(cosine, np.cos(angles.astype(float)), rtol=7e-8, atol=1e-12)
    units = np.linspace(1e-7, 1, 10001, dtype=np.float32)
    np.testing.assert_allclose(
        single_math.log(np, units), np.log(units.astype(float)), rtol=1.2e-7, atol=1e-12
    )


def test_truncated_normals_agree_between_backends_when_many_are_rejected() -> None:
    xp = interpreter.jax_numpy()
    program = compiled(lambda state: philox_draws.truncated_normal(xp, state, 5001, np.float32))
    for seed in range(3):
        state = philox.initial_state(seed + 1, 99)
        numpy = philox_draws.truncated_normal(np, state, 5001, np.float32)
        traced = program(state)
        np.testing.assert_array_equal(numpy, np.asarray(traced))
        assert np.abs(numpy).max() < 2


# -- the wrappers ----------------------------------------------------------------------------------


def test_graph_of_random_uniform() -> None:
    with Graph().as_default() as graph:
        random_ops.random_uniform([2, 3], 1, 5, seed=4)
        names = {op.name: op.type for op in graph.get_operations()}
        node = graph.get_operation_by_name("random_uniform/RandomUniform")
    assert names == {
        "random_uniform/shape": "Const",
        "random_uniform/min": "Const",
        "random_uniform/max": "Const",
        "random_uniform/RandomUniform": "RandomUniform",
        "random_uniform/sub": "Sub",
        "random_uniform/mul": "Mul",
        "random_uniform": "Add",
    }
    assert (node.get_attr("seed"), node.get_attr("seed2")) == (87654321, 4)


def test_graph_seed_and_op_count_make_the_seeds() -> None:
    with Graph().as_default() as graph:
        random_seed.set_random_seed(11)
        first = random_ops.random_normal([2])
        second = random_ops.random_normal([2])
        pairs = [
            (op.get_attr("seed"), op.get_attr("seed2"))
            for op in graph.get_operations()
            if op.type == "RandomStandardNormal"
        ]
    assert [p[0] for p in pairs] == [11, 11]
    assert pairs[0] != pairs[1]
    assert (first.name, second.name) == ("random_normal:0", "random_normal_1:0")


def test_scaled_values() -> None:
    with Graph().as_default():
        uniform = random_ops.random_uniform([1000], -2.0, 3.0, seed=1)
        normal = random_ops.random_normal([1000], 5.0, 0.5, seed=1)
        short = random_ops.truncated_normal([1000], 5.0, 0.5, seed=1)
        whole = random_ops.random_uniform([1000], 3, 9, dtype=dtypes.int64, seed=1)
        u, n, t, i = interpreter.evaluate([uniform, normal, short, whole], {})
    assert u.min() >= -2
    assert u.max() < 3
    assert abs(n.mean() - 5) < 0.1
    assert t.min() > 4
    assert t.max() < 6
    assert sorted(set(i.tolist())) == [3, 4, 5, 6, 7, 8]


def test_stateless_wrappers_repeat_themselves() -> None:
    with Graph().as_default():
        built = []
        for _ in range(2):
            built += [
                random_stateless.stateless_random_uniform([50], [1, 2], 2.0, 3.0),
                random_stateless.stateless_random_uniform([50], [1, 2], 0, 9, dtypes.int32),
                random_stateless.stateless_random_normal([50], [1, 2], 4.0, 0.1),
                random_stateless.stateless_truncated_normal([50], [1, 2], 4.0, 0.1),
                random_stateless.stateless_multinomial(LOGITS, 10, [1, 2]),
            ]
        found = interpreter.evaluate(built, {})
    for first, second in zip(found[:5], found[5:]):
        np.testing.assert_array_equal(first, second)
    assert (found[0] >= 2).all()
    assert abs(found[2].mean() - 4) < 0.1


def test_bad_arguments() -> None:
    with Graph().as_default():
        with pytest.raises(ValueError, match="Must specify maxval for integer dtype"):
            random_ops.random_uniform([2], dtype=dtypes.int32)
        with pytest.raises(ValueError, match="Invalid dtype"):
            random_ops.random_uniform([2], dtype=dtypes.string)
        bad = random_ops.random_uniform([2], 5, 5, dtype=dtypes.int32)
        with pytest.raises(InvalidArgumentError, match="Need minval < maxval, got 5 >= 5"):
            interpreter.evaluate([bad], {})
        negative = raw.RandomUniform(np.int32([-1]), dtype=dtypes.float32, seed=1)
        with pytest.raises(InvalidArgumentError, match="must be >= 0"):
            interpreter.evaluate([negative], {})


def test_no_gradient_flows_through_random_numbers() -> None:
    with Graph().as_default():
        scale = constant.constant(2.0)
        drawn = random_ops.random_normal([3], stddev=scale, seed=1)
        (slope,) = gradients(drawn, [scale])
        noise, found = interpreter.evaluate([drawn, slope], {})
    np.testing.assert_allclose(found, (noise / 2).sum(), rtol=1e-5)


def test_shuffle_of_rows_and_of_nothing() -> None:
    with Graph().as_default():
        rows = random_ops.random_shuffle(np.arange(12).reshape(6, 2), seed=3)
        single = random_ops.random_shuffle(np.arange(1), seed=3)
        scalar = random_ops.random_shuffle(np.int32(4), seed=3)
        r, s, c = interpreter.evaluate([rows, single, scalar], {})
    assert sorted(r[:, 0].tolist()) == [0, 2, 4, 6, 8, 10]
    assert (r[:, 1] == r[:, 0] + 1).all()
    assert s.tolist() == [0]
    assert c == 4


def test_multinomial_and_gamma_wrappers() -> None:
    with Graph().as_default():
        draws = random_ops.multinomial(LOGITS, 3, seed=1)
        narrow = random_ops.categorical(LOGITS, 3, dtypes.int32, seed=1)
        gamma = random_ops.random_gamma([2000], [0.5, 4.0], beta=2.0, seed=5)
        d, n, g = interpreter.evaluate([draws, narrow, gamma], {})
    assert draws.shape.as_list() == [5, 3]
    assert d.dtype == np.int64
    assert n.dtype == np.int32
    assert (d == n).all()
    np.testing.assert_allclose(g.mean(axis=0), [0.25, 2.0], rtol=0.1)
    assert (g > 0).all()


def test_candidates_are_unique_and_counted() -> None:
    with Graph().as_default():
        found = candidate_sampling.uniform_candidate_sampler([[1]], 1, 8, True, 10, seed=2)
        sampled, true_count, sampled_count = interpreter.evaluate(list(found), {})
        assert len(set(sampled.tolist())) == 8
        assert true_count.shape == (1, 1)
        assert (sampled_count > 0.5).all()
        small = candidate_sampling.uniform_candidate_sampler([[1]], 1, 8, True, 4, seed=2)
        with pytest.raises(InvalidArgumentError, match="Sampler's range is too small"):
            interpreter.evaluate([small[0]], {})
