"""One evaluation: metrics over the batches of an input, their values at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.platform import tf_logging
from flowmesh.frontend import metrics
from flowmesh.frontend.tensor_protos import make_tensor_proto
from flowmesh.graph.collections import GraphKeys
from flowmesh.ops import control
from flowmesh.proto.summary_pb2 import Summary
from flowmesh.training.basic_session_run_hooks import FinalOpsHook
from flowmesh.training.estimator.spec import EstimatorSpec
from flowmesh.training.global_step import get_global_step
from flowmesh.training.hooks_support import writer_of
from flowmesh.training.monitored_session import MonitoredSession
from flowmesh.training.session_run_hook import SessionRunArgs, SessionRunHook

LOSS = "loss"


class StopAfterBatches(SessionRunHook):
    """Ends an evaluation after so many batches."""

    def __init__(self, batches: int) -> None:
        self._left = batches

    def before_run(self, run_context: Any) -> SessionRunArgs | None:
        """Counts the batch."""
        self._left -= 1
        return None

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Asks for the end after the last."""
        if self._left <= 0:
            run_context.request_stop()


def metric_ops(spec: EstimatorSpec) -> tuple[Any, dict[str, Any]]:
    """The operation that takes a batch in, and the tensors of all results; ValueError for a metric called `loss`."""
    pairs = dict(spec.eval_metric_ops)
    if LOSS in pairs:
        raise ValueError(
            f'Metric with name "{LOSS}" is not allowed, because Estimator already defines a default metric '
            "with the same name."
        )
    pairs[LOSS] = metrics.mean(spec.loss)
    values = {key: value for key, (value, _) in pairs.items()}
    if GraphKeys.GLOBAL_STEP in values:
        raise ValueError(
            "Metric with name `global_step` is not allowed, because Estimator already defines it."
        )
    values[GraphKeys.GLOBAL_STEP] = get_global_step()
    return control.group(*[update for _, update in pairs.values()]), values


def evaluate_once(
    creator: Any, update: Any, values: dict[str, Any], hooks: Sequence[Any], batches: int | None
) -> dict[str, Any]:
    """The values after `batches` batches, or all of the input."""
    final = FinalOpsHook(values)
    limit = [StopAfterBatches(batches)] if batches is not None else []
    with MonitoredSession(creator, hooks=[*hooks, *limit, final]) as session:
        while not session.should_stop():
            session.run(update)
    return dict(final.final_ops_values)


def write_summary(folder: str, results: dict[str, Any], checkpoint: str | None) -> None:
    """Writes the results as summaries of their global step, and which checkpoint they are of.

    What is neither a number nor a summary is left out with a warning.
    """
    step = int(results[GraphKeys.GLOBAL_STEP])
    shown = ", ".join(f"{key} = {value}" for key, value in sorted(results.items()))
    tf_logging.info("Saving dict for global step %d: %s", step, shown)
    summary = Summary()
    for key in sorted(results):
        value = results[key]
        if key == GraphKeys.GLOBAL_STEP:
            continue
        if isinstance(value, bytes):
            parsed = Summary.FromString(value)
            for each in parsed.value:
                each.tag = key if len(parsed.value) == 1 else f"{key}/{each.tag}"
                summary.value.append(each)
        elif np.ndim(value) == 0 and np.issubdtype(np.asarray(value).dtype, np.number):
            summary.value.add(tag=key, simple_value=float(value))
        else:
            tf_logging.warning(
                "Skipping summary for %s: it is neither a number nor a summary.", key
            )
    writer = writer_of(folder)
    writer.add_summary(summary, step)
    if checkpoint is not None:
        text = Summary.Value(tag="checkpoint_path")
        text.tensor.CopyFrom(make_tensor_proto(checkpoint))
        text.metadata.plugin_data.plugin_name = "text"
        writer.add_summary(Summary(value=[text]), step)
    writer.flush()
