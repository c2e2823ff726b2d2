"""Samplers of candidate classes, with TensorFlow's numbers, and the match of candidates with true classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32, int32, int64
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.random_seed import get_seed
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import philox
from flowmesh.ops.shape_rules import same_size, with_rank

_WORDS_PER_SAMPLE = 2048
_CHUNK = 1024  # the most classes drawn at once while looking for new ones
_AHEAD_STEPS, _AHEAD_CLASSES = 32, 4096  # the most that is drawn before it is asked for
_KEPT = 256  # draws that wait to be asked for


class _Draws:
    """The classes that a sampler draws, one after another, from a generator state on."""

    def __init__(self, sampler: _Sampler, state: np.ndarray, classes: np.ndarray, used: int):
        """`classes` are those of the first `used` blocks."""
        self._sampler, self._state = sampler, state
        self._left, self._used = classes, used

    def take(self, count: int) -> np.ndarray:
        """The next `count` classes."""
        while len(self._left) < count:
            size = (count - len(self._left) + 1) // 2
            offsets = np.arange(self._used, self._used + size, dtype=np.uint64)
            words = philox.blocks_at(np, self._state, offsets)
            more = self._sampler.classes(words.reshape(-1, 2))
            self._left = np.concatenate([self._left, more[more >= 0]])
            self._used += size
        taken, self._left = self._left[:count], self._left[count:]
        return taken


class _Sampler(OpDef, abstract=True):
    """What the samplers share; a sampler says which classes words give and how probable each is.

    What a step draws follows from the generator's state alone, and the states of the steps to come are known. Repeated steps therefore
    draw for up to 32 steps at once: NumPy is called as often for one step as for many.
    """

    numpy_only = True
    implicit_state = True
    NotDifferentiable = True

    def __init__(self, attrs: Any) -> None:
        super().__init__(attrs)
        self._ahead: dict[bytes, Any] = {}
        """By generator state: what was drawn for it or, behind the last of those, for how many steps to draw there."""

    def initial_state(self) -> np.ndarray:
        return philox.initial_state(self.attrs["seed"], self.attrs["seed2"])

    def infer(self, ctx: Any, true_classes: TensorShape) -> Any:
        rows, columns = with_rank(true_classes, 2).as_list()
        same_size(columns, self.attrs["num_true"])
        count = TensorShape([self.attrs["num_sampled"]])
        return count, TensorShape([rows, self.attrs["num_true"]]), count

    def classes(self, words: np.ndarray) -> np.ndarray:
        """The class that each pair of words gives: uint32 [..., 2] -> int64 [...]; -1 where a pair gives none."""
        raise NotImplementedError

    def probability(self, classes: np.ndarray) -> np.ndarray:
        """The probability of each class in one draw, a new float32 array."""
        raise NotImplementedError

    def compute(self, xp: Any, *inputs: Any) -> Any:
        state, true_classes = inputs
        attrs = self.attrs
        count = attrs["num_sampled"]
        if true_classes.ndim != 2 or true_classes.shape[1] != attrs["num_true"]:
            raise InvalidArgumentError(
                None, None, "true_classes must have num_true columns and be a matrix"
            )
        if attrs["unique"] and count > attrs["range_max"]:
            raise InvalidArgumentError(None, None, "Sampler's range is too small.")
        drawn = self._ahead.pop(state.tobytes(), 1)
        if type(drawn) is int:
            drawn = self._draw(state, drawn)
        moved, sampled, expected, tries = drawn
        return moved, sampled, self._expected(true_classes, tries), expected

    def _draw(self, state: np.ndarray, steps: int) -> tuple[Any, ...]:
        """Draws for so many steps, and keeps what is for those after the first: the state of the next step, the samples, how often they are
        expected, and how many draws it took."""
        count = self.attrs["num_sampled"]
        first = count + count // 4 + 8 if self.attrs["unique"] else count
        size = (first + 1) // 2
        stride = -(-_WORDS_PER_SAMPLE * count // 4)
        states = [state]
        for _ in range(steps):
            states.append(philox.skip(np, states[-1], stride))
        starts = np.arange(steps, dtype=np.uint64) * np.uint64(stride)
        offsets = starts[:, None] + np.arange(size, dtype=np.uint64)
        words = philox.blocks_at(np, state, offsets.reshape(-1))
        classes = self.classes(words.reshape(steps, -1, 2))
        if classes.min() < 0:
            rows = [row[row >= 0] for row in classes]
        else:
            rows = list(classes)
        found = [self._sample(_Draws(self, at, row, size), first) for at, row in zip(states, rows)]
        sampled = np.array([values for values, _ in found], np.int64)
        tries = np.array([[number] for _, number in found], np.float32)
        expected = self._expected(sampled, tries)
        if len(self._ahead) > _KEPT:  # of sessions that are gone
            self._ahead.clear()
        drawn = list(zip(states[1:], sampled, expected, tries))
        for at, values in zip(states[1:], drawn[1:]):
            self._ahead[at.tobytes()] = values
        more = min(2 * steps, _AHEAD_STEPS, max(1, _AHEAD_CLASSES // count))
        self._ahead.setdefault(states[-1].tobytes(), more)
        return drawn[0]

    def _sample(self, draws: _Draws, first: int) -> tuple[Any, int]:
        """The sampled classes and the number of draws it took; `first` are looked at at once."""
        if not self.attrs["unique"]:
            return draws.take(first), first
        count = self.attrs["num_sampled"]
        found: dict[int, None] = {}
        before, size = 0, first
        while True:
            values = draws.take(size).tolist()
            found.update(dict.fromkeys(values))
            if len(found) >= count:
                sampled = list(found)[:count]
                return sampled, before + values.index(sampled[-1]) + 1
            before += size
            size = min(2 * size, _CHUNK)

    def _expected(self, classes: np.ndarray, tries: np.ndarray) -> np.ndarray:
        """How often each class is expected among the samples; `tries` is float32 and stretched to the classes' shape."""
        p = self.probability(classes)
        count = self.attrs["num_sampled"]
        at_once = tries == count
        if at_once.all():
            return np.multiply(p, np.float32(count), p)
        missed = np.negative(p)
        np.log1p(missed, missed)
        missed *= tries
        np.expm1(missed, missed)
        np.negative(missed, missed)
        if at_once.any():
            np.copyto(missed, p * np.float32(count), where=at_once)
        return missed


