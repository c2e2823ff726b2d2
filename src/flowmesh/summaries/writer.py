"""Summaries, graphs and run metadata into event files (TensorFlow: `tf.summary.FileWriter`)."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

from flowmesh.formats.events import read_events
from flowmesh.frontend import meta_graph
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.proto.event_pb2 import Event, TaggedRunMetadata
from flowmesh.proto.graph_pb2 import GraphDef
from flowmesh.proto.summary_pb2 import Summary
from flowmesh.summaries.event_file_writer import EventFileWriter


class FileWriter:
    """Writes summaries and what belongs to them to an event file in `logdir`, from a thread of its own.

    `graph` is written at once. Usable in a `with`, which closes it. See EventFileWriter for `max_queue` and `flush_secs`.
    """

    def __init__(
        self,
        logdir: Any,
        graph: Any = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        graph_def: Any = None,
        filename_suffix: str | None = None,
        session: Any = None,
    ) -> None:
        if session is not None:
            raise RuntimeError(
                "a FileWriter in a session needs summaries of TensorFlow 2; leave `session` out"
            )
        logdir = logdir.decode() if isinstance(logdir, bytes) else os.fspath(logdir)
        self.event_writer = EventFileWriter(logdir, max_queue, flush_secs, filename_suffix)
        self._seen_tags: set[str] = set()
        self._run_tags: set[str] = set()
        self._closed = False
        if graph is not None or graph_def is not None:
            self.add_graph(graph=graph, graph_def=graph_def)
            self._add_meta_graph_of(graph if graph is not None else graph_def)

    def _add_meta_graph_of(self, graph: Any) -> None:
        if isinstance(graph, Graph):
            made = meta_graph.create_meta_graph_def(
                graph_def=graph.as_graph_def(add_shapes=True), graph=graph
            )
        else:
            made = meta_graph.create_meta_graph_def(graph_def=graph)
        self.add_meta_graph(made)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def get_logdir(self) -> str:
        """The directory of the event file."""
        return self.event_writer.get_logdir()

    def _add(self, event: Event, step: Any) -> None:
        event.wall_time = time.time()
        if step is not None:
            event.step = int(step)
        self.add_event(event)

    def add_event(self, event: Any) -> None:
        """Adds an Event message as it is."""
        self._warn_if_closed()
        self.event_writer.add_event(event)

    def add_summary(self, summary: Any, global_step: Any = None) -> None:
        """Adds a Summary message, or its serialized form as summary nodes give it, at a step."""
        message = Summary()
        if isinstance(summary, Summary):
            message.CopyFrom(summary)
        elif isinstance(summary, (bytes, bytearray)):
            message.ParseFromString(bytes(summary))
        elif hasattr(summary, "SerializeToString"):
            message.ParseFromString(summary.SerializeToString())
        else:
            item = getattr(summary, "item", None)
            data = item() if item is not None else summary
            if not isinstance(data, bytes):
                raise TypeError(
                    f"summary must be a Summary message or its serialized bytes, not {type(summary)}"
                )
            message.ParseFromString(data)
        for value in message.value:
            if not value.HasField("metadata"):
                continue
            if value.tag in self._seen_tags:
                value.ClearField("metadata")  # the first one of a tag holds for all
            else:
                self._seen_tags.add(value.tag)
        self._add(Event(summary=message), global_step)

    def add_graph(self, graph: Any, global_step: Any = None, graph_def: Any = None) -> None:
        """Adds a Graph (or a GraphDef), which TensorBoard shows.

        Raises ValueError when both or none are given, TypeError for what is neither.
        """
        if graph is not None and graph_def is not None:
            raise ValueError("Only pass graph, or graph_def (deprecated), but not both.")
        given = graph if graph is not None else graph_def
        if given is None:
            raise ValueError("The argument `graph` must be specified.")
        if isinstance(given, Graph):
            message = given.as_graph_def(add_shapes=True)
        elif isinstance(given, GraphDef):
            message = given
        else:
            raise TypeError(
                "The passed graph must be an instance of `Graph` or the deprecated `GraphDef`"
            )
        self._add(Event(graph_def=message.SerializeToString()), global_step)

    def add_meta_graph(self, meta_graph_def: Any, global_step: Any = None) -> None:
        """Adds a MetaGraphDef; raises TypeError for anything else."""
        if not hasattr(meta_graph_def, "meta_info_def"):
            raise TypeError(
                f"meta_graph_def must be type MetaGraphDef, saw type: {type(meta_graph_def)}"
            )
        self._add(Event(meta_graph_def=meta_graph_def.SerializeToString()), global_step)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: Any = None) -> None:
        """Adds a RunMetadata of one step under a tag; raises ValueError when the tag was used before."""
        if tag in self._run_tags:
            raise ValueError("The provided tag was already used for this event type")
        self._run_tags.add(tag)
        tagged = TaggedRunMetadata(tag=tag, run_metadata=run_metadata.SerializeToString())
        self._add(Event(tagged_run_metadata=tagged), global_step)

    def add_session_log(self, session_log: Any, global_step: Any = None) -> None:
        """Adds a SessionLog (start, stop, checkpoint)."""
        self._add(Event(session_log=session_log), global_step)

    def flush(self) -> None:
        """Waits until all events added so far are on disk."""
        self._warn_if_closed()
        self.event_writer.flush()

    def close(self) -> None:
        """Writes what is left and closes the event file."""
        self.event_writer.close()
        self._closed = True

    def reopen(self) -> None:
        """Starts a new event file in the same directory when closed; does nothing when open."""
        self.event_writer.reopen()
        self._closed = False

    def _warn_if_closed(self) -> None:
        if self._closed:
            warnings.warn(
                "Attempting to use a closed FileWriter. The operation will be a noop unless the FileWriter is explicitly "
                "reopened.",
                stacklevel=3,
            )


class FileWriterCache:
    """One FileWriter for each directory of this process (TensorFlow: `tf.summary.FileWriterCache`)."""

    _cache: ClassVar[dict[str, FileWriter]] = {}
    _lock: ClassVar[threading.RLock] = threading.RLock()

    @staticmethod
    def clear() -> None:
        """Closes and forgets all writers."""
        with FileWriterCache._lock:
            for writer in FileWriterCache._cache.values():
                writer.close()
            FileWriterCache._cache = {}

    @staticmethod
    def get(logdir: Any) -> FileWriter:
        """The writer of a directory; a new one writes the default graph."""
        key = os.fspath(logdir)
        with FileWriterCache._lock:
            if key not in FileWriterCache._cache:
                FileWriterCache._cache[key] = FileWriter(key, graph=get_default_graph())
            return FileWriterCache._cache[key]


def summary_iterator(path: Any) -> Iterator[Any]:
    """The Event messages of an event file (TensorFlow: `tf.train.summary_iterator`).

    Raises NotFoundError or DataLossError.
    """
    return read_events(os.fspath(path))
