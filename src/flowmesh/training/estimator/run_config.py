"""Where and how an Estimator runs (TensorFlow: `tf.estimator.RunConfig`)."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from flowmesh.core.cluster_spec import ClusterSpec
from flowmesh.proto import config_pb2

_REPLACEABLE = (
    "model_dir",
    "tf_random_seed",
    "save_summary_steps",
    "save_checkpoints_steps",
    "save_checkpoints_secs",
    "session_config",
    "keep_checkpoint_max",
    "keep_checkpoint_every_n_hours",
    "log_step_count_steps",
    "device_fn",
    "protocol",
    "session_creation_timeout_secs",
)
_DEFAULT = object()
_CHIEFS = ("chief", "master")


class TaskType:
    """The jobs of a cluster that estimators know."""

    MASTER = "master"
    PS = "ps"
    WORKER = "worker"
    CHIEF = "chief"
    EVALUATOR = "evaluator"


class RunConfig:
    """The settings of an Estimator (TensorFlow: `tf.estimator.RunConfig`).

    The cluster and this process's place in it come from the environment variable TF_CONFIG: JSON with `cluster` (addresses
    by job: chief, worker, ps) and `task` (`type`, `index`). Without it everything runs in this process. Raises ValueError
    for a TF_CONFIG that names no such task, a cluster without a chief, and both intervals of saving given.
    """

    def __init__(
        self,
        model_dir: str | None = None,
        tf_random_seed: int | None = None,
        save_summary_steps: int | None = 100,
        save_checkpoints_steps: Any = _DEFAULT,
        save_checkpoints_secs: Any = _DEFAULT,
        session_config: Any = None,
        keep_checkpoint_max: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000,
        log_step_count_steps: int | None = 100,
        train_distribute: Any = None,
        device_fn: Any = None,
        protocol: str | None = None,
        eval_distribute: Any = None,
        experimental_distribute: Any = None,
        experimental_max_worker_delay_secs: Any = None,
        session_creation_timeout_secs: float = 7200,
    ) -> None:
        if train_distribute or eval_distribute or experimental_distribute:
            raise ValueError(
                "Distribution strategies are not supported. Describe a cluster of chief, worker and ps tasks in TF_CONFIG "
                "and call tf.estimator.train_and_evaluate in each of them."
            )
        if save_checkpoints_steps is _DEFAULT and save_checkpoints_secs is _DEFAULT:
            save_checkpoints_steps, save_checkpoints_secs = None, 600
        elif save_checkpoints_secs is _DEFAULT:
            save_checkpoints_secs = None
        elif save_checkpoints_steps is _DEFAULT:
            save_checkpoints_steps = None
        elif save_checkpoints_steps is not None and save_checkpoints_secs is not None:
            raise ValueError(
                "`save_checkpoints_steps` and `save_checkpoints_secs` cannot be both set."
            )
        environment = json.loads(os.environ.get("TF_CONFIG") or "{}")
        self.model_dir = _model_dir(model_dir, environment.get("model_dir"))
        self.tf_random_seed = tf_random_seed
        self.save_summary_steps = save_summary_steps
        self.save_checkpoints_steps = save_checkpoints_steps
        self.save_checkpoints_secs = save_checkpoints_secs
        self.session_config = session_config
        self.keep_checkpoint_max = keep_checkpoint_max
        self.keep_checkpoint_every_n_hours = keep_checkpoint_every_n_hours
        self.log_step_count_steps = log_step_count_steps
        self.device_fn = device_fn
        self.protocol = protocol
        self.session_creation_timeout_secs = session_creation_timeout_secs
        self._place(environment)

    def _place(self, environment: dict[str, Any]) -> None:
        """This process's place in the cluster that TF_CONFIG describes."""
        task = environment.get("task", {})
        self.cluster_spec = ClusterSpec(environment.get("cluster", {}))
        jobs = self.cluster_spec.as_dict()
        self.service = environment.get("service")
        if not jobs:
            self.task_type, self.task_id = str(task.get("type", TaskType.WORKER)), 0
            self.master = self.evaluation_master = ""
            self.is_chief = True
            self.num_ps_replicas, self.num_worker_replicas = 0, 1
            self.global_id_in_cluster: int | None = 0
            return
        if "type" not in task:
            raise ValueError("If 'cluster' is set in TF_CONFIG, task type must be set.")
        self.task_type, self.task_id = str(task["type"]), int(task.get("index", -1))
        if self.task_id < 0:
            raise ValueError("Task index must be non-negative number in TF_CONFIG.")
        chiefs = [job for job in _CHIEFS if job in jobs]
        if not chiefs:
            raise ValueError(
                "If 'cluster' is set in TF_CONFIG, it must have one 'chief' node: "
                f"its jobs are {', '.join(sorted(jobs))}."
            )
        self.num_ps_replicas = len(jobs.get(TaskType.PS, ()))
        self.num_worker_replicas = len(jobs.get(TaskType.WORKER, ())) + 1
        self.evaluation_master = str(environment.get("eval_session_master", ""))
        if self.task_type == TaskType.EVALUATOR:
            self.master, self.is_chief, self.global_id_in_cluster = "", False, None
            self.num_ps_replicas = self.num_worker_replicas = 0
            self.cluster_spec = ClusterSpec({})
            return
        if self.task_type not in jobs or self.task_id >= len(jobs[self.task_type]):
            raise ValueError(
                f"{self.task_id} is not a valid task_id for task_type {self.task_type} in the cluster_spec "
                f"of TF_CONFIG: {jobs}"
            )
        self.is_chief = self.task_type in _CHIEFS
        address = jobs[self.task_type][self.task_id]
        alone = sum(len(addresses) for addresses in jobs.values()) == 1
        self.master = "" if alone else f"{self.protocol or 'grpc'}://{address}"
        order = [*_CHIEFS, TaskType.WORKER, TaskType.PS]
        before = [len(jobs.get(j, ())) for j in order[: order.index(self.task_type)]]
        self.global_id_in_cluster = sum(before) + self.task_id

    def replace(self, **kwargs: Any) -> RunConfig:
        """A copy with other values; ValueError for a name that cannot be replaced."""
        for name in kwargs:
            if name not in _REPLACEABLE:
                raise ValueError(
                    f"Replacing {name} is not supported. Allowed properties are {_REPLACEABLE}."
                )
        if (
            kwargs.get("save_checkpoints_steps") is not None
            and "save_checkpoints_secs" not in kwargs
        ):
            kwargs["save_checkpoints_secs"] = None
        elif kwargs.get("save_checkpoints_secs") is not None:
            kwargs.setdefault("save_checkpoints_steps", None)
        result = copy.copy(self)
        for name, value in kwargs.items():
            setattr(result, name, value)
        return result

    def session_settings(self) -> Any:
        """The ConfigProto of sessions: the one given, or one in which workers see only the ps and themselves."""
        if self.session_config is not None:
            return self.session_config
        settings = config_pb2.ConfigProto(allow_soft_placement=True)
        if self.num_ps_replicas and self.task_type in (*_CHIEFS, TaskType.WORKER):
            settings.device_filters.extend(
                ["/job:ps", f"/job:{self.task_type}/task:{self.task_id}"]
            )
        return settings


def _model_dir(given: str | None, of_environment: str | None) -> str | None:
    if given and of_environment and given != of_environment:
        raise ValueError(
            f"model_dir is set in both the RunConfig ({given}) and TF_CONFIG ({of_environment}), differently."
        )
    if given == "":
        raise ValueError("model_dir should be non-empty.")
    return given or of_environment