class UniformCandidateSampler(_Sampler):
    """Samples classes in [0, range_max) uniformly."""

    true_classes = Input(int64)
    sampled_candidates = Output(int64)
    true_expected_count, sampled_expected_count = Output(float32), Output(float32)
    num_true = Attr("int", minimum=1)
    num_sampled = Attr("int", minimum=1)
    unique = Attr("bool")
    range_max = Attr("int", minimum=1)
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)

    def classes(self, words: np.ndarray) -> np.ndarray:
        size = self.attrs["range_max"]
        wide = words.astype(np.uint64)
        values = wide[..., 0] | (wide[..., 1] << np.uint64(32))
        found = (values % np.uint64(size)).astype(np.int64)
        if size & (size - 1):
            rest = np.uint64((2**64 - 1) % size + 1)
            found[values < rest] = -1
        return found

    def probability(self, classes: np.ndarray) -> np.ndarray:
        return np.full(classes.shape, 1.0 / self.attrs["range_max"], np.float32)


class LogUniformCandidateSampler(_Sampler):
    """Samples classes in [0, range_max), class k with probability log((k + 2) / (k + 1)) / log(range_max + 1)."""

    true_classes = Input(int64)
    sampled_candidates = Output(int64)
    true_expected_count, sampled_expected_count = Output(float32), Output(float32)
    num_true = Attr("int", minimum=1)
    num_sampled = Attr("int", minimum=1)
    unique = Attr("bool")
    range_max = Attr("int", minimum=1)
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)

    def classes(self, words: np.ndarray) -> np.ndarray:
        size = self.attrs["range_max"]
        wide = words.astype(np.uint64)
        bits = ((wide[..., 0] & np.uint64(0xFFFFF)) << np.uint64(32)) | wide[..., 1]
        uniform = (bits | np.uint64(1023 << 52)).view(np.float64) - 1.0
        value = np.exp(uniform * math.log1p(size)).astype(np.int64) - 1
        return value % size

    def probability(self, classes: np.ndarray) -> np.ndarray:
        lower = classes.astype(np.float64)
        upper = lower + 2.0
        lower += 1.0
        upper /= lower
        np.log(upper, upper)
        upper /= math.log1p(self.attrs["range_max"])
        return upper.astype(np.float32)


