"""The stacks behind `with graph.as_default()` and `with session.as_default()`; one of each per thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class DefaultStack(threading.local):
    """A thread's stack of defaults; leaving a context out of order is refused unless `enforce_nesting` is off."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.enforce_nesting = True

    def get(self) -> Any:
        """The innermost default, or None."""
        return self.stack[-1] if self.stack else None

    @contextmanager
    def controller(self, default: Any) -> Iterator[Any]:
        """Makes `default` the default inside the `with`."""
        self.stack.append(default)
        try:
            yield default
        finally:
            if self.enforce_nesting:
                if self.stack and self.stack[-1] is not default:
                    raise AssertionError(
                        f"Nesting violated for default stack of {type(default)} objects"
                    )
                if self.stack:
                    self.stack.pop()
            elif default in self.stack:
                self.stack.remove(default)


graphs = DefaultStack()
sessions = DefaultStack()


def get_default_session() -> Any:
    """The innermost `with session.as_default()` session of this thread, or None."""
    return sessions.get()


def session_for(what: str, call: str, graph: Any, session: Any) -> Any:
    """The session that `tensor.eval()` or `op.run()` means; raises ValueError in TensorFlow's words."""
    if session is None:
        session = sessions.get()
        if session is None:
            colon = ":" if call == "run()" else ""  # TensorFlow's own spelling
            raise ValueError(
                f"Cannot {what} using `{call}`: No default session is registered. "
                f"Use `with sess.as_default(){colon}` or pass an explicit session to `{call[:-2]}(session=sess)`"
            )
        if session.graph is not graph:
            explicit = f"{call[:-2]}(session=sess)"
            if call == "eval()":  # TensorFlow quotes only this one
                explicit = f"`{explicit}`"
            raise ValueError(
                f"Cannot use the default session to {what}: the {what.split()[-1]}'s graph is different "
                "from the session's graph. Pass an explicit session to "
                f"{explicit}."
            )
    elif session.graph is not graph:
        raise ValueError(
            f"Cannot use the given session to {what}: the {what.split()[-1]}'s graph is different "
            "from the session's graph."
        )
    return session
