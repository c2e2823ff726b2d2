"""Which checkpoints a directory holds: the text file `checkpoint` and the files of each (TensorFlow: `tf.train.latest_checkpoint`)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import text_format

from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.formats.checkpoint import index_path
from flowmesh.formats.files import write_atomically
from flowmesh.proto import saver_pb2
from flowmesh.proto.checkpoint_state_pb2 import CheckpointState

_STATE_FILE = "checkpoint"


def _text(path: Any) -> str:
    return path.decode() if isinstance(path, bytes) else os.fspath(path)


def generate_checkpoint_state_proto(
    save_dir: str,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
) -> Any:
    """The CheckpointState that names the checkpoints of `save_dir`, oldest first; the newest is added if it is not there.

    Where `save_dir` is relative, so are the paths that are. Raises ValueError when the numbers of paths and times differ.
    """
    paths = list(all_model_checkpoint_paths or ())
    if not paths or paths[-1] != model_checkpoint_path:
        tf_logging.info(
            "%s is not in all_model_checkpoint_paths. Manually adding it.", model_checkpoint_path
        )
        paths.append(model_checkpoint_path)
    times = list(all_model_checkpoint_timestamps or ())
    if times and len(times) != len(paths):
        raise ValueError(
            f"Checkpoint timestamps, if provided, must match checkpoint paths (got paths {paths} and timestamps {times})"
        )

    def relative(path: str) -> str:
        if os.path.isabs(path) or os.path.isabs(save_dir):
            return path
        return os.path.relpath(path, save_dir)

    state = CheckpointState(
        model_checkpoint_path=relative(model_checkpoint_path),
        all_model_checkpoint_paths=[relative(p) for p in paths],
        all_model_checkpoint_timestamps=times,
    )
    if last_preserved_timestamp is not None:
        state.last_preserved_timestamp = last_preserved_timestamp
    return state


def update_checkpoint_state(
    save_dir: Any,
    model_checkpoint_path: Any,
    all_model_checkpoint_paths: Sequence[Any] | None = None,
    latest_filename: str | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    save_relative_paths: bool = False,
) -> None:
    """Writes the file `checkpoint` (or `latest_filename`) of a directory (TensorFlow: `tf.train.update_checkpoint_state`).

    Raises RuntimeError when a checkpoint has the name of that file.
    """
    save_dir, newest = _text(save_dir), _text(model_checkpoint_path)
    paths = [_text(p) for p in all_model_checkpoint_paths or ()]
    state_file = os.path.join(save_dir, latest_filename or _STATE_FILE)
    if save_relative_paths:
        newest, paths = _below(newest, save_dir), [_below(p, save_dir) for p in paths]
    state = generate_checkpoint_state_proto(
        save_dir, newest, paths, all_model_checkpoint_timestamps, last_preserved_timestamp
    )
    if state_file == state.model_checkpoint_path:
        raise RuntimeError(
            f"Save path '{newest}' conflicts with path used for checkpoint state.  Please use a different save path."
        )
    write_atomically(state_file, text_format.MessageToString(state).encode())


def _below(path: str, directory: str) -> str:
    """An absolute path so that it is stored relative to `directory`."""
    if not os.path.isabs(path):
        return path
    below = os.path.relpath(path, directory)
    return below if os.path.isabs(directory) else os.path.join(directory, below)


def get_checkpoint_state(checkpoint_dir: Any, latest_filename: str | None = None) -> Any:
    """The CheckpointState that a directory's file `checkpoint` holds, with paths from the current directory; None when
    there is none, or it is malformed (TensorFlow: `tf.train.get_checkpoint_state`).

    Raises ValueError when the file names no checkpoint.
    """
    if not isinstance(checkpoint_dir, (str, bytes, os.PathLike)):
        raise TypeError(f"Expected a path of a directory, got {checkpoint_dir!r}")
    directory = _text(checkpoint_dir)
    path = os.path.join(directory, latest_filename or _STATE_FILE)
    state = CheckpointState()
    try:
        with open(path, encoding="utf-8") as file:
            text_format.Merge(file.read(), state)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        tf_logging.warning("%s: Checkpoint ignored: %s", path, error)
        return None
    if not state.model_checkpoint_path:
        raise ValueError("Invalid checkpoint state loaded from " + directory)

    def absolute(name: str) -> str:
        return name if os.path.isabs(name) else os.path.join(directory, name)

    state.model_checkpoint_path = absolute(state.model_checkpoint_path)
    for i, name in enumerate(state.all_model_checkpoint_paths):
        state.all_model_checkpoint_paths[i] = absolute(name)
    return state


def latest_checkpoint(checkpoint_dir: Any, latest_filename: str | None = None) -> str | None:
    """The prefix of the newest checkpoint of a directory, or None (TensorFlow: `tf.train.latest_checkpoint`)."""
    state = get_checkpoint_state(checkpoint_dir, latest_filename)
    if state is None or not state.model_checkpoint_path:
        return None
    if checkpoint_exists(state.model_checkpoint_path):
        return str(state.model_checkpoint_path)
    tf_logging.error(
        "Couldn't match files for checkpoint %s (named by %s)",
        state.model_checkpoint_path,
        os.path.join(_text(checkpoint_dir), latest_filename or _STATE_FILE),
    )
    return None


def checkpoint_exists(checkpoint_prefix: Any) -> bool:
    """Whether there is a checkpoint with this prefix (TensorFlow: `tf.train.checkpoint_exists`)."""
    prefix = _text(checkpoint_prefix)
    return bool(prefix) and (os.path.exists(index_path(prefix)) or bool(glob.glob(prefix)))


def get_checkpoint_mtimes(checkpoint_prefixes: Iterable[Any]) -> list[float]:
    """When each of the checkpoints was last written, in seconds; those that do not exist are left out."""
    times = []
    for prefix in map(_text, checkpoint_prefixes):
        matches = [p for p in (index_path(prefix), prefix) if os.path.exists(p)]
        if matches:
            times.append(os.path.getmtime(matches[0]))
    return times


def meta_graph_filename(checkpoint_filename: str, meta_graph_suffix: str = "meta") -> str:
    """The name of the file with the graph that belongs to a checkpoint."""
    basename = checkpoint_filename.replace("-?????-of-", "-")
    return f"{basename}.{meta_graph_suffix}"


def remove_checkpoint(
    checkpoint_prefix: Any,
    checkpoint_format_version: int = saver_pb2.SaverDef.V2,
    meta_graph_suffix: str = "meta",
) -> None:
    """Deletes the files of a checkpoint (TensorFlow: `tf.train.remove_checkpoint`)."""
    prefix = _text(checkpoint_prefix)
    _remove(meta_graph_filename(prefix, meta_graph_suffix))
    if checkpoint_format_version == saver_pb2.SaverDef.V2:
        _remove(index_path(prefix))
        for path in glob.glob(glob.escape(prefix) + ".data-?????-of-?????"):
            _remove(path)
    else:
        _remove(prefix)


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise errors.from_exception(error) from error