class ComputeAccidentalHits(OpDef):
    """Where sampled candidates are true classes: (row, position among the candidates, lowest float)."""

    true_classes, sampled_candidates = Input(int64), Input(int64)
    indices, ids, weights = Output(int32), Output(int64), Output(float32)
    num_true = Attr("int")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, true_classes: TensorShape, sampled: TensorShape) -> Any:
        same_size(with_rank(true_classes, 2).as_list()[1], self.attrs["num_true"])
        with_rank(sampled, 1)
        return (TensorShape([None]),) * 3

    def compute(self, xp: Any, *inputs: Any) -> Any:
        true_classes, sampled = inputs
        places = {int(c): i for i, c in enumerate(sampled)}
        hits = [
            (row, places[int(c)])
            for row, classes in enumerate(true_classes)
            for c in classes
            if int(c) in places
        ]
        rows, ids = np.array(hits, np.int64).reshape(-1, 2).T
        lowest = np.finfo(np.float32).min
        return rows.astype(np.int32), ids, np.full(len(hits), lowest, np.float32)


# -- what programs call ----------------------------------------------------------------------------


def _sampler(
    build: Any,
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None,
    name: str | None,
) -> Any:
    first, second = get_seed(seed)
    return build(
        true_classes,
        num_true=num_true,
        num_sampled=num_sampled,
        unique=unique,
        range_max=range_max,
        seed=first or 0,
        seed2=second or 0,
        name=name,
    )


def uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Samples `num_sampled` classes in [0, range_max) uniformly (tf.random.uniform_candidate_sampler).

    `true_classes` is int64 [batch, num_true]. Returns `(sampled_candidates int64 [num_sampled],
    true_expected_count float32 [batch, num_true], sampled_expected_count float32 [num_sampled])`.
    Running it raises InvalidArgumentError when `unique` is set and the range is too small.
    """
    build = raw.UniformCandidateSampler
    return _sampler(build, true_classes, num_true, num_sampled, unique, range_max, seed, name)


def log_uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Samples classes from an approximately log-uniform (Zipfian) distribution
    (tf.random.log_uniform_candidate_sampler); see `uniform_candidate_sampler`."""
    build = raw.LogUniformCandidateSampler
    return _sampler(build, true_classes, num_true, num_sampled, unique, range_max, seed, name)


def compute_accidental_hits(
    true_classes: Any,
    sampled_candidates: Any,
    num_true: int,
    seed: int | None = None,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Where sampled candidates are true classes of a row (tf.nn.compute_accidental_hits).

    Returns `(indices int32, ids int64, weights float32)`: the row, the position among the candidates, and a weight
    that masks the candidate when it is added to its logit.
    """
    first, second = get_seed(seed)
    result = raw.ComputeAccidentalHits(
        true_classes,
        sampled_candidates,
        num_true=num_true,
        seed=first or 0,
        seed2=second or 0,
        name=name,
    )
    return result[0], result[1], result[2]
