"""Running a part: dataflow over the units of its schedule.

A unit runs when all it waits for is done, in the thread that made it ready: the caller's, or the one that completed a
receive or the Future of a host op. Nobody waits for anything in between: a blocked dequeue holds no thread. Heavy clusters that are ready
together run on the compute pool side by side, slow ops (files, Python functions) on a pool of their own; none of them runs in a thread
that merely delivered a value, nor does a cluster that may have to be compiled.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.errors import OpError
from flowmesh.graph.graph import Graph
from flowmesh.passes.loop_op import is_spread
from flowmesh.passes.loops import raise_loops
from flowmesh.passes.op_traits import Kind
from flowmesh.resources.manager import ResourceManager
from flowmesh.resources.variable import Variable
from flowmesh.runtime import timer
from flowmesh.runtime.cluster_runner import ClusterRunner
from flowmesh.runtime.cost import HEAVY
from flowmesh.runtime.device import Device
from flowmesh.runtime.execution import execution_of
from flowmesh.runtime.failures import annotate, timed_out
from flowmesh.runtime.functions import FunctionLibrary
from flowmesh.runtime.host_ops import HostRunner, VariableSource
from flowmesh.runtime.loop_runner import LoopRunner
from flowmesh.runtime.numpy_exec import label
from flowmesh.runtime.pool import WorkPool, shared_pool, slow_pool
from flowmesh.runtime.queue_failures import tell_queues
from flowmesh.runtime.schedule import Schedule, Task, make_schedule
from flowmesh.runtime.step import SessionState, StepContext
from flowmesh.runtime.values import DEAD, read_only_view, shared_copy, to_host

_MAX_DEPTH = 16
_depth = threading.local()


class Executable:
    """A part of a graph, ready to be run any number of times, also at the same time. Thread-safe."""

    def __init__(
        self,
        part: Graph,
        devices: Iterable[Device],
        resources: ResourceManager,
        session_state: SessionState | None = None,
        config: Any = None,
        *,
        files: Any = None,
        log: Any = None,
    ) -> None:
        """Schedules the part.

        Args:
          part: the graph; each op names one of `devices` in full.
          devices: the devices of the task.
          resources: its variables, queues ...
          session_state: what the session keeps for its random ops and host ops.
          config: a ConfigProto: `inter_op_parallelism_threads`, `experimental.flowmesh.execution` and `matmul_precision`.
          files, log: handed to host ops.

        Raises InvalidArgumentError for an op on a device that is not in `devices`, or a word in `config` that is not known.
        """
        self.resources = resources
        self.session_state = session_state or SessionState()
        self.schedule = make_schedule(raise_loops(part))
        self.functions: FunctionLibrary | None = None
        """The functions that ops of the part call."""
        if part.functions:
            self.functions = FunctionLibrary(
                part.functions,
                lambda body: Executable(
                    body, self._devices.values(), resources, None, config, files=files, log=log
                ),
            )
        self._files, self._log, self._config = files, log, config
        self._devices = {d.name: d for d in devices}
        self._how = execution_of(config)
        threads = int(config.inter_op_parallelism_threads) if config is not None else 0
        self.pool: WorkPool = shared_pool(threads)
        self.sources = [(slot, VariableSource(op, resources)) for slot, op in self.schedule.sources]
        self._awaits = any(task.kind is Kind.RECV for task in self.schedule.tasks)
        self.clusters: dict[int, ClusterRunner] = {}
        self.hosts: dict[int, HostRunner] = {}
        self.loops: dict[int, LoopRunner] = {}
        self.slow: set[int] = set()
        """Units that may take long or block."""
        for task in self.schedule.tasks:
            self._add(task)
        self.shared = _shared_arguments(self.schedule, self.clusters)
        """The slots of fed values that several clusters read."""

    @property
    def fillers(self) -> list[Task]:
        """The enqueues, whose queues are told when a run fails."""
        return [t for t in self.schedule.tasks if getattr(t.op.definition, "fills_queue", False)]

    def with_state(self, session_state: SessionState) -> Executable:
        """The same executable with the random states and host ops' states of another session."""
        other = copy.copy(self)
        other.session_state = session_state
        other.clusters = {i: runner.fresh() for i, runner in self.clusters.items()}
        other.loops = {i: other._loop(self.schedule.tasks[i]) for i in self.loops}
        other.hosts = {i: other._host(self.schedule.tasks[i]) for i in self.hosts}
        return other

    def _add(self, task: Task) -> None:
        """Makes what runs a unit."""
        device = self._device(task)
        if task.program is not None:
            label = f"cluster_{task.index}"
            self.clusters[task.index] = ClusterRunner(
                task.program, device, self._how, task.traceable, label, self._awaits
            )
            if any(op.definition.slow for op in task.program.ops):
                self.slow.add(task.index)
        elif task.kind is Kind.LOOP:
            self.loops[task.index] = self._loop(task)
        elif task.kind is Kind.HOST:
            self.hosts[task.index] = self._host(task)
            if task.op.definition.slow:
                self.slow.add(task.index)

    def _loop(self, task: Task) -> LoopRunner:
        def make(graph: Graph) -> Executable:
            return Executable(
                graph,
                self._devices.values(),
                self.resources,
                self.session_state,
                self._config,
                files=self._files,
                log=self._log,
            )

        return LoopRunner(
            task.op,
            self._device(task),
            self._how,
            self.session_state,
            f"loop_{task.index}",
            make,
            task.reads_refs,
        )

    def _host(self, task: Task) -> HostRunner:
        return HostRunner(
            task, self.resources, self.session_state, self._files, self._log, self.functions
        )

    @property
    def feed_keys(self) -> dict[str, str]:
        """The rendezvous key under which each feed of a partial run is awaited, by tensor name."""
        return dict(self.schedule.feed_keys)

    @property
    def fetch_keys(self) -> dict[str, str]:
        """The rendezvous key under which each fetch of a partial run is sent, by tensor name."""
        return dict(self.schedule.fetch_keys)

    def run(
        self, step: StepContext, args: Mapping[str, Any] | None = None
    ) -> Future[dict[str, Any]]:
        """Starts a run; the Future gives the results by tensor name.

        `args` are the values of the fed tensors by name. Work is done in this thread as far as it is ready. The Future
        fails with the first OpError, naming the node; the step is cancelled and its rendezvous aborted then.
        """
        run = _Run(self, step)
        run.start(args or {})
        return run.future

    def _device(self, task: Task) -> Device:
        for op in task.ops:
            if op.device not in self._devices:
                raise errors.InvalidArgumentError(
                    None,
                    op,
                    f"Node {op.name} was placed on {op.device or 'no device'}, which is not a device of this task: "
                    + ", ".join(sorted(self._devices)),
                )
        return self._devices[task.device]


