"""Sessions: they hold a connection to a master and run parts of a graph on its cluster (TensorFlow: `tf.Session`)."""

from __future__ import annotations

import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np

from flowmesh.client import fetches as fetching, idle_runners
from flowmesh.client.feeds import feed_tensor, feed_value, flatten_feed_dict
from flowmesh.client.fetches import FetchMapper
from flowmesh.client.warm import WarmStep, is_simple, repeated, step_key, warm_step
from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import cluster_target
from flowmesh.distributed.futures import held
from flowmesh.distributed.interfaces import NEVER, MasterInterface
from flowmesh.graph import default_stack
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.proto import config_pb2
from flowmesh.runtime.values import Received, leave

_NODE_IN_MESSAGE = re.compile(r"\[\[(?:\{\{)?node ([^\s\}\]]+)")
_MAX_CACHED_MAPPERS = 1024


class _DeviceAttributes:
    """A device as `Session.list_devices` tells it."""

    def __init__(
        self, name: str, device_type: str, memory_limit_bytes: int, incarnation: int
    ) -> None:
        self.name = name
        self.device_type = device_type
        self.memory_limit_bytes = memory_limit_bytes
        self.incarnation = incarnation

    def __repr__(self) -> str:
        return f"_DeviceAttributes({self.name}, {self.device_type}, {self.memory_limit_bytes}, {self.incarnation})"


