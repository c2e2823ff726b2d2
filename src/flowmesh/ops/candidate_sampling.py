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
_CHUNK = 1024  # the most samples drawn at once while looking for new classes


class _Words:
    """The stream of 32-bit words after a generator state."""

    def __init__(self, state: Any) -> None:
        self._state = state
        self._left = np.zeros(0, np.uint32)
        self._used = 0

    def take(self, count: int) -> np.ndarray:
        """The next `count` words."""
        while len(self._left) < count:
            size = (count - len(self._left) + 3) // 4
            offsets = np.arange(self._used, self._used + size, dtype=np.uint64)
            more = philox.blocks_at(np, self._state, offsets).reshape(-1)
            self._left = np.concatenate([self._left, more])
            self._used += size
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def pairs(self, count: int) -> np.ndarray:
        """The next `count` pairs of words as uint64 [count, 2]."""
        return self.take(2 * count).reshape(count, 2).astype(np.uint64)


class _Sampler(OpDef, abstract=True):
    """What the samplers share; a sampler says how to draw classes and how probable each is."""

    numpy_only = True
    implicit_state = True
    NotDifferentiable = True

    def initial_state(self) -> np.ndarray:
        return philox.initial_state(self.attrs["seed"], self.attrs["seed2"])

    def infer(self, ctx: Any, true_classes: TensorShape) -> Any:
        rows, columns = with_rank(true_classes, 2).as_list()
        same_size(columns, self.attrs["num_true"])
        count = TensorShape([self.attrs["num_sampled"]])
        return count, TensorShape([rows, self.attrs["num_true"]]), count

    def draw(self, words: _Words, count: int) -> np.ndarray:
        """`count` classes, int64."""
        raise NotImplementedError

    def probability(self, classes: np.ndarray) -> np.ndarray:
        """The probability of each class in one draw, float32."""
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
        sampled, tries = self._sample(_Words(state), count)
        moved = philox.skip(np, state, -(-_WORDS_PER_SAMPLE * count // 4))
        return (
            moved,
            sampled,
            self._expected(true_classes, tries),
            self._expected(sampled, tries),
        )

    def _sample(self, words: _Words, count: int) -> tuple[np.ndarray, int]:
        """The sampled classes and the number of draws it took."""
        if not self.attrs["unique"]:
            return self.draw(words, count), count
        found: dict[int, None] = {}
        tries = 0
        while True:
            missing = count - len(found)
            for value in self.draw(words, min(_CHUNK, missing + missing // 4 + 8)).tolist():
                tries += 1
                found.setdefault(value)
                if len(found) == count:
                    return np.array(list(found), np.int64), tries

    def _expected(self, classes: np.ndarray, tries: int) -> np.ndarray:
        """How often each class is expected among the samples."""
        p = self.probability(classes)
        count = self.attrs["num_sampled"]
        if tries == count:
            return p * np.float32(count)
        return (-np.expm1(np.float32(tries) * np.log1p(-p))).astype(np.float32)


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

    def draw(self, words: _Words, count: int) -> np.ndarray:
        size = self.attrs["range_max"]
        rest = 0 if size & (size - 1) == 0 else (2**64 - 1) % size + 1
        kept = np.zeros(0, np.uint64)
        while len(kept) < count:
            pairs = words.pairs(count - len(kept))
            values = pairs[:, 0] | (pairs[:, 1] << np.uint64(32))
            kept = np.concatenate([kept, values[values >= np.uint64(rest)]])
        return (kept % np.uint64(size)).astype(np.int64)

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

    def draw(self, words: _Words, count: int) -> np.ndarray:
        size = self.attrs["range_max"]
        pairs = words.pairs(count)
        bits = ((pairs[:, 0] & np.uint64(0xFFFFF)) << np.uint64(32)) | pairs[:, 1]
        uniform = (bits | np.uint64(1023 << 52)).view(np.float64) - 1.0
        value = np.exp(uniform * math.log1p(size)).astype(np.int64) - 1
        return value % size

    def probability(self, classes: np.ndarray) -> np.ndarray:
        wide = classes.astype(np.float64)
        return (np.log((wide + 2) / (wide + 1)) / math.log1p(self.attrs["range_max"])).astype(
            np.float32
        )


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
