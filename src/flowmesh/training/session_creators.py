"""How a monitored session gets its sessions (TensorFlow: `tf.train.SessionCreator` and those derived from it)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from flowmesh.graph.graph import get_default_graph
from flowmesh.training.scaffold import Scaffold
from flowmesh.training.session_manager import SessionManager


class SessionCreator(ABC):
    """Makes sessions: at the start, and again whenever one was lost."""

    @abstractmethod
    def create_session(self) -> Any:
        """A new session, in which the model is ready."""


class _ManagedCreator(SessionCreator):
    """Makes sessions by a SessionManager for the parts of a scaffold, finalizing the graph before the first."""

    def __init__(self, scaffold: Scaffold | None, master: str, config: Any) -> None:
        self._scaffold = scaffold or Scaffold()
        self._session_manager: SessionManager | None = None
        self._master = master
        self._config = config

    def _get_session_manager(self) -> SessionManager:
        if self._session_manager is None:
            self._session_manager = SessionManager(
                local_init_op=self._scaffold.local_init_op,
                ready_op=self._scaffold.ready_op,
                ready_for_local_init_op=self._scaffold.ready_for_local_init_op,
                graph=get_default_graph(),
            )
        return self._session_manager


class ChiefSessionCreator(_ManagedCreator):
    """Makes the sessions of the chief, which restores the newest checkpoint of `checkpoint_dir` (or the one named by
    `checkpoint_filename_with_path`), or initializes the model (TensorFlow: `tf.train.ChiefSessionCreator`).
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:
        super().__init__(scaffold, master, config)
        self._checkpoint_dir = checkpoint_dir
        self._checkpoint_filename_with_path = checkpoint_filename_with_path

    def create_session(self) -> Any:
        """A session in which the model is restored or initialized; RuntimeError when that does not make it ready."""
        self._scaffold.finalize()
        return self._get_session_manager().prepare_session(
            self._master,
            saver=self._scaffold.saver,
            checkpoint_dir=self._checkpoint_dir,
            checkpoint_filename_with_path=self._checkpoint_filename_with_path,
            config=self._config,
            init_op=self._scaffold.init_op,
            init_feed_dict=self._scaffold.init_feed_dict,
            init_fn=self._scaffold.init_fn,
        )


class WorkerSessionCreator(_ManagedCreator):
    """Makes the sessions of a worker that is not the chief, which waits for the chief's model (TensorFlow:
    `tf.train.WorkerSessionCreator`).
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        max_wait_secs: float = 30 * 60,
    ) -> None:
        super().__init__(scaffold, master, config)
        self._max_wait_secs = max_wait_secs

    def create_session(self) -> Any:
        """A session in which the model is ready; DeadlineExceededError when it is not within `max_wait_secs`."""
        self._scaffold.finalize()
        return self._get_session_manager().wait_for_session(
            self._master, config=self._config, max_wait_secs=self._max_wait_secs
        )
