"""What a master and a worker can be asked to do: the same methods in process and over gRPC.

Arguments are plain objects; messages only where programs hold messages themselves (ConfigProto, RunOptions, RunMetadata,
ServerDef). Methods of a worker return Futures, for a master asks many workers at once; none of them blocks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.graph.graph import Graph

NEVER = Deadline()


@dataclass(frozen=True)
class DeviceAttributes:
    """A device of some task, as far as other tasks need to know it."""

    name: str
    device_type: str
    memory_limit: int = 0
    incarnation: int = 0
    physical_device_desc: str = ""
    bus_id: int = 0
    numa_node: int = 0


@dataclass
class RunGraphCall:
    """One run of a registered graph, or one piece of a run that is fed and fetched piecewise."""

    session_handle: str
    graph_handle: str
    step_id: int
    feeds: Mapping[str, Any] = field(default_factory=dict)
    """Values by tensor name."""
    fetches: Sequence[str] = ()
    """Names of the tensors whose values are wanted."""
    trace: bool = False
    partition_graphs: bool = False
    partial: bool = False
    last: bool = False
    """Whether this is the last piece: the run is over when it returns."""
    cleans_up: bool = False
    """Whether nobody comes for tensors of the step once it has succeeded here: the worker forgets it then by itself."""
    at_home: bool = True
    """Whether the calling thread may do heavy work."""


@dataclass(frozen=True)
class StartCall:
    """What the runs of a registered graph have in common. Each cleans up when it has succeeded."""

    session_handle: str
    graph_handle: str
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]


StepSink: TypeAlias = Callable[[dict[str, Any] | None, OpError | None], None]
"""Told the values of the fetches by name, or the error."""


class StartedPart(Protocol):
    """A part of a step that is under way."""

    def cancel(self, error: OpError) -> object:
        """Ends it with this error, which its sink is told at once."""

    def expire(self, error: OpError) -> object:
        """Ends it because its time is over: its sink is told what it was waiting for, as soon as the task says so."""


class PlacedCopy(Protocol):
    """A copy of an array where another task can read it; it is sent in the place of the array. One that is not sent is found again, when the
    next copy is made, once nobody holds it."""

    link: Any
    """The connection whose other side can read it."""
    array: Any
    """What it is a copy of, once it is about to be sent."""

    def give_back(self) -> None:
        """It will not be sent: its memory may be used for others at once."""


class ReadyPush(Protocol):
    """Tensors of the next step, in a message that only lacks the number of the step."""

    link: Any
    """The connection on which it goes."""

    def send(self, step_id: int) -> bool:
        """Sends it at once, also from a thread that keeps messages back for a while; False, with nothing done, when it would have to wait
        for others. Once only."""


@dataclass
class RunGraphResult:
    """What a run gave back."""

    tensors: dict[str, Any]
    step_stats: Any = None
    """A StepStats message, when traced."""
    partition_graphs: Sequence[Any] = ()
    """GraphDef messages, when asked for."""
    cleaned: bool = False
    """Whether the worker has forgotten the step already."""


class WorkerInterface(ABC):
    """A task that runs parts of graphs (TensorFlow: `WorkerService`)."""

    @abstractmethod
    def get_status(
        self, deadline: Deadline = NEVER, wait: bool = False
    ) -> Future[list[DeviceAttributes]]:
        """The devices of the task; with `wait`, keeps trying to reach it until the deadline."""

    @abstractmethod
    def create_worker_session(
        self,
        session_handle: str,
        server_def: Any,
        isolate: bool,
        deadline: Deadline = NEVER,
        master: tuple[str, int] = ("", 0),
    ) -> Future[None]:
        """Prepares the task for a master's session. `server_def` may name another cluster than the task's own, or be None;
        with `isolate` the session has variables, queues and so on of its own. `master` is the master's task and the incarnation
        of its process: sessions that another process of that task left behind are forgotten."""

    @abstractmethod
    def delete_worker_session(
        self, session_handle: str, deadline: Deadline = NEVER
    ) -> Future[None]:
        """Forgets a session, its graphs and the state that is its own."""

    @abstractmethod
    def register_graph(
        self, session_handle: str, part: Graph, config: Any, deadline: Deadline = NEVER
    ) -> Future[str]:
        """Prepares a graph for running; returns its handle. AbortedError when the session is not known there."""

    @abstractmethod
    def deregister_graph(
        self, session_handle: str, graph_handle: str, deadline: Deadline = NEVER
    ) -> Future[None]:
        """Forgets a graph; AbortedError when it is not known."""

    @abstractmethod
    def run_graph(
        self, call: RunGraphCall, cancellation: CancellationManager, deadline: Deadline = NEVER
    ) -> Future[RunGraphResult]:
        """Runs a registered graph; cancelling ends it with the reason given."""

    def inline_run(
        self, session_handle: str, graph_handle: str, feeds: Sequence[str], fetches: Sequence[str]
    ) -> Any:
        """An `InlineRun` of a registered graph that never has to wait, or a `HostedRun` of one that can wait in the caller's thread, for a
        worker in this process; else None."""
        return None

    def many_records(self, session_handle: str, graph_handle: str) -> Any:
        """A `ManyRecords` of a registered graph, for a worker in this process; None for a graph that is not of that kind, or not yet known to be."""
        return None

    def staged(self, session_handle: str, graph_handle: str) -> Any:
        """A `StagedPart` of a registered graph that can be run in stages, for a worker in this process; else None."""
        return None

    @abstractmethod
    def cleanup_graph(self, step_id: int, deadline: Deadline = NEVER) -> Future[None]:
        """Ends what is left of a step: its tensors are dropped, its receivers fail."""

    @abstractmethod
    def cleanup_all(self, containers: Sequence[str], deadline: Deadline = NEVER) -> Future[None]:
        """Clears resource containers, the default one when none is named."""

    @abstractmethod
    def recv_tensor(
        self, step_id: int, key: str, cancellation: CancellationManager
    ) -> Future[tuple[Any, bool]]:
        """The tensor that the step sends under this rendezvous key, and whether it is dead."""

    @abstractmethod
    def logging(
        self, enable: bool, disable: bool, clear: bool, fetch_step_ids: Sequence[int]
    ) -> Future[list[tuple[int, Any]]]:
        """Switches the log of served tensors, and returns its StepStats for some steps."""

    @abstractmethod
    def tracing(self, duration: float) -> Future[None]:
        """Starts a trace of the whole task: UnimplementedError, as in TensorFlow."""

    def close(self) -> None:  # noqa: B027  # most have nothing to give back
        """Gives back what the connection to the worker holds."""

    # -- tensors that are sent without being asked for ------------------------------------------------------

    @property
    def identity(self) -> str:
        """What tells this life of the task's server from all others, if tensors can be pushed to it now; else ""."""
        return ""

    def use_direct(
        self, session_handle: str, identities: Mapping[str, str], deadline: Deadline = NEVER
    ) -> Future[None]:
        """Tells the tasks of a session that push tensors to each other, with the identities of their servers."""
        raise NotImplementedError

    @property
    def link(self) -> Any:
        """The connection on which the task's answers come, if the waiting thread may read from it."""
        return None

    def meet(self, identity: str) -> Future[None]:
        """Connects to the task's server, to push and be pushed to; UnavailableError when it is not the one that is meant."""
        raise NotImplementedError

    def push(self, identity: str, step_id: int, key: str, value: Any, is_dead: bool) -> None:
        """Sends a tensor to a task that will ask for it; UnavailableError when it cannot be reached."""
        self.push_all(identity, step_id, ((key, value, is_dead),))

    def push_all(
        self, identity: str, step_id: int, transfers: Sequence[tuple[str, Any, bool]]
    ) -> None:
        """As `push`, for several tensors at a time: rendezvous keys, values, and whether they are dead."""
        raise NotImplementedError

    def start_graph(
        self, call: StartCall, step_id: int, values: Sequence[Any], sink: StepSink
    ) -> StartedPart | None:
        """Starts a run of a registered graph, without a Future, on a task to which there is a direct connection. `values` are those of
        the feeds, in order; `sink` is told the outcome, maybe before this returns. Returns what ends the run; None, with
        nothing done, when the run must be started with `run_graph`."""
        return None