class BaseSession:
    """What `Session` and `InteractiveSession` share."""

    def __init__(
        self, target: str | bytes = "", graph: Graph | None = None, config: Any = None
    ) -> None:
        if isinstance(target, bytes):
            target = target.decode()
        if target is None:
            target = ""
        if not isinstance(target, str):
            raise TypeError(f"target must be a string, but got {type(target)}")
        if graph is not None and not isinstance(graph, Graph):
            raise TypeError(f"graph must be a tf.Graph, but got {type(graph)}")
        if config is not None and not isinstance(config, config_pb2.ConfigProto):
            raise TypeError(f"config must be a tf.ConfigProto, but got {type(config)}")
        self._target = target
        self._graph = graph if graph is not None else get_default_graph()
        self._config = config
        self._lock = threading.RLock()
        self._handle: Any = None
        self._known_id = 0
        self._known_version = -1
        self._closed = False
        self._mappers: dict[Any, FetchMapper] = {}
        self._warm: dict[Any, WarmStep] = {}
        self._master, self._disconnect = self._connect(target, config)
        self._finalizer = weakref.finalize(self, _close_quietly, self._master, self._disconnect, [])

    def _connect(self, target: str, config: Any) -> tuple[MasterInterface, Callable[[], None]]:
        """See `cluster_target.connect`. A session that takes another way has its own."""
        return cluster_target.connect(target, config)

    # -- properties --------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """The graph that the session runs."""
        return self._graph

    @property
    def graph_def(self) -> Any:
        """The GraphDef message of the graph."""
        return self._graph.as_graph_def()

    @property
    def sess_str(self) -> str:
        """The target of the session."""
        return self._target

    def list_devices(self) -> list[_DeviceAttributes]:
        """The devices of all tasks that the session may use."""
        self._check_open()
        handle = self._open_handle()
        return [
            _DeviceAttributes(d.name, d.device_type, d.memory_limit, d.incarnation)
            for d in self._master.list_devices(handle)
        ]

    def as_default(self) -> AbstractContextManager[Any]:
        """Makes this the session that `tensor.eval()` and `op.run()` of this thread use inside the `with`."""
        return default_stack.sessions.controller(self)

    # -- life ------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")

    def _opened(self, options: Any) -> tuple[Any, Any]:
        """The session's handle, and the options of a run with the time that opening has left of it."""
        if self._known_version == self._graph.version and self._handle is not None:
            return self._handle, options
        deadline = Deadline.from_ms(options.timeout_in_ms if options is not None else 0)
        handle = self._open_handle(deadline)
        if deadline.at is None:
            return handle, options
        rest = config_pb2.RunOptions()
        rest.CopyFrom(options)
        rest.timeout_in_ms = deadline.remaining_ms()
        return handle, rest

    def _open_handle(self, deadline: Deadline = NEVER) -> Any:
        """The session's handle at the master, with all nodes of the graph made known."""
        if self._known_version == self._graph.version and self._handle is not None:
            return self._handle
        with held(self._lock, deadline, "another thread that opens the session"):
            if self._handle is None:
                self._known_version = self._graph.version
                self._known_id = self._graph.last_id
                self._handle = self._master.create_session(
                    self._graph, self._config, self._target, deadline
                )
                self._finalizer.detach()
                self._finalizer = weakref.finalize(
                    self, _close_quietly, self._master, self._disconnect, [self._handle]
                )
            elif self._known_version != self._graph.version:
                version, last = self._graph.version, self._graph.last_id
                self._master.extend_session(self._handle, self._graph, self._known_id, deadline)
                self._known_version, self._known_id = version, last
        return self._handle

    def close(self) -> None:
        """Ends the session: running steps are cancelled, what belongs to it alone is freed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            handle, self._handle = self._handle, None
        self._finalizer.detach()
        try:
            if handle is not None:
                self._master.close_session(handle)
        finally:
            self._disconnect()

    # -- running ---------------------------------------------------------------------------------------

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Runs what `fetches` (a graph element or a nested structure of them) needs, once, and returns its values in
        the same structure: NumPy arrays for tensors, None for operations.

        `feed_dict` replaces the values of tensors. `options` is a RunOptions, `run_metadata` a RunMetadata to be filled.
        Raises RuntimeError (closed, empty graph), TypeError or ValueError (fetches, feeds), or an OpError of the step.
        """
        if run_metadata is None and (options is None or _is_limit(options)):
            step = self._warm_step(fetches, feed_dict)
            if step is not None:
                limit = 0 if options is None else options.timeout_in_ms
                values = self._run_warm(step, feed_dict.values() if feed_dict else (), limit)
                if values is not None:
                    return step.rebuild([_as_result(values, i) for i in range(len(values))])
        self._check_open()
        if self._graph.version == 0:
            raise RuntimeError(
                "The Session graph is empty.  Add operations to the graph before calling run()."
            )
        _check_options(options, run_metadata)
        feeds = flatten_feed_dict(self._graph, feed_dict) if feed_dict else {}
        mapper = self._mapper(fetches)
        wanted = [t for t in mapper.fetches if t not in feeds] if feeds else mapper.fetches
        if wanted or mapper.targets:
            values = self._run_step(feeds, wanted, mapper.targets, options, run_metadata)
            limited = options is None or _is_limit(options)
            if limited and run_metadata is None and is_simple(fetches):
                self._remember(step_key(fetches, feed_dict), list(feed_dict or ()), mapper)
            if len(wanted) != len(mapper.fetches):
                by_tensor = dict(zip(wanted, values))
                values = [by_tensor[t] if t in by_tensor else feeds[t] for t in mapper.fetches]
        else:
            values = [feeds[t] for t in mapper.fetches]
        return mapper.rebuild([_as_result(values, i) for i in range(len(values))])

    def _warm_step(self, fetches: Any, feed_dict: Any) -> WarmStep | None:
        """What is remembered of an earlier `run` like this one, if it still holds."""
        try:
            step = self._warm.get(step_key(fetches, feed_dict))
        except TypeError:  # parts that cannot be hashed or iterated: left to the usual way
            return None
        if step is None or self._closed or step.version != self._graph.version:
            return None
        return step

    def _run_warm(self, step: WarmStep, values: Iterable[Any], limit: int = 0) -> list[Any] | None:
        try:
            return step.run(values, limit)
        except errors.OpError as error:
            raise self._named(error) from None

    def _remember(self, key: Any, feeds: list[Any], mapper: FetchMapper) -> None:
        if len(self._warm) >= _MAX_CACHED_MAPPERS:
            self._warm.clear()
        step = self._new_warm_step(feeds, mapper.fetches, mapper)
        if step is not None:
            self._warm[key] = step

    def _new_warm_step(
        self, feeds: Sequence[Any], fetches: Sequence[Any], mapper: FetchMapper
    ) -> WarmStep | None:
        """A warm step for what was just run, unless its waiting has to be watched."""
        if self._graph._collections.get(GraphKeys.QUEUE_RUNNERS) and idle_runners.waited_for(
            self, [*(t.op for t in fetches), *mapper.targets]
        ):
            return None
        return warm_step(self._master, self._handle, feeds, fetches, mapper.targets, mapper.rebuild)

    def _mapper(self, fetches: Any) -> FetchMapper:
        key = _cache_key(fetches)
        if key is None:
            return FetchMapper(self._graph, fetches)
        found = self._mappers.get(key)
        if found is None:
            found = FetchMapper(self._graph, fetches)
            if len(self._mappers) >= _MAX_CACHED_MAPPERS:
                self._mappers.clear()
            self._mappers[key] = found
        return found

    def _run_step(
        self,
        feeds: Any,
        wanted: Sequence[Any],
        targets: Sequence[Operation],
        options: Any,
        metadata: Any,
    ) -> list[Any]:
        try:
            handle, options = self._opened(options)
            arguments = (
                handle,
                [(t.name, v) for t, v in feeds.items()],
                [t.name for t in wanted],
                [op.name for op in targets],
                options,
                metadata,
            )
            if not self._graph._collections.get(GraphKeys.QUEUE_RUNNERS):
                return self._master.run_step(*arguments)
            with idle_runners.watched(self, [*(t.op for t in wanted), *targets]):
                return self._master.run_step(*arguments)
        except errors.OpError as error:
            raise self._named(error) from None

    def _named(self, error: errors.OpError) -> errors.OpError:
        """The error with the operation of this graph that its message names."""
        if error.op is not None and getattr(error.op, "graph", None) is self._graph:
            return error
        named = _NODE_IN_MESSAGE.findall(error.message or "")
        in_function = error.message.startswith("{{function_node") if named else False
        # What fails in a function is told with the node that called it, last of all.
        op = self._graph._by_name.get(named[-1 if in_function else 0]) if named else None
        if op is None:
            return error
        # Other tasks know the node's name only; where it was made is known here.
        message = error.message.replace(
            f"[[{{{{node {op.name}}}}}]]", f"[[node {op.name} (defined at {op.defined_at}) ]]"
        )
        told = errors.make(error.error_code, message, op.node_def, op)
        told.__cause__ = error.__cause__
        return told

    # -- partial runs ------------------------------------------------------------------------------------

    def partial_run_setup(self, fetches: Any, feeds: Any = None) -> Any:
        """Prepares a step that is fed and fetched piece by piece; returns the handle for `partial_run`."""
        self._check_open()
        mapper = FetchMapper(self._graph, fetches)
        tensors = [
            feed_tensor(self._graph, t)
            for feed in (feeds or [])
            for t in fetching.expand_feed_key(feed)
        ]
        try:
            return self._master.partial_run_setup(
                self._open_handle(),
                [t.name for t in tensors],
                [t.name for t in mapper.fetches],
                [op.name for op in mapper.targets],
            )
        except errors.OpError as error:
            raise self._named(error) from None

    def partial_run(self, handle: Any, fetches: Any, feed_dict: Any = None) -> Any:
        """Continues a step of `partial_run_setup` with more feeds and returns more fetches."""
        self._check_open()
        feeds = flatten_feed_dict(self._graph, feed_dict) if feed_dict else {}
        mapper = FetchMapper(self._graph, fetches)
        wanted = [t for t in mapper.fetches if t not in feeds]
        try:
            values = self._master.partial_run(
                self._open_handle(),
                handle,
                [(t.name, v) for t, v in feeds.items()],
                [t.name for t in wanted] + [op.name for op in mapper.targets],
            )
        except errors.OpError as error:
            raise self._named(error) from None
        by_tensor = {**feeds, **dict(zip(wanted, values))}
        ordered = [by_tensor[t] for t in mapper.fetches]
        return mapper.rebuild([_as_result(ordered, i) for i in range(len(ordered))])

    # -- callables ---------------------------------------------------------------------------------------

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the values of `feed_list`, in order, that runs `fetches`: the fetches are resolved only once."""
        self._check_open()
        if feed_list is not None and not isinstance(feed_list, (list, tuple)):
            raise TypeError("`feed_list` must be a list or tuple.")
        tensors = [feed_tensor(self._graph, f) for f in (feed_list or ())]
        mapper = FetchMapper(self._graph, fetches)
        warm: WarmStep | None = None

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal warm
            step = warm
            if step is not None and step.version == self._graph.version and not self._closed:
                fits = not kwargs and len(args) == len(tensors)
                results = self._run_warm(step, args) if fits else None
                if results is not None:
                    return step.rebuild([_as_result(results, i) for i in range(len(results))])
            self._check_open()
            options, metadata = kwargs.pop("options", None), kwargs.pop("run_metadata", None)
            if kwargs or (not accept_options and (options or metadata)):
                raise TypeError("this callable takes feed values only")
            if accept_options:
                _check_options(options, metadata)
            if len(args) != len(tensors):
                raise TypeError(
                    f"the callable takes {len(tensors)} feed values, {len(args)} were given"
                )
            feeds = {t: feed_value(t, v) for t, v in zip(tensors, args)}
            wanted = [t for t in mapper.fetches if t not in feeds]
            values = self._run_step(feeds, wanted, mapper.targets, options, metadata)
            if options is None and metadata is None and len(feeds) == len(tensors):
                warm = self._new_warm_step(tensors, wanted, mapper)
            by_tensor = {**feeds, **dict(zip(wanted, values))}
            ordered = [by_tensor[t] for t in mapper.fetches]
            del values, by_tensor
            return mapper.rebuild([_as_result(ordered, i) for i in range(len(ordered))])

        return call

    def _make_repeated(self, operation: Any) -> Callable[[], int]:
        """A function that runs an operation at least once, as often as that can be done in one go, and returns how often.

        For one thread that does nothing but that. Raises what the first run raises that fails; those before it are done.
        """
        return repeated(self, operation, self.make_callable(operation))

    def _repeated_step(self, operation: Operation) -> Any:
        """What runs an operation many times in one go, if that is possible."""
        with suppress(errors.OpError):  # the run that comes next tells it
            return self._master.repeated_step(self._open_handle(), operation.name)
        return None

    def _make_callable_from_options(self, callable_options: Any) -> Callable[..., list[Any]]:
        """As TensorFlow's private call: a function of the feed values from a CallableOptions message."""
        self._check_open()
        handle = self._open_handle()
        callable_id = self._master.make_callable(handle, callable_options)
        tensors = [feed_tensor(self._graph, name) for name in callable_options.feed]

        def call(*args: Any, run_metadata: Any = None) -> list[Any]:
            values = [feed_value(t, v) for t, v in zip(tensors, args)]
            try:
                results = self._master.run_callable(handle, callable_id, values)
            except errors.OpError as error:
                raise self._named(error) from None
            return [_as_result(results, i) for i in range(len(results))]

        master = self._master
        weakref.finalize(call, _release_quietly, master, handle, callable_id)
        return call


