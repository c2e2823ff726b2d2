"""What the graphs of other processes may do in a server's process."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flowmesh.core import errors
from flowmesh.core.file_policy import FilePolicy
from flowmesh.graph.graph import Graph

ALLOW_FILES_VARIABLE = "FLOWMESH_ALLOW_FILES"
DENY_OPS_VARIABLE = "FLOWMESH_DENY_OPS"
ALLOW_OPS_VARIABLE = "FLOWMESH_ALLOW_OPS"

PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""Call Python functions of this process: denied unless they are allowed by name."""


@dataclass(frozen=True)
class Policy:
    """Applies to graphs that arrive from other processes; a session in the server's own process may do everything."""

    files: FilePolicy | None = None
    """The files that ops may touch; None allows all that this process can."""
    deny_ops: Collection[str] = field(default=frozenset())
    allow_ops: Collection[str] = field(default=frozenset())
    """Op types that are denied otherwise."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Policy:
        """FLOWMESH_ALLOW_FILES holds folders as PATH does ("none": no file at all), FLOWMESH_DENY_OPS and
        FLOWMESH_ALLOW_OPS op types with commas."""
        text = environ.get(ALLOW_FILES_VARIABLE, "")
        return cls(
            files_policy(text.split(os.pathsep)) if text else None,
            op_names(environ.get(DENY_OPS_VARIABLE, "")),
            op_names(environ.get(ALLOW_OPS_VARIABLE, "")),
        )

    def without_files(self) -> Policy:
        """The same, but where it says nothing about files none may be touched."""
        if self.files is not None:
            return self
        return Policy(FilePolicy(), self.deny_ops, self.allow_ops)

    def denies(self, op_type: str) -> bool:
        """Whether ops of this type may not run."""
        if op_type in self.deny_ops:
            return True
        return op_type in PYTHON_OPS and op_type not in self.allow_ops

    def check(self, part: Graph) -> None:
        """PermissionDeniedError, naming the node and the remedy, for a graph with an op that is denied."""
        bodies = [f.body.graph for f in part.functions.values()]
        for op in (op for graph in (part, *bodies) for op in graph.get_operations()):
            if self.denies(op.type):
                how = (
                    "A Python function can be called only by a session in the process that made it: run this part with "
                    "Session(server.target) there. --allow-ops would allow it"
                    if op.type in PYTHON_OPS
                    else "The server was started with --deny-ops"
                )
                raise errors.PermissionDeniedError(
                    None,
                    op,
                    f"Node {op.name}: ops of type {op.type} are denied to graphs from other processes on this server. {how}.",
                )


def files_policy(folders: Collection[str]) -> FilePolicy:
    """The policy for a list of folders; "none" and "" stand for no folder."""
    return FilePolicy([folder for folder in folders if folder not in ("", "none")])


def op_names(text: str) -> frozenset[str]:
    """Op types from a list with commas."""
    return frozenset(name.strip() for name in text.split(",") if name.strip())
