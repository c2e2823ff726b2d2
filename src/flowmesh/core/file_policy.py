"""Which files the graphs of other processes may touch."""

from __future__ import annotations

import os
from collections.abc import Iterable

from flowmesh.core import errors


class FilePolicy:
    """Allows what lies in some folders, and nothing else. Symbolic links count as what they point to."""

    def __init__(self, folders: Iterable[str | os.PathLike[str]] = ()):
        self._folders = tuple(os.path.realpath(folder) for folder in folders)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders, as absolute paths without links."""
        return self._folders

    def allows(self, path: str) -> bool:
        """Whether `path` is in one of the folders, or one of them."""
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError):  # a loop of links, a zero byte
            return False
        return any(_is_in(real, folder) for folder in self._folders)

    def check(self, path: str) -> None:
        """PermissionDeniedError for a path outside of the folders."""
        if self.allows(path):
            return
        allowed = ", ".join(self._folders) or "none"
        raise errors.PermissionDeniedError(
            None,
            None,
            f"{path}: graphs from other processes may not touch this file on this server (folders that they may use: "
            f"{allowed}). Start the server with --allow-files FOLDER to allow it.",
        )

    def __repr__(self) -> str:
        return f"FilePolicy({list(self._folders)})"


def check_path(policy: FilePolicy | None, path: str) -> None:
    """PermissionDeniedError when there is a policy and it does not allow the path."""
    if policy is not None:
        policy.check(path)


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
