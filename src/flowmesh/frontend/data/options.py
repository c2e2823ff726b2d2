"""`Options` of a dataset: which rewritings of the pipeline TensorFlow is asked for (TensorFlow: `tf.data.Options`)."""

from __future__ import annotations

from typing import Any, ClassVar

_DEFAULTS = ("map_and_batch_fusion", "noop_elimination", "shuffle_and_repeat_fusion")


class _Options:
    """A set of named settings; None stands for what TensorFlow chooses."""

    _names: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        for name in self._names:
            object.__setattr__(self, name, self._initial(name))

    def _initial(self, name: str) -> Any:
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._names:
            raise AttributeError(f"Cannot set the property {name} on {type(self).__name__}.")
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def merge(self, options: Any) -> Any:
        """These settings with those of `options` that say something; ValueError where both do, differently."""
        merged = type(self)()
        for name in self._names:
            mine, theirs = getattr(self, name), getattr(options, name)
            if isinstance(mine, _Options):
                object.__setattr__(merged, name, mine.merge(theirs))
            elif mine is None or theirs is None or mine == theirs:
                object.__setattr__(merged, name, theirs if mine is None else mine)
            else:
                raise ValueError(
                    f"Cannot merge incompatible values for option: {name}: {mine!r} and {theirs!r}"
                )
        return merged


class MapVectorizationOptions(_Options):
    """Whether maps are to be vectorized (tf.data.experimental.MapVectorizationOptions); changes nothing here."""

    _names = ("enabled", "use_choose_fastest")


class OptimizationOptions(_Options):
    """Which rewritings are wanted (tf.data.experimental.OptimizationOptions). The fusion of shuffle and repeat changes the order."""

    _rewritings = (
        "filter_fusion",
        "filter_with_random_uniform_fusion",
        "hoist_random_uniform",
        "map_and_batch_fusion",
        "map_and_filter_fusion",
        "map_fusion",
        "map_parallelization",
        "noop_elimination",
        "parallel_batch",
        "shuffle_and_repeat_fusion",
    )
    _names = (
        *_rewritings,
        "apply_default_optimizations",
        "autotune",
        "autotune_algorithm",
        "autotune_cpu_budget",
        "map_vectorization",
    )

    def _initial(self, name: str) -> Any:
        return MapVectorizationOptions() if name == "map_vectorization" else None

    def chosen(self) -> list[str]:
        """The names of the rewritings, sorted."""
        names = {name for name in self._rewritings if getattr(self, name)}
        if getattr(self, "map_vectorization").enabled:  # noqa: B009  (set in a loop)
            names.add("map_vectorization")
        if getattr(self, "apply_default_optimizations") is not False:  # noqa: B009
            names.update(name for name in _DEFAULTS if getattr(self, name) is not False)
        return sorted(names)


class ThreadingOptions(_Options):
    """How many threads a pipeline may use (tf.data.experimental.ThreadingOptions)."""

    _names = ("max_intra_op_parallelism", "private_threadpool_size")


class StatsOptions(_Options):
    """What is measured of a pipeline (tf.data.experimental.StatsOptions): nothing, here."""

    _names = ("aggregator", "prefix", "counter_prefix", "latency_all_edges")

    def _initial(self, name: str) -> Any:
        return "" if name in ("prefix", "counter_prefix") else None


class DistributeOptions(_Options):
    """How a pipeline is shared out (tf.data.experimental.DistributeOptions): not at all, here."""

    _names = ("auto_shard", "num_devices", "_make_stateless")


class Options(_Options):
    """Settings of a dataset, given by `dataset.with_options` (tf.data.Options)."""

    _names = (
        "experimental_deterministic",
        "experimental_distribute",
        "experimental_optimization",
        "experimental_slack",
        "experimental_stats",
        "experimental_threading",
        "experimental_stateful_whitelist",
    )
    _parts: ClassVar[dict[str, type[_Options]]] = {
        "experimental_distribute": DistributeOptions,
        "experimental_optimization": OptimizationOptions,
        "experimental_stats": StatsOptions,
        "experimental_threading": ThreadingOptions,
    }

    def _initial(self, name: str) -> Any:
        part = self._parts.get(name)
        return None if part is None else part()
