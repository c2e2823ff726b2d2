"""Timing a graph inside a program's own tests (TensorFlow: `tf.test.Benchmark`)."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np


class Benchmark:
    """Base of classes whose methods `benchmark...` time something; `run_op_benchmark` times a step."""

    def _get_name(self, overwrite_name: str | None = None) -> str:
        """The name of the calling benchmark method, or the given one, below that of the class."""
        name = overwrite_name
        frame = inspect.currentframe()
        while name is None and frame is not None:
            if frame.f_code.co_name.startswith("benchmark"):
                name = frame.f_code.co_name
            frame = frame.f_back
        if name is None:
            raise ValueError("Unable to determine calling Benchmark function.")
        return f"{type(self).__name__}.{name}"

    def report_benchmark(
        self,
        iters: int | None = None,
        cpu_time: float | None = None,
        wall_time: float | None = None,
        throughput: float | None = None,
        extras: Mapping[str, Any] | None = None,
        name: str | None = None,
        metrics: Any = None,
    ) -> None:
        """Prints one line with what was measured; ValueError outside of a `benchmark...` method without a `name`."""
        values = {
            "name": self._get_name(name),
            "iters": iters,
            "cpu_time": cpu_time,
            "wall_time": wall_time,
            "throughput": throughput,
            **(extras or {}),
            **({"metrics": metrics} if metrics else {}),
        }
        told = ", ".join(f"{key}: {value}" for key, value in values.items() if value is not None)
        print(f"entry {{ {told} }}", file=sys.stderr)

    def run_op_benchmark(
        self,
        sess: Any,
        op_or_tensor: Any,
        feed_dict: Any = None,
        burn_iters: int = 2,
        min_iters: int = 10,
        store_trace: bool = False,
        store_memory_usage: bool = True,
        name: str | None = None,
        extras: Mapping[str, Any] | None = None,
        mbs: float = 0,
    ) -> dict[str, Any]:
        """Runs a tensor or operation `min_iters` times after `burn_iters` that do not count, reports it, and returns a dict with
        `iters`, `wall_time` (the median in seconds), `throughput` (of `mbs` megabytes, in MB/s) and `extras`.
        """
        run = (
            sess.make_callable(getattr(op_or_tensor, "op", op_or_tensor)) if not feed_dict else None
        )
        fetched = getattr(op_or_tensor, "op", op_or_tensor)

        def once() -> float:
            start = time.perf_counter()
            if run is not None:
                run()
            else:
                sess.run(fetched, feed_dict)
            return time.perf_counter() - start

        for _ in range(burn_iters):
            once()
        times = [once() for _ in range(min_iters)]
        median = float(np.median(times))
        found = dict(extras or {})
        found.update(
            {
                "wall_time_mean": float(np.mean(times)),
                "wall_time_stdev": float(np.std(times)),
                "wall_time_min": min(times),
                "wall_time_max": max(times),
            }
        )
        result: dict[str, Any] = {
            "iters": min_iters,
            "wall_time": median,
            "throughput": mbs / median if mbs else None,
            "extras": found,
        }
        self.report_benchmark(name=name, **result)
        return result