class MasterInterface(ABC):
    """A task that runs whole graphs by means of workers (TensorFlow: `MasterService`)."""

    @abstractmethod
    def create_session(
        self, graph: Graph, config: Any, target: str, deadline: Deadline = NEVER
    ) -> str:
        """Starts a session on all tasks that its device filters leave; returns its handle. Takes no longer than the config
        allows for connecting, and not beyond the deadline.

        In process the master goes on to use `graph` itself, so that later additions need no `extend_session`.
        Raises UnavailableError or DeadlineExceededError naming the tasks that cannot be reached.
        """

    @abstractmethod
    def extend_session(
        self, handle: str, graph: Graph, since_id: int, deadline: Deadline = NEVER
    ) -> None:
        """Makes the operations known that were created after the one with id `since_id`."""

    @abstractmethod
    def run_step(
        self,
        handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
        targets: Sequence[str],
        options: Any = None,
        metadata: Any = None,
    ) -> list[Any]:
        """Runs one step: values of the tensors `fetches`, in order, with `targets` (op names) run.

        Fills the RunMetadata `metadata` when RunOptions ask for it. Raises the step's OpError.
        """

    def inline_step(
        self, handle: str, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str]
    ) -> Any:
        """An `InlineStep` or `HostedStep` that does what `run_step` does, where that is possible; else None."""
        return None

    def repeated_step(self, handle: str, target: str) -> Any:
        """A `RepeatedStep` that runs an operation many times in one go, where that is possible; else None, as long as it is not."""
        return None

    @abstractmethod
    def partial_run_setup(
        self, handle: str, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str]
    ) -> str:
        """Prepares a step that is fed and fetched piece by piece; returns its handle."""

    @abstractmethod
    def partial_run(
        self,
        handle: str,
        partial_handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
    ) -> list[Any]:
        """Goes on with a step of `partial_run_setup`."""

    @abstractmethod
    def make_callable(self, handle: str, options: Any) -> int:
        """Prepares the step that a CallableOptions message describes; returns its number."""

    @abstractmethod
    def run_callable(
        self, handle: str, callable_id: int, feeds: Sequence[Any], metadata: Any = None
    ) -> list[Any]:
        """Runs a prepared step on feed values in the order of its options."""

    @abstractmethod
    def release_callable(self, handle: str, callable_id: int) -> None:
        """Forgets a prepared step."""

    @abstractmethod
    def close_session(self, handle: str) -> None:
        """Cancels the session's running steps and forgets it; nothing happens when the master does not know it any more."""

    @abstractmethod
    def list_devices(self, handle: str) -> list[DeviceAttributes]:
        """The devices of all tasks of the session, those of the master's own task first."""

    @abstractmethod
    def reset(self, containers: Sequence[str] = (), device_filters: Sequence[str] = ()) -> None:
        """Clears resource containers on the tasks that the filters leave, and ends all sessions."""
