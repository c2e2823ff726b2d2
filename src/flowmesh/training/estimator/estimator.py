"""A model that is a function: training, evaluation and prediction around it (TensorFlow: `tf.estimator.Estimator`)."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flowmesh.core.platform import tf_logging
from flowmesh.frontend.contrib_summaries import summarize_tensor
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import Graph
from flowmesh.graph.random_seed import set_random_seed
from flowmesh.training.basic_session_run_hooks import (
    CheckpointSaverHook,
    LoggingTensorHook,
    NanTensorHook,
    StopAtStepHook,
)
from flowmesh.training.checkpoint_management import latest_checkpoint
from flowmesh.training.checkpoint_reader import load_checkpoint
from flowmesh.training.device_setter import replica_device_setter
from flowmesh.training.estimator import evaluation
from flowmesh.training.estimator.input_pipeline import arguments_of, features_and_labels
from flowmesh.training.estimator.run_config import RunConfig
from flowmesh.training.estimator.spec import EstimatorSpec, ModeKeys
from flowmesh.training.global_step import create_global_step, get_global_step
from flowmesh.training.monitored_session import MonitoredSession, MonitoredTrainingSession
from flowmesh.training.saver import Saver
from flowmesh.training.session_creators import ChiefSessionCreator
from flowmesh.training.session_run_hook import SessionRunHook

_MODEL_ARGUMENTS = ("features", "labels", "mode", "params", "config", "self")
_PS_OPS = (
    "Variable",
    "VariableV2",
    "AutoReloadVariable",
    "VarHandleOp",
    "MutableHashTable",
    "MutableHashTableV2",
    "MutableHashTableOfTensors",
    "MutableHashTableOfTensorsV2",
    "MutableDenseHashTable",
    "MutableDenseHashTableV2",
)


class Estimator:
    """Trains, evaluates and asks the model that `model_fn` builds (TensorFlow: `tf.estimator.Estimator`).

    `model_fn(features, labels, mode, params, config)` (those arguments that it names) returns an EstimatorSpec. Every call
    below builds a graph of its own; the state between calls is the newest checkpoint in `model_dir` (by default that of
    `config`, else a temporary directory). Raises ValueError for a `model_fn` with other arguments or without `features`, and
    where `model_dir` and that of `config` differ.
    """

    def __init__(
        self,
        model_fn: Callable[..., Any],
        model_dir: str | None = None,
        config: RunConfig | None = None,
        params: Mapping[str, Any] | None = None,
        warm_start_from: Any = None,
    ) -> None:
        if warm_start_from is not None:
            raise ValueError(
                "warm_start_from is not supported: restore in the model function, with a tf.train.Saver in "
                "tf.train.Scaffold(init_fn=...)."
            )
        if not callable(model_fn):
            raise ValueError("model_fn must be provided to Estimator.")
        _check_model_function(model_fn, params)
        self._model_fn = model_fn
        self._config = _config_with(config, model_dir)
        self._params = copy.deepcopy(dict(params or {}))

    @property
    def model_dir(self) -> str:
        """Where checkpoints and summaries are."""
        return str(self._config.model_dir)

    @property
    def config(self) -> RunConfig:
        """The settings, a copy."""
        return copy.copy(self._config)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the model function, a copy."""
        return copy.deepcopy(self._params)

    @property
    def model_fn(self) -> Callable[..., Any]:
        """The model function, bound to the parameters: `f(features, labels, mode, config)`."""

        def bound(features: Any, labels: Any, mode: str, config: Any) -> EstimatorSpec:
            return self._model(features, labels, mode, config)

        return bound

    # -- what was learned ----------------------------------------------------------------------------------

    def latest_checkpoint(self) -> str | None:
        """The newest checkpoint, None before the first."""
        return latest_checkpoint(self.model_dir)

    def get_variable_names(self) -> list[str]:
        """The names in the newest checkpoint; ValueError when there is none."""
        return sorted(self._reader().get_variable_to_shape_map())

    def get_variable_value(self, name: str) -> np.ndarray:
        """A variable's value in the newest checkpoint; ValueError when there is no checkpoint."""
        return np.asarray(self._reader().get_tensor(name))

    def _reader(self) -> Any:
        path = self.latest_checkpoint()
        if path is None:
            raise ValueError(f"Couldn't find trained model at {self.model_dir}.")
        return load_checkpoint(path)

    # -- training ------------------------------------------------------------------------------------------

    def train(
        self,
        input_fn: Callable[..., Any],
        hooks: Sequence[Any] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        saving_listeners: Sequence[Any] | None = None,
    ) -> Estimator:
        """Trains for `steps` more steps, or up to the global step `max_steps`, or to the end of the input; returns self.

        Raises ValueError for both of `steps` and `max_steps`, or for one not positive, and NanLossDuringTrainingError.
        """
        if steps is not None and max_steps is not None:
            raise ValueError("Can not provide both steps and max_steps.")
        for name, value in (("steps", steps), ("max_steps", max_steps)):
            if value is not None and value <= 0:
                raise ValueError(f"Must specify {name} > 0, given: {value}")
        if max_steps is not None and self._step_reached() >= max_steps:
            tf_logging.info("Skipping training since max_steps has already saved.")
            return self
        stop = [StopAtStepHook(steps, max_steps)] if steps or max_steps else []
        loss = self._train(input_fn, [*(hooks or []), *stop], list(saving_listeners or []))
        tf_logging.info("Loss for final step: %s.", loss)
        return self

    def _step_reached(self) -> int:
        path = self.latest_checkpoint()
        if path is None:
            return 0
        reader = load_checkpoint(path)
        return (
            int(reader.get_tensor(GraphKeys.GLOBAL_STEP))
            if reader.has_tensor(GraphKeys.GLOBAL_STEP)
            else 0
        )

    def _train(self, input_fn: Any, hooks: list[Any], saving_listeners: list[Any]) -> Any:
        with Graph().as_default() as graph, graph.device(self._device()):
            set_random_seed(self._config.tf_random_seed)
            step = create_global_step(graph)
            features, labels, input_hooks = self._input(input_fn, ModeKeys.TRAIN)
            spec = self._model(features, labels, ModeKeys.TRAIN, self.config)
            summarize_tensor(spec.loss, "loss")
            watching: list[SessionRunHook] = [NanTensorHook(spec.loss)]
            every = self._config.log_step_count_steps
            if every:
                watching.append(
                    LoggingTensorHook({"loss": spec.loss, "step": step}, every_n_iter=every)
                )
            self._add_saver(spec)
            chief = self._chief_hooks(spec, saving_listeners)
            with MonitoredTrainingSession(
                master=self._config.master,
                is_chief=self._config.is_chief,
                checkpoint_dir=self.model_dir,
                scaffold=spec.scaffold,
                hooks=[*input_hooks, *hooks, *watching, *spec.training_hooks],
                chief_only_hooks=[*chief, *spec.training_chief_hooks],
                save_checkpoint_secs=0,
                save_summaries_steps=self._config.save_summary_steps,
                config=self._config.session_settings(),
                max_wait_secs=self._config.session_creation_timeout_secs,
                log_step_count_steps=every,
            ) as session:
                loss = None
                while not session.should_stop():
                    _, loss = session.run([spec.train_op, spec.loss])
            return loss

    def _add_saver(self, spec: EstimatorSpec) -> None:
        """Adds a saver that keeps what the settings say, where neither the scaffold nor the graph has one."""
        if spec.scaffold.saver is None and not _saver_in_graph():
            made = Saver(
                sharded=True,
                max_to_keep=self._config.keep_checkpoint_max,
                keep_checkpoint_every_n_hours=self._config.keep_checkpoint_every_n_hours,
                defer_build=True,
                save_relative_paths=True,
            )
            get_global_step().graph.add_to_collection(GraphKeys.SAVERS, made)

    def _chief_hooks(self, spec: EstimatorSpec, listeners: list[Any]) -> list[Any]:
        config = self._config
        if not config.save_checkpoints_steps and not config.save_checkpoints_secs:
            if listeners:
                raise ValueError(
                    "There should be a CheckpointSaverHook to use saving_listeners. Please set one of the "
                    "RunConfig.save_checkpoints_steps or RunConfig.save_checkpoints_secs."
                )
            return []
        return [
            CheckpointSaverHook(
                self.model_dir,
                save_secs=config.save_checkpoints_secs,
                save_steps=config.save_checkpoints_steps,
                scaffold=spec.scaffold,
                listeners=listeners,
            )
        ]

    # -- evaluation ----------------------------------------------------------------------------------------

    def evaluate(
        self,
        input_fn: Callable[..., Any],
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """The metrics over `steps` batches (None: all) of the model of a checkpoint (the newest by default).

        The dict holds `loss` (the mean over batches), `global_step`, and the model function's metrics; it is also written as
        summaries below `model_dir`, in `eval` or `eval_<name>`. Without a checkpoint the model is initialized.
        """
        if steps is not None and steps <= 0:
            raise ValueError(f"Must specify steps > 0, given: {steps}")
        path = checkpoint_path or self.latest_checkpoint()
        if path is None:
            tf_logging.info(
                "Could not find trained model in model_dir: %s, running initialization to evaluate.",
                self.model_dir,
            )
        with Graph().as_default() as graph:
            set_random_seed(self._config.tf_random_seed)
            create_global_step(graph)
            features, labels, input_hooks = self._input(input_fn, ModeKeys.EVAL)
            spec = self._model(features, labels, ModeKeys.EVAL, self.config)
            update, values = evaluation.metric_ops(spec)
            results = evaluation.evaluate_once(
                ChiefSessionCreator(
                    spec.scaffold,
                    self._config.evaluation_master,
                    self._config.session_settings(),
                    checkpoint_filename_with_path=path,
                ),
                update,
                values,
                [*input_hooks, *(hooks or []), *spec.evaluation_hooks],
                steps,
            )
        evaluation.write_summary(self.eval_dir(name), results, path)
        return results

    def eval_dir(self, name: str | None = None) -> str:
        """Where the summaries of evaluations are."""
        return os.path.join(self.model_dir, f"eval_{name}" if name else "eval")

    # -- prediction ----------------------------------------------------------------------------------------

    def predict(
        self,
        input_fn: Callable[..., Any],
        predict_keys: Any = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        yield_single_examples: bool = True,
    ) -> Iterator[Any]:
        """Yields the predictions for each example of the input, or for each batch.

        A dict of arrays, or an array where the model function predicts a single tensor. Without a checkpoint the model is
        initialized. ValueError when no key of `predict_keys` is there, or predictions of one batch differ in length.
        """
        with Graph().as_default() as graph:
            set_random_seed(self._config.tf_random_seed)
            create_global_step(graph)
            features, _, input_hooks = self._input(input_fn, ModeKeys.PREDICT)
            spec = self._model(features, None, ModeKeys.PREDICT, self.config)
            wanted = _selected(spec.predictions, predict_keys)
            session = MonitoredSession(
                ChiefSessionCreator(
                    spec.scaffold,
                    "",
                    self._config.session_settings(),
                    checkpoint_filename_with_path=checkpoint_path or self.latest_checkpoint(),
                ),
                hooks=[*input_hooks, *(hooks or []), *spec.prediction_hooks],
            )
        with session:
            while not session.should_stop():
                batch = session.run(wanted)
                if not yield_single_examples:
                    yield batch
                elif isinstance(batch, dict):
                    for i in range(_length(batch)):
                        yield {key: value[i] for key, value in batch.items()}
                else:
                    yield from batch

    # -- building ------------------------------------------------------------------------------------------

    def _input(self, input_fn: Callable[..., Any], mode: str) -> tuple[Any, Any, list[Any]]:
        with Graph.device(get_global_step().graph, "/cpu:0"):
            return features_and_labels(input_fn, mode=mode, params=self.params, config=self.config)

    def _model(self, features: Any, labels: Any, mode: str, config: RunConfig) -> EstimatorSpec:
        names = arguments_of(self._model_fn)
        given: dict[str, Any] = {}
        if "labels" in names:
            given["labels"] = labels
        elif labels is not None:
            raise ValueError("model_fn does not take labels, but input_fn returns labels.")
        for name, value in (("mode", mode), ("params", self.params), ("config", config)):
            if name in names:
                given[name] = value
        tf_logging.info("Calling model_fn.")
        spec = self._model_fn(features=features, **given)
        tf_logging.info("Done calling model_fn.")
        if not isinstance(spec, EstimatorSpec):
            raise ValueError("model_fn should return an EstimatorSpec.")
        return spec

    def _device(self) -> Any:
        """In a training variables go to the ps tasks, where there are any; all else runs in this process."""
        config = self._config
        if config.device_fn is not None:
            return config.device_fn
        if not config.num_ps_replicas:
            return None
        return replica_device_setter(
            ps_tasks=config.num_ps_replicas,
            worker_device=f"/job:{config.task_type}/task:{config.task_id}",
            merge_devices=True,
            ps_ops=list(_PS_OPS),
            cluster=config.cluster_spec,
        )


def _saver_in_graph() -> bool:
    return bool(get_global_step().graph.get_collection(GraphKeys.SAVERS))


def _check_model_function(model_fn: Callable[..., Any], params: Any) -> None:
    names = arguments_of(model_fn)
    if "features" not in names:
        raise ValueError(f"model_fn ({model_fn}) must include features argument.")
    if params is not None and "params" not in names:
        raise ValueError(
            f"model_fn ({model_fn}) does not include params argument, but params ({params}) is passed to Estimator."
        )
    others = set(names) - set(_MODEL_ARGUMENTS)
    if others:
        raise ValueError(f"model_fn ({model_fn}) has following not expected args: {sorted(others)}")


def _config_with(config: RunConfig | None, model_dir: str | None) -> RunConfig:
    if config is None:
        config = RunConfig()
    elif not isinstance(config, RunConfig):
        raise ValueError(f"config must be an instance of `RunConfig`, but provided {config}.")
    if model_dir and config.model_dir and model_dir != config.model_dir:
        raise ValueError(
            "`model_dir` are set both in constructor and `RunConfig`, but with different values. "
            f"In constructor: '{model_dir}', in `RunConfig`: '{config.model_dir}' "
        )
    folder = model_dir or config.model_dir
    if folder is None:
        folder = tempfile.mkdtemp()
        tf_logging.warning("Using temporary folder as model directory: %s", folder)
    return config.replace(model_dir=folder)


def _selected(predictions: Any, keys: Any) -> Any:
    if not keys:
        return predictions
    if not isinstance(predictions, dict):
        raise ValueError("predict_keys argument is not valid in case of non-dict predictions.")
    names = {keys} if isinstance(keys, str) else set(keys)
    chosen = {k: v for k, v in predictions.items() if k in names}
    if not chosen:
        raise ValueError(
            f"Expected to run at least one output from {sorted(predictions)}, provided {sorted(names)}."
        )
    return chosen


def _length(batch: dict[str, Any]) -> int:
    lengths = {key: value.shape[0] for key, value in batch.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"Batch length of predictions should be same. They are: {lengths}")
    return int(next(iter(lengths.values())))
