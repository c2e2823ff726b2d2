"""`MasterSession`: a client's graph on the tasks of a cluster: plans by signature, steps by plan."""

from __future__ import annotations

import itertools
import logging
import sys
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.collection import held_back
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import failure, futures, plan
from flowmesh.distributed.fanned_step import FannedStep, WarmFannedStep
from flowmesh.distributed.inline_step import HostedStep, InlineStep, InlineSteps, RepeatedStep
from flowmesh.distributed.interfaces import (
    DeviceAttributes,
    RunGraphCall,
    RunGraphResult,
    WorkerInterface,
)
from flowmesh.distributed.partial_run import PartialRun
from flowmesh.distributed.peers import incarnations
from flowmesh.distributed.plan import Part, Plan, Signature
from flowmesh.distributed.running_step import RunningStep, values_of
from flowmesh.distributed.step_ids import new_step_id, owner
from flowmesh.graph import serde
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.passes.partition import partition
from flowmesh.passes.place import device_mapping, place
from flowmesh.passes.prune import prune, topological_order
from flowmesh.passes.simplify import simplify
from flowmesh.proto import config_pb2
from flowmesh.runtime import ahead
from flowmesh.runtime.hosted import HostedRun

_MAX_PLANS = 4096
_CLOSE_SECONDS = 5.0
_CLEANUP_SECONDS = 10.0
_CAUSE_SECONDS = 0.3
_NO_TRACE = config_pb2.RunOptions.NO_TRACE

_log = logging.getLogger("flowmesh.placement")