def _shared_arguments(schedule: Schedule, clusters: Iterable[int]) -> set[int]:
    readers = Counter(slot for i in clusters for slot in set(schedule.tasks[i].inputs))
    return {slot for slot in schedule.arguments.values() if readers[slot] > 1}


class _Run:
    """One run of an executable."""

    __slots__ = (
        "_cancel_token",
        "_dead",
        "_error",
        "_executable",
        "_finished",
        "_left",
        "_lock",
        "_pending",
        "_running",
        "_slots",
        "_step",
        "_timer",
        "_waiting",
        "future",
    )

    def __init__(self, executable: Executable, step: StepContext) -> None:
        schedule = executable.schedule
        self.future: Future[dict[str, Any]] = Future()
        self._executable = executable
        self._step = step
        self._lock = threading.Lock()
        self._slots = list(schedule.template)
        self._pending = [task.pending for task in schedule.tasks]
        self._dead = bytearray(len(schedule.tasks)) if schedule.may_die else None
        self._left = len(schedule.tasks)
        self._running = 0
        self._waiting: dict[int, None] = {}
        self._error: OpError | None = None
        self._finished = False
        self._timer: int | None = None
        self._cancel_token: int | None = None

    # -- beginning and end -----------------------------------------------------------------------------

    def start(self, args: Mapping[str, Any]) -> None:
        schedule = self._executable.schedule
        self._running = 1  # holds the end off until everything that is ready has been started
        try:
            self._set_arguments(args)
            for slot, source in self._executable.sources:
                self._slots[slot] = source.find()
        except Exception as exc:
            self._fail(annotate(None, exc))
            self._leave()
            return
        self._note_constants()
        self._cancel_token = self._step.cancellation.register(self._cancelled)
        deadline = self._step.deadline.at
        # Where time is limited, what may block does not hold the caller's thread.
        held = deadline is not None and self._executable.slow
        self._drive(list(schedule.roots), at_home=self._step.at_home and not held)
        self._leave()
        if not self._finished and deadline is not None:
            self._set_timer(deadline)

    def _set_arguments(self, args: Mapping[str, Any]) -> None:
        schedule = self._executable.schedule
        for name, slot in schedule.arguments.items():
            try:
                value = args[name]
                if slot in self._executable.shared:
                    value = shared_copy(value)
                self._slots[slot] = read_only_view(value)
            except KeyError:
                op = schedule.argument_ops[name]
                raise errors.InvalidArgumentError(
                    None, op, f"No value was given for the fed tensor {name}"
                ) from None

    def _note_constants(self) -> None:
        """A trace shows results that need no computing, too."""
        trace = self._step.trace
        if trace is None:
            return
        now = trace.now()
        for _, slot, op in self._executable.schedule.results:
            if op.type == "Const":
                trace.record(op.device, op.name, label(op), now, now, [self._slots[slot]])

    def _set_timer(self, at: float) -> None:
        number = timer.schedule(at, self._expire)
        with self._lock:
            if not self._finished:
                self._timer = number
                return
        timer.cancel(number)

    def _expire(self) -> None:
        tasks = self._executable.schedule.tasks
        with self._lock:
            waiting = sorted(self._waiting)
        self._fail(timed_out(tasks[number] for number in waiting))

    def _cancelled(self, error: OpError) -> None:
        """The step is ended from elsewhere; when its time is over, this part says what it was waiting for."""
        if error.error_code == errors.DEADLINE_EXCEEDED:
            self._expire()
        else:
            self._fail(error)

    def _fail(self, error: OpError) -> None:
        """Notes the first error, and has everything that waits on behalf of the step give up."""
        with self._lock:
            if self._error is not None or self._finished:
                return
            self._error = error
            self._running += 1  # the end waits until the step has been cancelled
        tell_queues(self._executable, self._slots, self._step, error)
        self._step.rendezvous.abort(error)
        self._step.cancellation.cancel(error)
        self._leave()

    def _enter(self) -> bool:
        """Begins to work in this thread; False when the run has failed."""
        with self._lock:
            if self._error is not None or self._finished:
                return False
            self._running += 1
            return True

    def _leave(self) -> None:
        """Ends to work in this thread; the last one out ends the run, when nothing is left or it failed."""
        with self._lock:
            self._running -= 1
            if self._running or self._finished or (self._left and self._error is None):
                return
            self._finished = True
            error, number, token = self._error, self._timer, self._cancel_token
        if number is not None:
            timer.cancel(number)
        if token is not None:
            self._step.cancellation.deregister(token)
        if error is None:
            try:
                results = self._results()
            except Exception as exc:
                error = annotate(None, exc)
        try:
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(results)
        except InvalidStateError:  # the caller gave up on the run
            pass

    def _results(self) -> dict[str, Any]:
        """The results; refs are read only now, after all updates of the step."""
        results = {}
        for number, (name, slot, op) in enumerate(self._executable.schedule.results):
            value = self._slots[slot]
            if isinstance(value, Variable):
                try:
                    value = value.read()
                except OpError as exc:
                    raise annotate(op, exc) from exc
            elif value is DEAD and not self._step.iteration:
                raise errors.InvalidArgumentError(None, op, f"Retval[{number}] does not have value")
            results[name] = value
        return results

    # -- the loop ------------------------------------------------------------------------------------------

    def _drive(self, ready: list[int], at_home: bool) -> None:
        """Runs ready units, and those that become ready, in this thread; heavy ones partly or all elsewhere.

        `at_home`: whether the thread belongs to the run's caller, rather than to who delivered a value.
        """
        tasks = self._executable.schedule.tasks
        heavy: list[int] = []
        stack = ready[::-1]
        while self._error is None:
            if stack:
                number = stack.pop()
                if self._is_heavy(number, at_home):
                    heavy.append(number)
                    continue
            elif heavy and at_home:
                number = heavy.pop()
                self._hand_over(heavy)
                heavy = []
            else:
                break
            stack.extend(self._run_task(tasks[number])[::-1])
        self._hand_over(heavy)

    def _is_heavy(self, number: int, at_home: bool) -> bool:
        executable = self._executable
        runner = executable.clusters.get(number)
        if runner is None or number in executable.slow:
            return number in executable.slow or number in executable.loops
        if runner.work >= HEAVY or number in executable.loops:
            return True
        if at_home:
            return False
        inputs = executable.schedule.tasks[number].inputs
        return runner.may_take_long(self._slots, inputs, HEAVY)

    def _hand_over(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if self._enter():
                pool = slow_pool() if number in self._executable.slow else self._executable.pool
                pool.submit(lambda number=number: self._work(number))  # type: ignore[misc]

    def _work(self, number: int) -> None:
        """A heavy unit on a thread of the pool."""
        try:
            after = self._run_task(self._executable.schedule.tasks[number])
            self._drive(after, at_home=True)
        finally:
            self._leave()

    def _run_task(self, task: Task) -> list[int]:
        """Runs or starts one unit; returns the units that have become ready."""
        try:
            if self._dead is not None and self._is_dead(task):
                return self._skip(task)
            outputs = self._outputs(task)
        except Exception as exc:
            self._fail(annotate(task.op, exc))
            return []
        if isinstance(outputs, Future):
            return self._await(task, outputs)
        return self._complete(task, outputs)

    def _outputs(self, task: Task) -> Any:
        """The outputs of a unit, in the order of its slots, or a Future of them."""
        slots = self._slots
        inputs = [slots[i] for i in task.inputs]
        kind = task.kind
        if task.program is not None:
            runner = self._executable.clusters[task.index]
            return runner.run(inputs, self._executable.session_state, self._step.trace)
        if kind is Kind.HOST:
            return self._executable.hosts[task.index].run(inputs, self._step)
        if kind is Kind.LOOP:
            return self._executable.loops[task.index].run(inputs, self._step)
        if kind is Kind.SEND:
            return self._send(task, inputs[0])
        if kind is Kind.RECV:
            return self._step.rendezvous.recv_async(self._step.key(task.key))
        if kind is Kind.SWITCH:
            value = self._plain(task, 0, inputs[0])
            return (DEAD, value) if bool(to_host(inputs[1])) else (value, DEAD)
        if kind is Kind.MERGE:
            return self._merge(task, inputs)
        return (VariableSource(task.op, self._executable.resources).find(),)

    def _plain(self, task: Task, position: int, value: Any) -> Any:
        """An input of a unit that takes values: what a ref refers to is read now."""
        tensor = task.op.inputs[position]
        arg = task.op.definition.flat_input_args()[position]
        if isinstance(value, Variable) and tensor.dtype._is_ref_dtype and not arg.ref:
            try:
                return value.read()
            except OpError as exc:
                raise annotate(tensor.op, exc) from exc
        return value

    def _send(self, task: Task, value: Any) -> tuple[()]:
        self._step.rendezvous.send(self._step.key(task.key), self._plain(task, 0, value))
        return ()

    def _merge(self, task: Task, inputs: Sequence[Any]) -> tuple[Any, Any]:
        """The live input and its number."""
        for number, value in enumerate(inputs):
            if value is not DEAD:
                return self._plain(task, number, value), np.asarray(number, np.int32)
        raise errors.InternalError(None, task.op, f"Merge {task.op.name} has no live input")

    def _await(self, task: Task, future: Future[Any]) -> list[int]:
        """Goes on at once when the future is done, else in the thread that completes it."""
        if not future.done():
            with self._lock:
                self._waiting[task.index] = None
            future.add_done_callback(lambda done: self._arrived(task, done))
            return []
        return self._take(task, future)

    def _arrived(self, task: Task, future: Future[Any]) -> None:
        with self._lock:
            self._waiting.pop(task.index, None)
        if not self._enter():
            return
        depth = getattr(_depth, "value", 0)
        if depth >= _MAX_DEPTH:
            self._executable.pool.submit(lambda: self._continue(task, future))
            return
        _depth.value = depth + 1
        try:
            self._continue(task, future)
        finally:
            _depth.value = depth

    def _continue(self, task: Task, future: Future[Any]) -> None:
        try:
            self._drive(self._take(task, future), at_home=False)
        finally:
            self._leave()

    def _take(self, task: Task, future: Future[Any]) -> list[int]:
        try:
            value = future.result()
            if task.kind is Kind.RECV:
                value, is_dead = value
                if is_dead:
                    return self._skip(task)
                outputs: Sequence[Any] = (value,)
            elif task.kind is Kind.LOOP:
                outputs = value
            else:
                outputs = self._executable.hosts[task.index].outputs(value)
        except Exception as exc:
            self._fail(annotate(task.op, exc))
            return []
        return self._complete(task, outputs)

    def _complete(self, task: Task, outputs: Sequence[Any]) -> list[int]:
        for slot, value in zip(task.outputs, outputs):
            if slot >= 0:
                self._slots[slot] = value
        ready = []
        pending = self._pending
        with self._lock:
            self._left -= 1
            for number in task.successors:
                pending[number] -= 1
                if not pending[number]:
                    ready.append(number)
        return ready

    # -- dead values -----------------------------------------------------------------------------------------

    def _is_dead(self, task: Task) -> bool:
        if task.kind is Kind.LOOP and is_spread(task.op):
            return False
        dead = self._dead
        if dead is not None and any(dead[number] for number in task.controls):
            return True
        slots = self._slots
        if task.kind is Kind.MERGE:
            return all(slots[i] is DEAD for i in task.inputs)
        return any(slots[i] is DEAD for i in task.inputs)

    def _skip(self, task: Task) -> list[int]:
        """Passes a dead unit over; a dead send tells the other side."""
        assert self._dead is not None
        self._dead[task.index] = 1
        if task.kind is Kind.SEND:
            try:
                self._step.rendezvous.send(self._step.key(task.key), None, is_dead=True)
            except OpError as error:
                self._fail(error)
                return []
        return self._complete(task, [DEAD] * len(task.outputs))