def _close_quietly(master: Any, disconnect: Callable[[], None], handles: list[Any]) -> None:
    with suppress(Exception):
        for handle in handles:
            master.close_session(handle)
    with suppress(Exception):
        disconnect()


def _release_quietly(master: Any, handle: Any, callable_id: int) -> None:
    with suppress(Exception):
        master.release_callable(handle, callable_id)


def _is_limit(options: Any) -> bool:
    """Whether the RunOptions hold nothing but a time limit."""
    return (
        isinstance(options, config_pb2.RunOptions)
        and options.timeout_in_ms >= 0
        and options == config_pb2.RunOptions(timeout_in_ms=options.timeout_in_ms)
    )


def _check_options(options: Any, run_metadata: Any) -> None:
    if options is not None and not isinstance(options, config_pb2.RunOptions):
        raise TypeError(f"options must be a tf.RunOptions, but got {type(options)}")
    if run_metadata is not None and not isinstance(run_metadata, config_pb2.RunMetadata):
        raise TypeError(f"run_metadata must be a tf.RunMetadata, but got {type(run_metadata)}")


def _cache_key(fetches: Any) -> Any:
    """A key for structures whose parts are hashable by identity; None when there is none."""
    kind = type(fetches)
    if kind is list or kind is tuple:
        keys = []
        for item in fetches:
            key = _cache_key(item)
            if key is None:
                return None
            keys.append(key)
        return (kind, *keys)
    if hasattr(fetches, "_as_graph_element") or kind is str:
        try:
            hash(fetches)
        except TypeError:
            return None
        return fetches
    return None