class MasterSession:
    """One session of a master. Thread-safe: steps of several threads run side by side."""

    def __init__(
        self,
        handle: str,
        graph: Graph,
        config: Any,
        own_task: str,
        workers: dict[str, WorkerInterface],
        devices: Sequence[DeviceAttributes],
        direct: Collection[str] = (),
    ):
        """`workers` are those of all tasks of the session, `devices` theirs; the tasks `direct` push tensors to each other."""
        self.handle = handle
        self.graph = graph
        self.devices = list(devices)
        self._config = config if config is not None else config_pb2.ConfigProto()
        self._own_task = own_task
        self._workers = workers
        self._incarnations = incarnations(devices)
        self._direct = frozenset(direct)
        self._owner = owner(workers[own_task].identity if own_task in workers else "")
        self._cancellation = CancellationManager()
        self._plan_lock = threading.RLock()
        self._plans: dict[Any, Plan] = {}
        self._placement: dict[Operation, str] = {}
        self._placed_version = -1
        self._logged: set[str] = set()
        self._partial: dict[str, PartialRun] = {}
        self._callables: dict[int, tuple[Signature, Any]] = {}
        self._numbers = itertools.count(1)
        self._running = 0
        self._idle = threading.Condition()
        self._closed = False
        self._refusal: errors.OpError | None = None
        self._inline = InlineSteps(self._cancellation, self._tell_end)
        if self._config.log_device_placement:
            self._say(device_mapping(self.devices))

    # -- running ---------------------------------------------------------------------------------------

    def run_step(
        self,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
        targets: Sequence[str],
        options: Any = None,
        metadata: Any = None,
        cancellation: CancellationManager | None = None,
    ) -> list[Any]:
        """One step; see `MasterInterface.run_step`. Cancelling `cancellation` ends it."""
        deadline = self._deadline(options)
        signature = (tuple(n for n, _ in feeds), tuple(fetches), tuple(targets))
        self._enter()
        try:
            prepared = self._plan(signature, deadline)
            plan.check_feeds(prepared, feeds)
            fed = dict(feeds)
            results = None
            if prepared.fanned is not None and not _traces(options):
                values = [value for _, value in feeds]
                results = prepared.fanned.run(values, cancellation, deadline)
            if results is None:
                results = self._run_parts(prepared, fed, options, deadline, cancellation)
            if metadata is not None:
                self._fill(metadata, prepared, results, options)
            direct = {n: fed[n] for n in fetches if n in fed} if fed else {}
            return values_of(results, fetches, direct)
        finally:
            self._leave()

    def _run_parts(
        self,
        prepared: Plan,
        fed: dict[str, Any],
        options: Any,
        deadline: Deadline,
        outer: CancellationManager | None,
    ) -> list[RunGraphResult]:
        step_id = new_step_id(self._owner)
        trace = _traces(options)
        parts = prepared.parts
        alone = len(parts) == 1 or all(part.task in self._direct for part in parts)

        def make_call(part: Part) -> RunGraphCall:
            return RunGraphCall(
                self.handle,
                part.handle,
                step_id,
                {n: fed[n] for n in part.feeds} if part.feeds else {},
                part.fetches,
                trace,
                cleans_up=alone,
            )

        cancellation = CancellationManager(self._cancellation)
        token = -1 if outer is None else outer.register(cancellation.cancel)
        step = RunningStep(prepared.parts, cancellation, deadline=deadline)
        try:
            step.start(make_call)
            results = step.wait()
        except BaseException:
            self.clean_up(step_id, parts)
            raise
        finally:
            cancellation.close()
            if outer is not None:
                outer.deregister(token)
        if not all(result.cleaned for result in results):
            self.clean_up(step_id, [p for p, r in zip(parts, results) if not r.cleaned])
        return results

    def clean_up(self, step_id: int, parts: Sequence[Part]) -> None:
        """Has all workers forget a step, without waiting for them."""
        for part in parts:
            part.worker.cleanup_graph(step_id, Deadline.after(_CLEANUP_SECONDS))

    def inline_step(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str]
    ) -> InlineStep | HostedStep | WarmFannedStep | None:
        """See `MasterInterface.inline_step`."""
        limit = self._config.operation_timeout_in_ms
        signature = (tuple(feeds), tuple(fetches), tuple(targets))
        prepared = self._plan(signature, Deadline.from_ms(limit))
        if prepared.fanned is not None:
            return prepared.fanned.bound(fetches, prepared.version, limit)
        if len(prepared.parts) != 1:
            return None
        (part,) = prepared.parts
        run = part.worker.inline_run(self.handle, part.handle, feeds, fetches)
        if isinstance(run, HostedRun):
            return HostedStep(self._inline, run, prepared.version, limit)
        return None if run is None else InlineStep(self._inline, run, prepared.version)

    def repeated_step(self, target: str) -> RepeatedStep | None:
        """See `MasterInterface.repeated_step`."""
        deadline = self._deadline(None)
        prepared = self._plan(((), (), (target,)), deadline)
        if len(prepared.parts) != 1:
            return None
        (part,) = prepared.parts
        run = part.worker.many_records(self.handle, part.handle)
        return None if run is None else RepeatedStep(self._inline, run, prepared.version)

    def _tell_end(self) -> None:
        with self._idle:
            self._idle.notify_all()

    def _deadline(self, options: Any) -> Deadline:
        milliseconds = options.timeout_in_ms if options is not None else 0
        return Deadline.from_ms(milliseconds or self._config.operation_timeout_in_ms)

    def _fill(
        self, metadata: Any, prepared: Plan, results: Sequence[RunGraphResult], options: Any
    ) -> None:
        """Fills a RunMetadata with what the options ask for."""
        metadata.Clear()
        if options is None:
            return
        for result in results:
            if result.step_stats is not None:
                metadata.step_stats.MergeFrom(result.step_stats)
        if options.output_partition_graphs:
            for part in prepared.parts:
                metadata.partition_graphs.append(serde.to_graph_def(part.graph))

    def _enter(self) -> None:
        self._cancellation.check()
        if self._refusal is not None:
            raise self._refusal
        with self._idle:
            self._running += 1

    def _leave(self) -> None:
        with self._idle:
            self._running -= 1
            if (self._closed or self._refusal is not None) and not self._running:
                self._idle.notify_all()

    # -- partial runs and callables --------------------------------------------------------------------

    def partial_run_setup(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str]
    ) -> str:
        """Prepares a step in pieces; see `MasterInterface.partial_run_setup`."""
        deadline = self._deadline(None)
        self._enter()
        try:
            signature = (tuple(feeds), tuple(fetches), tuple(targets))
            prepared = self._plan(signature, deadline, deferred=True)
            number = next(self._numbers)
            handle = f"{self.handle}/partial_{number}"
            self._partial[handle] = PartialRun(
                new_step_id(self._owner),
                self.handle,
                prepared,
                plan.resolve(self.graph, signature),
                CancellationManager(self._cancellation),
                self.clean_up,
            )
            return handle
        finally:
            self._leave()

    def partial_run(
        self, partial_handle: str, feeds: Sequence[tuple[str, Any]], fetches: Sequence[str]
    ) -> list[Any]:
        """One piece; see `MasterInterface.partial_run`."""
        self._enter()
        try:
            run = self._partial.get(partial_handle)
            if run is None:
                raise errors.InvalidArgumentError(
                    None, None, "Must run 'setup' before performing partial runs!"
                )
            try:
                values = run.run(feeds, fetches, self._deadline(None))
            except errors.OpError:
                if run.over:
                    self._partial.pop(partial_handle, None)
                raise
            if run.over:
                self._partial.pop(partial_handle, None)
            return values
        finally:
            self._leave()

    def make_callable(self, options: Any) -> int:
        """Prepares a CallableOptions; see `MasterInterface.make_callable`."""
        if options.tensor_connection:
            raise errors.UnimplementedError(
                None,
                None,
                "CallableOptions.tensor_connection is not supported: feed the tensor instead",
            )
        signature = (tuple(options.feed), tuple(options.fetch), tuple(options.target))
        run_options = config_pb2.RunOptions()
        run_options.CopyFrom(options.run_options)
        self._enter()
        try:
            self._plan(signature, self._deadline(run_options))
        finally:
            self._leave()
        number = next(self._numbers)
        self._callables[number] = (signature, run_options)
        return number

    def run_callable(self, callable_id: int, feeds: Sequence[Any], metadata: Any) -> list[Any]:
        """Runs a prepared callable; see `MasterInterface.run_callable`."""
        found = self._callables.get(callable_id)
        if found is None:
            raise errors.InvalidArgumentError(None, None, f"No such callable handle: {callable_id}")
        (names, fetches, targets), options = found
        if len(feeds) != len(names):
            raise errors.InvalidArgumentError(
                None, None, f"Expected {len(names)} feeds for the callable, got {len(feeds)}"
            )
        return self.run_step(list(zip(names, feeds)), fetches, targets, options, metadata)

    def release_callable(self, callable_id: int) -> None:
        """Forgets a callable."""
        self._callables.pop(callable_id, None)

    # -- planning --------------------------------------------------------------------------------------

    def _plan(self, signature: Signature, deadline: Deadline, deferred: bool = False) -> Plan:
        key = (signature, deferred)
        found = self._plans.get(key)
        if found is not None and found.version == self.graph.version:
            return found
        waiting = "another step that registers its graph"
        with futures.held(self._plan_lock, deadline, waiting), held_back():
            found = self._plans.get(key)
            version = self.graph.version
            if found is not None and found.version == version:
                return found
            elements = plan.resolve(self.graph, signature)
            ops = prune(self.graph, elements.fetches, elements.targets, elements.feeds)
            mark = plan.fingerprint(ops)
            if found is not None and found.fingerprint == mark:
                found.version = version
                return found
            made = self._make_plan(signature, version, mark, elements, ops, deadline, deferred)
            stale = [found] if found is not None else []
            if len(self._plans) >= _MAX_PLANS:
                stale.append(self._plans.pop(next(iter(self._plans))))
            self._plans[key] = made
        for old in stale:
            self._deregister(old)
        return made

    def _make_plan(
        self,
        signature: Signature,
        version: int,
        mark: Any,
        elements: plan.Elements,
        ops: Sequence[Operation],
        deadline: Deadline,
        deferred: bool,
    ) -> Plan:
        ahead.expect(self.graph)
        self.place_all()
        fed = set(elements.feeds)
        graphs = partition(
            ops,
            self._placement,
            elements.feeds,
            [t for t in elements.fetches if t not in fed],
            incarnations=self._incarnations,
            deferred=deferred,
            compression=_compression(self._config),
        )
        options = self._config.graph_options.optimizer_options
        if options.opt_level != config_pb2.OptimizerOptions.L0:
            for graph in graphs.values():
                simplify(graph)
        parts = [plan.make_part(task, self._workers[task], g) for task, g in graphs.items()]
        # The part of this process runs in the thread that starts the step: the others go first.
        parts.sort(key=lambda p: (p.task == self._own_task, p.task))
        self._register(parts, deadline)
        checks = tuple(plan.feed_dtype(t) for t in elements.feeds)
        made = Plan(signature, version, mark, parts, checks, deferred)
        if not deferred:
            made.fanned = self._fanned(parts, signature[0])
        return made

    def _fanned(self, parts: Sequence[Part], feeds: Sequence[str]) -> FannedStep | None:
        """The quick way to run these parts, if there is one."""
        if not all(part.task in self._direct for part in parts):
            return None
        own = None
        if parts[-1].task == self._own_task:
            own = parts[-1].worker.staged(self.handle, parts[-1].handle)
            if own is None or len(parts) == 1:
                return None
        return FannedStep(
            self._inline,
            self.handle,
            parts,
            own,
            feeds,
            partial(new_step_id, self._owner),
            self.clean_up,
        )

    def place_all(self) -> None:
        """Places the operations that the graph has gained: all of them, for a variable must not be put where an op that uses
        it later cannot run."""
        with self._plan_lock, self.graph.lock:
            if self._placed_version == self.graph.version:
                return
            ops = topological_order(self.graph.get_operations())
            self._placement = place(
                ops,
                self.devices,
                default=self._own_task,
                allow_soft_placement=self._config.allow_soft_placement,
                assigned=self._placement,
            )
            self._placed_version = self.graph.version
        if self._config.log_device_placement:
            self._log_placement(ops)

    def _log_placement(self, ops: Sequence[Operation]) -> None:
        new = [op for op in ops if op.name not in self._logged]
        self._logged.update(op.name for op in new)
        self._say("\n".join(f"{op.name}: ({op.type}): {self._placement[op]}" for op in new))

    @staticmethod
    def _say(text: str) -> None:
        if text:
            _log.info(text)
            print(text, file=sys.stderr, flush=True)

    def _register(self, parts: Sequence[Part], deadline: Deadline) -> None:
        asked: list[Future[str]] = [
            part.worker.register_graph(self.handle, part.graph, self._config, deadline)
            for part in parts
        ]
        if futures.wait_all(asked, deadline, until_error=True) and not deadline.expired:
            # One has failed. The others get a moment to tell what may be the cause.
            futures.wait_all(asked, Deadline.after(_CAUSE_SECONDS).min(deadline))
        failures = [e for f in asked if f.done() and (e := futures.error_of(f)) is not None]
        late = [part.task for part, future in zip(parts, asked) if not future.done()]
        if late and not failures:
            text = f"Operation timed out while registering the graph with {', '.join(late)}."
            failures.append(errors.DeadlineExceededError(None, None, text))
        if failures:
            for part, future in zip(parts, asked):
                future.add_done_callback(partial(self._forget, part))
            raise failure.root_cause(failures)
        for part, future in zip(parts, asked):
            part.handle = future.result()

    def _forget(self, part: Part, registered: Future[str]) -> None:
        """Has a worker forget a part that is of no use without the others."""
        if futures.error_of(registered) is None:
            deadline = Deadline.after(_CLEANUP_SECONDS)
            part.worker.deregister_graph(self.handle, registered.result(), deadline)

    def _deregister(self, old: Plan) -> None:
        if old.fanned is not None:
            old.fanned.alive = False
        for part in old.parts:
            part.worker.deregister_graph(self.handle, part.handle, Deadline.after(_CLEANUP_SECONDS))

    # -- the end ---------------------------------------------------------------------------------------

    def refuse(self, refusal: errors.OpError) -> None:
        """Lets no new step start."""
        self._refusal = refusal
        self._inline.refused = True

    def drain(self, deadline: Deadline) -> None:
        """Gives the steps under way until the deadline to end."""
        with self._idle:
            self._idle.wait_for(
                lambda: not self._running and not self._inline, deadline.remaining()
            )

    def close(self) -> None:
        """Cancels running steps, waits for them to say so, and has the workers forget the session."""
        with self._idle:
            if self._closed:
                return
            self._closed = True
        self._cancellation.cancel(errors.CancelledError(None, None, "Session was closed."))
        for run in list(self._partial.values()):
            run.end()
        self._partial.clear()
        with self._idle:
            self._idle.wait_for(lambda: not self._running and not self._inline, _CLOSE_SECONDS)
        deadline = Deadline.after(_CLOSE_SECONDS)
        leaving = [
            worker.delete_worker_session(self.handle, deadline) for worker in self._workers.values()
        ]
        futures.wait_all(leaving, deadline)
        self._plans.clear()


def _traces(options: Any) -> bool:
    """Whether the RunOptions ask for a trace."""
    return options is not None and options.trace_level != _NO_TRACE


def _compression(config: Any) -> str:
    """How tensors travel: the session's `transfer_compression`, or TensorFlow's `enable_bfloat16_sendrecv`."""
    asked: str = config.experimental.flowmesh.transfer_compression
    return asked or ("bfloat16" if config.graph_options.enable_bfloat16_sendrecv else "")
