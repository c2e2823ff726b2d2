"""The options of XLA's compiler that a program is compiled with: which library gets its convolutions and matrix products on processors."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from flowmesh.graph.operation import Operation
from flowmesh.runtime.cost import CONTRACTIONS, is_row_update

_log = logging.getLogger(__name__)

_CONVOLUTIONS = frozenset({"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"})
_YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
_PRODUCTS_ONLY = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
"""YNNPACK gets single products. Convolutions then are Eigen's, which takes half to nine tenths of YNNPACK's time on images."""
_NOTHING = ""
"""YNNPACK gets nothing, Eigen all."""
_SMALL = 1 << 23
"""Multiplications of a product up to which a program that updates rows is better off without YNNPACK (see `_few_products`)."""


def options_for(jax: Any, platform: str, ops: Sequence[Operation]) -> dict[str, Any] | None:
    """The `compiler_options` for a program of these ops on this platform of JAX; None for XLA's defaults."""
    if platform != "cpu":
        return None
    if any(op.type in _CONVOLUTIONS for op in ops):
        return _option(jax, _PRODUCTS_ONLY)
    if _few_products(ops):
        return _option(jax, _NOTHING)
    return None


def convolving(jax: Any) -> dict[str, Any] | None:
    """What `options_for` gives for programs with convolutions on processors."""
    return _option(jax, _PRODUCTS_ONLY)


def _few_products(ops: Iterable[Operation]) -> bool:
    """Whether the program reads and updates rows of tables and multiplies small matrices in between.

    YNNPACK shares each product out among threads that sleep between two of them, since such a program is short; the hand-over takes as long as the
    product. Programs of products alone keep the threads awake, and are faster with it.
    """
    sizes = [_multiplications(op) for op in ops if op.type in CONTRACTIONS]
    return bool(sizes) and max(sizes) <= _SMALL and any(is_row_update(op.type) for op in ops)


def _multiplications(op: Operation) -> float:
    """How many multiplications a product is; infinitely many where shapes are open."""
    tensors = (*op.inputs[:2], op.outputs[0])
    if not all(t.shape.is_fully_defined() for t in tensors):
        return math.inf
    left, right, out = ([int(d or 0) for d in t.shape.as_list()] for t in tensors)
    # (m k) (k n) (m n) = (m k n)^2, once for each matrix of a batch
    matrices = math.prod(out[:-2])
    whole = math.prod(left) * math.prod(right) * math.prod(out)
    return math.sqrt(whole / matrices) if matrices else 0


def _option(jax: Any, value: str) -> dict[str, Any] | None:
    return {_YNNPACK: value} if _is_known(jax, _YNNPACK, value) else None


@lru_cache
def _is_known(jax: Any, name: str, value: str) -> bool:
    """Whether this version of XLA has the option: compilers refuse what they do not know."""
    try:
        jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
    except Exception as exc:
        _log.debug("XLA's compiler does not take %s=%s: %s", name, value, exc)
        return False
    return True
