"""Synchronous training: the gradients of several replicas become one update (TensorFlow: `tf.train.SyncReplicasOptimizer`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from flowmesh.core.dtypes import int32
from flowmesh.core.platform import tf_logging
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variable_collections import global_variables, report_uninitialized_variables
from flowmesh.frontend.variables import RefVariable, Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import control
from flowmesh.ops.accumulator_ops import ConditionalAccumulator, SparseConditionalAccumulator
from flowmesh.ops.data_flow import FIFOQueue
from flowmesh.ops.fill import fill
from flowmesh.ops.state import assign
from flowmesh.training.optimizer import Optimizer
from flowmesh.training.queue_runner import QueueRunner
from flowmesh.training.session_run_hook import SessionRunHook
from flowmesh.training.sync_replicas_hook import QuorumHook, SyncReplicasHook
from flowmesh.training.sync_replicas_quorum import (
    Quorum,
    checked_policy,
    read_report,
    replica_name,
    stall_text,
)


class SyncReplicasOptimizer(Optimizer):
    """Averages the gradients of `replicas_to_aggregate` replicas and applies them as one step of `opt`.

    Each replica sends its gradients to accumulators beside the variables and waits for a token of the next step; the chief's
    queue runner takes the averages, applies them and hands out as many tokens as there are replicas. With
    `total_num_replicas` above `replicas_to_aggregate` the rest are backup workers: a gradient that comes when its step is over
    is dropped. With fewer replicas than gradients, a replica gives several in one step. `variable_averages` (an
    ExponentialMovingAverage) is applied to `variables_to_average` after each update.

    Run `make_session_run_hook` with the session of every worker.

    TensorFlow has no answer to a replica that dies or runs out of data: the others wait for its gradients for ever. With
    `on_replica_loss` (Flowmesh's own; the graph is TensorFlow's without it) every replica takes part by name, and is known to have left
    when its process or session ends. When too few are left for `replicas_to_aggregate` gradients, then

    * `"wait"` waits until a replica comes back,
    * `"continue"` goes on with the gradients of those that are left, as long as they are `min_replicas` or more; below that it waits
      for lost ones to come back, and raises OutOfRangeError (the end of the data) when too many have finished,
    * `"fail"` raises FailedPreconditionError that names the lost replicas, or OutOfRangeError when they have finished.

    A step that waits for `stall_report_secs` is reported (without a policy as well, but then without names) in the chief's log with the name, address and state of each replica that
    it waits for (`stall_report` asks for it at any time), and fails on all replicas with DeadlineExceededError after
    `stall_timeout_secs`. `replica_name` is the device of the worker by default.
    """

    def __init__(
        self,
        opt: Optimizer,
        replicas_to_aggregate: int,
        total_num_replicas: int | None = None,
        variable_averages: Any = None,
        variables_to_average: Any = None,
        use_locking: bool = False,
        name: str = "sync_replicas",
        *,
        on_replica_loss: str | None = None,
        min_replicas: int = 1,
        replica_name: str | None = None,
        stall_report_secs: float = 10.0,
        stall_timeout_secs: float | None = None,
    ) -> None:
        total = replicas_to_aggregate if total_num_replicas is None else total_num_replicas
        self._policy = checked_policy(on_replica_loss, min_replicas, total)
        super().__init__(use_locking, name)
        tf_logging.info(
            "SyncReplicasV2: replicas_to_aggregate=%s; total_num_replicas=%s",
            replicas_to_aggregate,
            total,
        )
        self._opt = opt
        self._replicas_to_aggregate = replicas_to_aggregate
        self._total_num_replicas = total
        self._tokens_per_step = max(total, replicas_to_aggregate)
        self._variable_averages = variable_averages
        self._variables_to_average = variables_to_average
        self._gradients_applied = False
        self._global_step: Any = None
        self._local_step: Any = None
        self._sync_token_queue: Any = None
        self._chief_queue_runner: QueueRunner | None = None
        self._accumulator_list: list[tuple[Any, str]] = []
        self.local_step_init_op: Any = None
        self.chief_init_op: Any = None
        self.ready_for_local_init_op: Any = None
        self._min_replicas = min_replicas
        self._replica_name = replica_name
        self._stall_secs = stall_report_secs, stall_timeout_secs
        self._quorum: Quorum | None = None

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        """As `compute_gradients` of the optimizer inside."""
        return self._opt.compute_gradients(*args, **kwargs)

    def apply_gradients(
        self, grads_and_vars: Iterable[Any], global_step: Any = None, name: str | None = None
    ) -> Any:
        """The operation that a replica runs: gives its gradients, and waits for the next step's token.

        Raises ValueError without variables or without `global_step`, and for gradients of another kind.
        """
        pairs = list(grads_and_vars or ())
        if not pairs:
            raise ValueError("Must supply at least one variable")
        if global_step is None:
            raise ValueError("Global step is required to check staleness")
        self._global_step = global_step
        graph = get_default_graph()
        self._make_local_step(global_step)
        with name_scope(None, self._name):
            if self._policy is not None:
                self._quorum = self._make_quorum(self._policy)
            given, averaged = self._accumulate(pairs)
            with graph.device(global_step.device), name_scope(""):
                update_op = self._opt.apply_gradients(averaged, global_step)
                if self._quorum is None:
                    dtype = global_step.dtype.base_dtype
                    self._sync_token_queue = FIFOQueue(
                        -1, dtype, shapes=(), name="sync_token_q", shared_name="sync_token_q"
                    )
                dummy_queue = FIFOQueue(
                    1, int32, shapes=(), name="dummy_queue", shared_name="dummy_queue"
                )
                with graph.control_dependencies(given):
                    if self._quorum is None:
                        token = self._sync_token_queue.dequeue()
                    else:
                        token = self._quorum.arrive(self._local_step)
                train_op = assign(self._local_step, token)
                sync_op = self._end_step(update_op)
                self._chief_queue_runner = QueueRunner(dummy_queue, [sync_op])
            inits = [self.local_step_init_op]
            for accumulator, device in self._accumulator_list:
                with graph.device(device):
                    inits.append(accumulator.set_global_step(global_step, name="SetGlobalStep"))
            if self._quorum is not None:
                with graph.control_dependencies(inits), name_scope(""):
                    inits = [self._quorum.reset()]
            self.chief_init_op = control.group(*inits)
            self._gradients_applied = True
            return train_op

    def _make_local_step(self, global_step: Any) -> None:
        """The step that this replica's gradients belong to: a local variable on the worker."""
        graph = get_default_graph()
        with graph.colocate_with(control.no_op()):
            make: Any = Variable
            self._local_step = make(
                0,
                trainable=False,
                collections=[GraphKeys.LOCAL_VARIABLES],
                dtype=global_step.dtype.base_dtype,
                name="sync_rep_local_step",
            )
        self.local_step_init_op = assign(self._local_step, global_step)
        if not isinstance(self.local_step_init_op, Operation):
            self.local_step_init_op = self.local_step_init_op.op
        self.ready_for_local_init_op = report_uninitialized_variables(global_variables())

    def _make_quorum(self, policy: str) -> Quorum:
        name = self._replica_name or replica_name(self._local_step.device)
        with name_scope(""):
            return Quorum(
                name,
                self._global_step,
                self._total_num_replicas,
                self._replicas_to_aggregate,
                policy,
                self._min_replicas,
            )

    def _accumulate(self, pairs: list[Any]) -> tuple[list[Any], list[tuple[Any, Any]]]:
        """Accumulators of the gradients: the operations that give to them, and the pairs (average, variable)."""
        given: list[Any] = []
        averaged: list[tuple[Any, Any]] = []
        for grad, variable in pairs:
            with get_default_graph().device(variable.device):
                if grad is None:
                    averaged.append((None, variable))
                    continue
                shared = f"{variable.name}/grad_accum"
                accumulator: Any
                if isinstance(grad, Tensor):
                    accumulator = ConditionalAccumulator(
                        grad.dtype, shape=variable.get_shape(), shared_name=shared
                    )
                    given.append(accumulator.apply_grad(grad, local_step=self._local_step))
                    with self._complete_step():
                        average = accumulator.take_grad(self._needed())
                elif isinstance(grad, IndexedSlices):
                    accumulator = SparseConditionalAccumulator(
                        grad.dtype, shape=(), shared_name=shared
                    )
                    given.append(
                        accumulator.apply_indexed_slices_grad(grad, local_step=self._local_step)
                    )
                    with self._complete_step():
                        average = accumulator.take_indexed_slices_grad(self._needed())
                else:
                    raise ValueError("Unknown grad type!")
                averaged.append((average, variable))
                self._accumulator_list.append((accumulator, variable.device))
        return given, averaged

    def _complete_step(self) -> Any:
        """Where the averages are taken: with a quorum, as soon as that has said that the step is complete."""
        if self._quorum is None:
            return contextlib.nullcontext()
        return get_default_graph().control_dependencies([self._quorum.gathered])

    def _needed(self) -> int:
        """How many gradients an average waits for: with a quorum they have come already."""
        return self._replicas_to_aggregate if self._quorum is None else 1

    def _end_step(self, update_op: Any) -> Any:
        """The operation that does the update, and then gives every replica the step it is to go on with."""
        with get_default_graph().control_dependencies([update_op]):
            sync_op = self._hand_out_tokens() if self._quorum is None else self._quorum.advance()
        if self._variable_averages is None:
            return sync_op
        with get_default_graph().control_dependencies([sync_op]):
            return self._variable_averages.apply(self._variables_to_average)

    def _hand_out_tokens(self) -> Any:
        # The step must be read after the update: the ref itself, which `fill` reads when it runs.
        step = self._global_step
        tokens = fill(
            [self._tokens_per_step], step._ref() if isinstance(step, RefVariable) else step
        )
        return self._sync_token_queue.enqueue_many((tokens,))

    def get_chief_queue_runner(self) -> QueueRunner:
        """The queue runner that the chief runs: it makes the updates. ValueError before `apply_gradients`."""
        if self._chief_queue_runner is None:
            raise ValueError("Should be called after apply_gradients().")
        return self._chief_queue_runner

    def get_slot(self, *args: Any, **kwargs: Any) -> Any:
        """As `get_slot` of the optimizer inside."""
        return self._opt.get_slot(*args, **kwargs)

    def variables(self) -> list[Any]:
        """The variables of the optimizer inside."""
        return self._opt.variables()

    def get_slot_names(self, *args: Any, **kwargs: Any) -> list[str]:
        """As `get_slot_names` of the optimizer inside."""
        return self._opt.get_slot_names(*args, **kwargs)

    def get_init_tokens_op(self, num_tokens: int = -1) -> Any:
        """The operation that puts the first tokens into the queue, as many as gradients are needed by default.

        Raises ValueError before `apply_gradients`, and for fewer tokens than the first step needs.
        """
        if not self._gradients_applied:
            raise ValueError("get_init_tokens_op() should be called after apply_gradients().")
        needed = self._replicas_to_aggregate - self._total_num_replicas
        if num_tokens == -1:
            num_tokens = self._replicas_to_aggregate
        elif num_tokens < needed:
            raise ValueError(
                f"Too few tokens to finish the first step: {num_tokens} (given) vs {needed} (needed)"
            )
        if num_tokens <= 0 or self._quorum is not None:
            return control.no_op(name="no_init_tokens")
        with get_default_graph().device(self._global_step.device), name_scope(""):
            tokens = fill([num_tokens], self._global_step)
            return self._sync_token_queue.enqueue_many((tokens,))

    @property
    def _outlives_chief(self) -> bool:
        """Whether the other replicas are to go on when the chief has no more data."""
        return self._policy == "continue"

    def make_session_run_hook(self, is_chief: bool, num_tokens: int = -1) -> SessionRunHook:
        """The hook that every worker's monitored session needs: the chief's starts the updates and gives out tokens."""
        if self._policy is None:
            return SyncReplicasHook(self, is_chief, num_tokens)
        report_secs, limit_secs = self._stall_secs
        return QuorumHook(self, is_chief, report_secs, limit_secs)

    def stall_report(self, session: Any) -> str:
        """Which replicas the step under way waits for, with their addresses and states; "" while no replica waits.

        Raises ValueError without `on_replica_loss` or before `apply_gradients`.
        """
        if self._quorum is None:
            raise ValueError(
                "stall_report needs on_replica_loss and a call of apply_gradients() before it."
            )
        report = read_report(session, self._quorum)
        return stall_text(report) if report.seconds else ""
