"""Training and evaluation in turn, here or on a cluster (TensorFlow: `tf.estimator.train_and_evaluate`)."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from typing import Any

from flowmesh.core.platform import tf_logging
from flowmesh.distributed.server import Server
from flowmesh.training.basic_session_run_hooks import CheckpointSaverListener
from flowmesh.training.estimator.estimator import Estimator
from flowmesh.training.estimator.run_config import TaskType
from flowmesh.training.estimator.spec import EvalSpec, TrainSpec

_POLL_SECS, _TELL_SECS = 0.2, 30.0


def train_and_evaluate(
    estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec
) -> tuple[Any, list[Any]] | None:
    """Trains a model and evaluates its checkpoints.

    Without a cluster in TF_CONFIG both happen here in turn, and the last results are returned with the exports (none). In a
    cluster every task calls this: a ps serves until it is ended, chief and workers train up to `max_steps`, the evaluator
    evaluates each new checkpoint until one has reached `max_steps`. Raises TypeError for other arguments, ValueError for an
    unknown task type or an evaluator that is not told when to end.
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(
            f"`estimator` must have type `tf.estimator.Estimator`, given {type(estimator)}"
        )
    for spec, kind in ((train_spec, TrainSpec), (eval_spec, EvalSpec)):
        if not isinstance(spec, kind):
            raise TypeError(f"expected a tf.estimator.{kind.__name__}, given {type(spec)}")
    config = estimator.config
    if config.task_type == TaskType.EVALUATOR:
        _evaluate_all(estimator, train_spec, eval_spec)
    elif not config.cluster_spec:
        return _in_turn(estimator, train_spec, eval_spec)
    elif config.task_type == TaskType.PS:
        _server(config).join()
    elif config.task_type in (TaskType.CHIEF, TaskType.MASTER, TaskType.WORKER):
        with _server(config) if config.master else nullcontext():
            _train(estimator, train_spec, [])
    else:
        raise ValueError(f"Task type {config.task_type} is not supported.")
    return None


def _server(config: Any) -> Server:
    return Server(
        config.cluster_spec,
        job_name=config.task_type,
        task_index=config.task_id,
        config=config.session_config,
        protocol=config.protocol or "grpc",
    )


def _train(estimator: Estimator, spec: TrainSpec, listeners: list[Any]) -> None:
    estimator.train(
        spec.input_fn,
        hooks=spec.hooks,
        max_steps=spec.max_steps,
        saving_listeners=[*(spec.saving_listeners or ()), *listeners],
    )


def _evaluate(estimator: Estimator, spec: EvalSpec, path: str | None = None) -> dict[str, Any]:
    return estimator.evaluate(
        spec.input_fn, spec.steps, spec.hooks, checkpoint_path=path, name=spec.name
    )


class _AfterSaving(CheckpointSaverListener):
    """Evaluates after a checkpoint, not more often than every `throttle_secs`."""

    def __init__(self, estimator: Estimator, spec: EvalSpec) -> None:
        self.results: Any = None
        self._estimator, self._spec = estimator, spec
        self._last: float | None = None
        self.begin()

    def begin(self) -> None:
        """The first checkpoint, of an untrained model, is not evaluated."""
        self._saved = self._evaluated = -1
        self._fresh = True

    def after_save(self, session: Any, global_step_value: int) -> None:
        """Evaluates when it is time."""
        self._saved = int(global_step_value)
        if self._fresh:
            self._fresh = False
            self._last = time.monotonic()
            return
        if self._last is not None and time.monotonic() - self._last < self._spec.throttle_secs:
            return
        self._run()

    def end(self, session: Any, global_step_value: int) -> None:
        """Evaluates the last checkpoint."""
        self._saved = int(global_step_value)
        self._run()

    def _run(self) -> None:
        if self._saved == self._evaluated:
            return
        self.results = _evaluate(self._estimator, self._spec)
        self._evaluated, self._last = self._saved, time.monotonic()


def _in_turn(
    estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec
) -> tuple[Any, list[Any]]:
    listener = _AfterSaving(estimator, eval_spec)
    _train(estimator, train_spec, [listener])
    return listener.results, []


def _evaluate_all(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec) -> None:
    """What the evaluator does: each new checkpoint once, until one has reached the last step."""
    if not train_spec.max_steps:
        raise ValueError(
            "The evaluator needs TrainSpec(max_steps=...): it tells when the training has ended."
        )
    pause = threading.Event()
    pause.wait(eval_spec.start_delay_secs)
    done, step, told = None, 0, time.monotonic()
    while step < train_spec.max_steps:
        path = estimator.latest_checkpoint()
        if path is None or path == done:
            if time.monotonic() - told > _TELL_SECS:
                tf_logging.info(
                    "Waiting for a new checkpoint in %s (the last: %s)", estimator.model_dir, done
                )
                told = time.monotonic()
            pause.wait(_POLL_SECS)
            continue
        began = time.monotonic()
        results = _evaluate(estimator, eval_spec, path)
        done, step = path, int(results["global_step"])
        if step < train_spec.max_steps:
            pause.wait(max(0.0, eval_spec.throttle_secs - (time.monotonic() - began)))
    tf_logging.info(
        "Exiting evaluation, global_step=%s >= train max_steps=%s", step, train_spec.max_steps
    )