def _as_result(values: list[Any], index: int) -> Any:
    """The value as a program gets it: a writable array of its own, a NumPy scalar or bytes for rank 0."""
    value = values[index]
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return value[()]
        # references: the list, the local name, the argument of getrefcount
        own = value.base is None or type(value.base) is Received
        alone = own and value.flags.writeable and sys.getrefcount(value) <= 3
        return value if alone else value.copy()
    if isinstance(value, (np.generic, bytes)) or not hasattr(value, "__array__"):
        return value
    # references: the list, the local name, the argument of getrefcount
    alone = sys.getrefcount(value) <= 3
    array = leave(value, alone)
    return array[()] if array.ndim == 0 else array


class Session(BaseSession):
    """Runs parts of a graph: on this machine (`Session()`), or on the cluster of a server (`Session("grpc://host:port")`).

    As a context manager it is the default session, its graph the default graph, and it is closed at the end.
    """

    def __init__(
        self, target: str | bytes = "", graph: Graph | None = None, config: Any = None
    ) -> None:
        super().__init__(target, graph, config)
        self._contexts = threading.local()

    def __enter__(self) -> Session:
        stack = self._contexts.__dict__.setdefault("stack", [])
        graph_context, session_context = self._graph.as_default(), self.as_default()
        graph_context.__enter__()
        session_context.__enter__()
        stack.append((session_context, graph_context))
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        session_context, graph_context = self._contexts.stack.pop()
        try:
            session_context.__exit__(exc_type, exc_value, traceback)
            graph_context.__exit__(exc_type, exc_value, traceback)
        finally:
            self.close()

    @staticmethod
    def reset(target: str, containers: Sequence[str] | None = None, config: Any = None) -> None:
        """Clears resource containers (each task's default one when none is named) on every task of the target's cluster,
        and ends the sessions that run there.
        """
        if containers is not None and not isinstance(containers, (list, tuple)):
            raise TypeError("containers must be a list of names")
        names = [c.decode() if isinstance(c, bytes) else c for c in (containers or ())]
        cluster_target.reset(target, names, config)


class InteractiveSession(BaseSession):
    """A session that installs itself as the default one, for shells and notebooks."""

    def __init__(
        self, target: str | bytes = "", graph: Graph | None = None, config: Any = None
    ) -> None:
        super().__init__(target, graph, config)
        self._explicit_graph = graph
        self._session_context: Any = self.as_default()
        default_stack.sessions.enforce_nesting = False
        self._session_context.__enter__()
        self._graph_context: Any = None
        if graph is not None:
            default_stack.graphs.enforce_nesting = False
            self._graph_context = graph.as_default()
            self._graph_context.__enter__()

    def close(self) -> None:
        """Ends the session and removes it from the stack of defaults."""
        super().close()
        if self._session_context is not None:
            context, self._session_context = self._session_context, None
            context.__exit__(None, None, None)
        if self._graph_context is not None:
            context, self._graph_context = self._graph_context, None
            context.__exit__(None, None, None)
