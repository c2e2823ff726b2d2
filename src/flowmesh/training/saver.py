"""Saving variables to checkpoints and restoring them (TensorFlow: `tf.train.Saver`)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flowmesh.client.session import BaseSession
from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.frontend import collection_protos, meta_graph
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.proto import saver_pb2
from flowmesh.training import checkpoint_management, streaming
from flowmesh.training.global_step import global_step as global_step_of
from flowmesh.training.saver_builder import BaseSaverBuilder, BulkSaverBuilder

_SECONDS_PER_HOUR = 3600


def all_saveable_objects(scope: str | None = None) -> list[Any]:
    """The global variables and the objects of the collection SAVEABLE_OBJECTS."""
    graph = get_default_graph()
    return graph.get_collection(GraphKeys.GLOBAL_VARIABLES, scope) + graph.get_collection(
        GraphKeys.SAVEABLE_OBJECTS, scope
    )


class Saver:
    """Writes the variables of a graph to numbered checkpoints, keeps the newest of them, and restores any.

    `var_list` is a list of variables or a dict of names to variables (all saveable objects by default); `max_to_keep` 0 or
    None keeps all checkpoints; `keep_checkpoint_every_n_hours` keeps some for ever; `sharded` writes a file for each device.
    Raises ValueError or TypeError for variables that cannot be saved.
    """

    def __init__(
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: Any = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: int = saver_pb2.SaverDef.V2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if defer_build and var_list:
            raise ValueError(
                "If `var_list` is provided then build cannot be deferred. Either set defer_build=False or var_list=None."
            )
        self._var_list = var_list
        self._reshape = reshape
        self._sharded = sharded
        self._max_to_keep = max_to_keep
        self._keep_every_n_hours = keep_checkpoint_every_n_hours
        self._name = name
        self._restore_sequentially = restore_sequentially
        self.saver_def = saver_def
        self._builder = builder
        self._is_built = False
        self._is_empty = False
        self._allow_empty = allow_empty
        self._write_version = write_version
        self._pad_step_number = pad_step_number
        self._save_relative_paths = save_relative_paths
        self._filename = filename
        self._clock = clock
        self._last_checkpoints: list[tuple[str, float]] = []
        self._checkpoints_to_be_deleted: list[tuple[str, float]] = []
        self._next_checkpoint_time = 0.0
        self._lock = threading.Lock()
        self._streams = False  # the tasks of the cluster write to another file system than ours
        if not defer_build:
            self.build()
        if self.saver_def is not None:
            self._check_saver_def()
            self._write_version = self.saver_def.version

    def build(self) -> None:
        """Adds the nodes to the graph, unless the constructor did."""
        if self._is_built:
            return
        self._is_built = True
        if self.saver_def is None:
            builder = self._builder or BulkSaverBuilder(self._write_version)
            if self._var_list is None:
                self._var_list = all_saveable_objects()
            if not self._var_list:
                if not self._allow_empty:
                    raise ValueError("No variables to save")
                self._is_empty = True
                return
            self.saver_def = builder.build(
                self._var_list,
                reshape=self._reshape,
                sharded=self._sharded,
                max_to_keep=self._max_to_keep,
                keep_checkpoint_every_n_hours=self._keep_every_n_hours,
                name=self._name,
                restore_sequentially=self._restore_sequentially,
                filename=self._filename or "model",
            )
        elif self._name:
            copy = saver_pb2.SaverDef()
            copy.CopyFrom(self.saver_def)
            scope = self._name.rstrip("/") + "/"
            copy.filename_tensor_name = scope + copy.filename_tensor_name
            copy.save_tensor_name = scope + copy.save_tensor_name
            copy.restore_op_name = scope + copy.restore_op_name
            self.saver_def = copy
        self._check_saver_def()
        hours = self.saver_def.keep_checkpoint_every_n_hours
        self._next_checkpoint_time = self._clock() + hours * _SECONDS_PER_HOUR

    def _check_saver_def(self) -> None:
        if not isinstance(self.saver_def, saver_pb2.SaverDef):
            raise ValueError(f"saver_def must be a saver_pb2.SaverDef: {self.saver_def}")
        if not self.saver_def.save_tensor_name:
            raise ValueError(f"saver_def must specify the save_tensor_name: {self.saver_def}")
        if not self.saver_def.restore_op_name:
            raise ValueError(f"saver_def must specify the restore_op_name: {self.saver_def}")

    def as_saver_def(self) -> Any:
        """The SaverDef message."""
        return self.saver_def

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The SaverDef message; with `export_scope` under names without it, None when it lies outside."""
        if export_scope is None:
            return self.saver_def
        prefix = export_scope.rstrip("/") + "/"
        if not self.saver_def.filename_tensor_name.startswith(prefix):
            return None
        copy = saver_pb2.SaverDef()
        copy.CopyFrom(self.saver_def)
        copy.filename_tensor_name = copy.filename_tensor_name[len(prefix) :]
        copy.save_tensor_name = copy.save_tensor_name[len(prefix) :]
        copy.restore_op_name = copy.restore_op_name[len(prefix) :]
        return copy

    @staticmethod
    def from_proto(saver_def: Any, import_scope: str | None = None) -> Saver:
        """The Saver of a SaverDef whose nodes are in the graph, below `import_scope` if given."""
        return Saver(saver_def=saver_def, name=import_scope)

    # -- which checkpoints there are -------------------------------------------------------------------

    @property
    def last_checkpoints(self) -> list[str]:
        """The prefixes of the checkpoints that are kept, oldest first."""
        return [path for path, _ in self._last_checkpoints]

    def set_last_checkpoints(self, last_checkpoints: Sequence[str]) -> None:
        """Sets the checkpoints that are there, oldest first; raises ValueError when they are no list."""
        if not isinstance(last_checkpoints, list):
            raise AssertionError("last_checkpoints must be a list")
        self._last_checkpoints = [(path, float("inf")) for path in last_checkpoints]

    def set_last_checkpoints_with_time(
        self, last_checkpoints_with_time: Sequence[tuple[str, float]]
    ) -> None:
        """Sets the checkpoints that are there with the times when they were written, oldest first."""
        if not isinstance(last_checkpoints_with_time, list):
            raise AssertionError("last_checkpoints_with_time must be a list")
        self._last_checkpoints = list(last_checkpoints_with_time)

    def recover_last_checkpoints(self, checkpoint_paths: Iterable[str]) -> None:
        """Takes over the checkpoints of an earlier run as far as they still exist."""
        there = [p for p in checkpoint_paths if checkpoint_management.checkpoint_exists(p)]
        times = checkpoint_management.get_checkpoint_mtimes(there)
        self.set_last_checkpoints_with_time(list(zip(there, times)))

    def _record_checkpoint(self, path: str) -> None:
        limit = self.saver_def.max_to_keep
        if not limit:
            return
        self._last_checkpoints = [item for item in self._last_checkpoints if item[0] != path]
        self._last_checkpoints.append((path, self._clock()))
        if len(self._last_checkpoints) > limit:
            self._checkpoints_to_be_deleted.append(self._last_checkpoints.pop(0))

    def _delete_old_checkpoints(self, meta_graph_suffix: str) -> None:
        if not self._checkpoints_to_be_deleted:
            return
        path, written = self._checkpoints_to_be_deleted.pop(0)
        if written > self._next_checkpoint_time:
            hours = self.saver_def.keep_checkpoint_every_n_hours
            self._next_checkpoint_time += hours * _SECONDS_PER_HOUR
            return
        try:
            checkpoint_management.remove_checkpoint(path, self.saver_def.version, meta_graph_suffix)
        except Exception as error:  # an old checkpoint that stays does no harm to the new one
            tf_logging.warning("Ignoring: %s", error)

    # -- saving and restoring ----------------------------------------------------------------------------

    def save(
        self,
        sess: Any,
        save_path: Any,
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> str | None:
        """Writes a checkpoint `save_path` or, with `global_step` (number, tensor or variable), `save_path-<step>`; returns
        its prefix, None when there is nothing to save.

        Raises TypeError for `sess`, ValueError for paths, RuntimeError when not built.
        """
        if not self._is_built:
            raise RuntimeError("`build()` should be called before save if defer_build==True")
        latest_filename = latest_filename or "checkpoint"
        save_path = save_path.decode() if isinstance(save_path, bytes) else os.fspath(save_path)
        if os.path.split(latest_filename)[0]:
            raise ValueError("'latest_filename' must not contain path components")
        path = self._numbered(sess, save_path, global_step, latest_filename)
        if not isinstance(sess, BaseSession) and not hasattr(sess, "run"):
            raise TypeError(f"'sess' must be a Session; {sess}")
        written: str | None = None
        if not self._is_empty:
            written = self._write(sess, path, save_path)
            if write_state:
                with self._lock:  # a service thread may save too
                    self._record_checkpoint(written)
                    checkpoint_management.update_checkpoint_state(
                        save_dir=os.path.dirname(save_path),
                        model_checkpoint_path=written,
                        all_model_checkpoint_paths=self.last_checkpoints,
                        latest_filename=latest_filename,
                        save_relative_paths=self._save_relative_paths,
                    )
                    self._delete_old_checkpoints(meta_graph_suffix)
        if write_meta_graph:
            filename = checkpoint_management.meta_graph_filename(path, meta_graph_suffix)
            with sess.graph.as_default():
                self.export_meta_graph(filename, strip_default_attrs=strip_default_attrs)
        return written

    def _numbered(self, sess: Any, save_path: str, global_step: Any, latest_filename: str) -> str:
        if global_step is None:
            if os.path.basename(save_path) == latest_filename and not self._sharded:
                raise ValueError(
                    f"'latest_filename' collides with 'save_path': '{latest_filename}' and '{save_path}'"
                )
            return save_path
        try:
            step = global_step.__index__()
        except AttributeError:
            step = global_step_of(sess, global_step)
        return f"{save_path}-{step:08d}" if self._pad_step_number else f"{save_path}-{step}"

    def _write(self, sess: Any, path: str, save_path: str) -> str:
        if self._streams:
            return streaming.save(sess, self.saver_def, path)
        try:
            written = sess.run(
                self.saver_def.save_tensor_name, {self.saver_def.filename_tensor_name: path}
            )
        except (errors.FailedPreconditionError, errors.NotFoundError) as error:
            parent = os.path.dirname(save_path)
            if parent and not os.path.isdir(parent):
                raise ValueError(
                    f"Parent directory of {save_path} doesn't exist, can't save."
                ) from error
            if not (self.saver_def.sharded and getattr(sess, "sess_str", "")):
                raise
        else:
            written = written.decode() if isinstance(written, bytes) else str(written)
            if checkpoint_management.checkpoint_exists(written) or not parent_exists(save_path):
                return str(written)
        return self._stream(sess, path)

    def _stream(self, sess: Any, path: str) -> str:
        """Writes here what tasks have written to file systems of their own, from now on."""
        made = streaming.save(sess, self.saver_def, path)
        self._streams = True
        tf_logging.warning(
            "The tasks of the cluster do not share the file system of %s with this process: checkpoints are written here, the values "
            "come through the session.",
            path,
        )
        return made

    def restore(self, sess: Any, save_path: Any) -> None:
        """Sets the variables to the values of a checkpoint; they need not be initialized before.

        Raises ValueError when there is no such checkpoint, NotFoundError or InvalidArgumentError when it does not fit.
        """
        if self._is_empty:
            return
        if save_path is None:
            raise ValueError("Can't load save_path when it is None.")
        prefix = save_path.decode() if isinstance(save_path, bytes) else os.fspath(save_path)
        if not checkpoint_management.checkpoint_exists(prefix):
            raise ValueError("The passed save_path is not a valid checkpoint: " + prefix)
        tf_logging.info("Restoring parameters from %s", prefix)
        try:
            self._restore(sess, self.saver_def.restore_op_name, prefix)
        except errors.NotFoundError as error:
            raise _explained(
                error, "a Variable name or other graph key that is missing from the checkpoint"
            ) from error
        except errors.InvalidArgumentError as error:
            raise _explained(
                error, "a mismatch between the current graph and the graph from the checkpoint"
            ) from error

    def _restore(self, sess: Any, targets: Any, prefix: str) -> None:
        """Runs operations that read from a checkpoint; where tasks do not see its files, with what this process reads."""
        filename = self.saver_def.filename_tensor_name
        try:
            sess.run(targets, {filename: prefix})
        except errors.NotFoundError as error:
            if not streaming.sees_no_file(error, prefix):
                raise
            streaming.restore(sess, targets, filename, prefix)

    def export_meta_graph(
        self,
        filename: str | None = None,
        collection_list: Iterable[str] | None = None,
        as_text: bool = False,
        export_scope: str | None = None,
        clear_devices: bool = False,
        clear_extraneous_savers: bool = False,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> Any:
        """The MetaGraphDef of the default graph with this saver; written to `filename` if given."""
        return meta_graph.export_meta_graph(
            filename=filename,
            saver_def=self.saver_def,
            collection_list=collection_list,
            as_text=as_text,
            export_scope=export_scope,
            clear_devices=clear_devices,
            clear_extraneous_savers=clear_extraneous_savers,
            strip_default_attrs=strip_default_attrs,
        )


def parent_exists(path: str) -> bool:
    """Whether this process sees the directory of a path."""
    return os.path.isdir(os.path.dirname(path) or ".")


def _explained(error: Any, cause: str) -> Any:
    message = (
        f"Restoring from checkpoint failed. This is most likely due to {cause}. Please ensure that you have not "
        f"altered the graph expected based on the checkpoint. Original error:\n\n{error.message}"
    )
    return type(error)(error.node_def, error.op, message)


def import_meta_graph(
    meta_graph_or_file: Any,
    clear_devices: bool = False,
    import_scope: str | None = None,
    **kwargs: Any,
) -> Saver | None:
    """Adds the graph and collections of a MetaGraphDef (or file) to the default graph; returns the Saver that it holds,
    else one for its variables, else None (TensorFlow: `tf.train.import_meta_graph`).

    Keyword `input_map`. Raises OSError for a file that cannot be read, ValueError for a malformed graph.
    """
    if not hasattr(meta_graph_or_file, "graph_def"):
        meta_graph_or_file = meta_graph.read_meta_graph_file(os.fspath(meta_graph_or_file))
    imported = meta_graph.import_scoped_meta_graph(
        meta_graph_or_file,
        clear_devices=clear_devices,
        import_scope=import_scope,
        **{k: v for k, v in kwargs.items() if k == "input_map"},
    )
    if meta_graph_or_file.HasField("saver_def"):
        scope = import_scope
        if imported:
            name, variable = next(iter(imported.items()))
            scope = variable.op.name[: -len(name)].rstrip("/") or None
        return Saver(saver_def=meta_graph_or_file.saver_def, name=scope)
    if all_saveable_objects(scope=import_scope):
        return Saver()
    return None


collection_protos.register_proto_function(
    GraphKeys.SAVERS, saver_pb2.SaverDef, Saver.to_proto, Saver.from_proto
)

__all__ = [
    "BaseSaverBuilder",
    "BulkSaverBuilder",
    "Saver",
    "all_saveable_objects",
    "import_meta_graph",
]
