"""Synchronous training: the gradients of several replicas become one update (TensorFlow: `tf.train.SyncReplicasOptimizer`)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from flowmesh.client.session import Session
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
from flowmesh.training.session_manager import SessionManager
from flowmesh.training.session_run_hook import SessionRunHook


class SyncReplicasOptimizer(Optimizer):
    """Averages the gradients of `replicas_to_aggregate` replicas and applies them as one step of `opt`.

    Each replica sends its gradients to accumulators beside the variables and waits for a token of the next step; the chief's
    queue runner takes the averages, applies them and hands out as many tokens as there are replicas. With
    `total_num_replicas` above `replicas_to_aggregate` the rest are backup workers: a gradient that comes when its step is over
    is dropped. With fewer replicas than gradients, a replica gives several in one step. `variable_averages` (an
    ExponentialMovingAverage) is applied to `variables_to_average` after each update.

    Run `make_session_run_hook` with the session of every worker.
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
    ) -> None:
        total = replicas_to_aggregate if total_num_replicas is None else total_num_replicas
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
            given, averaged = self._accumulate(pairs)
            with graph.device(global_step.device), name_scope(""):
                update_op = self._opt.apply_gradients(averaged, global_step)
                dtype = global_step.dtype.base_dtype
                self._sync_token_queue = FIFOQueue(
                    -1, dtype, shapes=(), name="sync_token_q", shared_name="sync_token_q"
                )
                dummy_queue = FIFOQueue(
                    1, int32, shapes=(), name="dummy_queue", shared_name="dummy_queue"
                )
                with graph.control_dependencies(given):
                    token = self._sync_token_queue.dequeue()
                train_op = assign(self._local_step, token)
                sync_op = self._hand_out_tokens(update_op)
                self._chief_queue_runner = QueueRunner(dummy_queue, [sync_op])
            inits = [self.local_step_init_op]
            for accumulator, device in self._accumulator_list:
                with graph.device(device):
                    inits.append(accumulator.set_global_step(global_step, name="SetGlobalStep"))
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
                    average = accumulator.take_grad(self._replicas_to_aggregate)
                elif isinstance(grad, IndexedSlices):
                    accumulator = SparseConditionalAccumulator(
                        grad.dtype, shape=(), shared_name=shared
                    )
                    given.append(
                        accumulator.apply_indexed_slices_grad(grad, local_step=self._local_step)
                    )
                    average = accumulator.take_indexed_slices_grad(self._replicas_to_aggregate)
                else:
                    raise ValueError("Unknown grad type!")
                averaged.append((average, variable))
                self._accumulator_list.append((accumulator, variable.device))
        return given, averaged

    def _hand_out_tokens(self, update_op: Any) -> Any:
        """The operation that does the update, and then gives every replica the step it is to go on with."""
        with get_default_graph().control_dependencies([update_op]):
            # The step must be read after the update: the ref itself, which `fill` reads when it runs.
            step = self._global_step
            tokens = fill(
                [self._tokens_per_step], step._ref() if isinstance(step, RefVariable) else step
            )
            sync_op = self._sync_token_queue.enqueue_many((tokens,))
        if self._variable_averages is None:
            return sync_op
        with get_default_graph().control_dependencies([sync_op]):
            return self._variable_averages.apply(self._variables_to_average)

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
        if num_tokens <= 0:
            return control.no_op(name="no_init_tokens")
        with get_default_graph().device(self._global_step.device), name_scope(""):
            tokens = fill([num_tokens], self._global_step)
            return self._sync_token_queue.enqueue_many((tokens,))

    def make_session_run_hook(self, is_chief: bool, num_tokens: int = -1) -> SessionRunHook:
        """The hook that every worker's monitored session needs: the chief's starts the updates and gives out tokens."""
        return _SyncReplicasHook(self, is_chief, num_tokens)


class _SyncReplicasHook(SessionRunHook):
    """Sets the replica's local step in each session; on the chief also starts the updates."""

    def __init__(self, optimizer: SyncReplicasOptimizer, is_chief: bool, num_tokens: int) -> None:
        self._optimizer = optimizer
        self._is_chief = is_chief
        self._num_tokens = num_tokens
        self._local_init_op: Any = None
        self._init_tokens_op: Any = None
        self._runner: QueueRunner | None = None

    def begin(self) -> None:
        """Adds the chief's nodes to the graph; ValueError before `apply_gradients`."""
        optimizer = self._optimizer
        if not optimizer._gradients_applied:
            raise ValueError(
                "SyncReplicasOptimizer.apply_gradient should be called before using the hook."
            )
        if self._is_chief:
            self._local_init_op = optimizer.chief_init_op
            self._runner = optimizer.get_chief_queue_runner()
            self._init_tokens_op = optimizer.get_init_tokens_op(self._num_tokens)
        else:
            self._local_init_op = optimizer.local_step_init_op

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Sets the steps; RuntimeError when the model's variables are not initialized."""
        manager = SessionManager(
            ready_op=self._optimizer.ready_for_local_init_op, graph=session.graph
        )
        message = manager._not_ready(self._optimizer.ready_for_local_init_op, session)
        if message is not None:
            raise RuntimeError(
                "Init operations did not make model ready for SyncReplicasOptimizer local_init. Init op: "
                f"{self._local_init_op.name}, error: {message}"
            )
        session.run(self._local_init_op)
        if self._init_tokens_op is not None:
            session.run(self._init_tokens_op)
        if self._runner is not None:
            _start_updates(self._runner, session, coord)


def _start_updates(runner: QueueRunner, session: Any, coord: Any) -> None:
    """Starts the threads of the updates.

    On a cluster they have a session of their own, which is closed when the coordinator stops: an update that waits for
    gradients nobody sends any more ends then, and nobody waits for it.
    """
    if not session.sess_str:
        runner.create_threads(session, coord=coord, daemon=True, start=True)
        return
    own = Session(session.sess_str, graph=session.graph, config=session._config)
    runner.create_threads(own, coord=coord, daemon=True, start=True)

    def close_on_stop() -> None:
        coord.wait_for_stop()
        own.close()

    closer = threading.Thread(
        target=close_on_stop, name=f"SyncReplicas-{runner.name}-close", daemon=True
    )
    coord.register_thread(closer)
    closer.start()
