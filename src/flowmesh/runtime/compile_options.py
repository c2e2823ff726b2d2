"""The options of XLA's compiler that a program is compiled with."""

from __future__ import annotations

import logging
from collections.abc import Set
from functools import lru_cache
from typing import Any

_log = logging.getLogger(__name__)

_CONVOLUTIONS = frozenset({"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"})
_PROCESSOR_CONVOLUTIONS = (
    "xla_cpu_experimental_ynn_fusion_type",
    "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
)
"""Which operations YNNPACK gets. Left out here are convolutions, which then are Eigen's: those take half to nine tenths of YNNPACK's time on images."""


def options_for(jax: Any, platform: str, op_types: Set[str]) -> dict[str, Any] | None:
    """The `compiler_options` for a program of these ops on this platform of JAX; None for XLA's defaults."""
    if platform == "cpu" and not _CONVOLUTIONS.isdisjoint(op_types):
        name, value = _PROCESSOR_CONVOLUTIONS
        if _is_known(jax, name, value):
            return {name: value}
    return None


@lru_cache
def _is_known(jax: Any, name: str, value: str) -> bool:
    """Whether this version of XLA has the option: compilers refuse what they do not know."""
    try:
        jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
    except Exception as exc:
        _log.debug("XLA's compiler does not take %s=%s: %s", name, value, exc)
        return False
    return True
