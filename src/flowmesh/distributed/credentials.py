"""What a task shows to the others of its cluster, and by what it knows them: certificates and a token in one folder.

Every process of a cluster reads the folder that the environment variable FLOWMESH_TLS_DIR names. `flowmesh up` makes one for its
tasks, `flowmesh certs` one for each of several machines. Without it connections are plain, which is for loopback only.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from flowmesh.core import errors

FOLDER_VARIABLE = "FLOWMESH_TLS_DIR"
INSECURE_VARIABLE = "FLOWMESH_INSECURE"

AUTHORITY_FILE = "ca.pem"
CERTIFICATE_FILE = "cert.pem"
KEY_FILE = "key.pem"
TOKEN_FILE = "token"

TOKEN_HEADER = "authorization"
"""The call metadata that carries the token."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """PEM texts of the cluster's authority, of this task's certificate and key; and the token that all tasks share.

    Without certificates ("" everywhere but in the token) calls are told apart by the token alone and are not encrypted.
    """

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    token: str = field(repr=False)
    folder: Path = field(default=Path(), compare=False)
    """Where they were loaded from."""

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted, with a certificate on both sides."""
        return bool(self.authority)

    def files(self) -> tuple[Path, Path]:
        """The files with the certificate and with its key."""
        return self.folder / CERTIFICATE_FILE, self.folder / KEY_FILE

    @property
    def header(self) -> tuple[str, str]:
        """The metadata that a call carries."""
        return TOKEN_HEADER, f"Bearer {self.token}"

    def admits(self, metadata: Iterable[tuple[str, str | bytes]]) -> bool:
        """Whether a call with this metadata carries the token. Takes the same time for every wrong one."""
        expected = self.header[1].encode()
        found = b""
        for key, value in metadata:
            if key == TOKEN_HEADER:
                found = value if isinstance(value, bytes) else value.encode(errors="replace")
        return hmac.compare_digest(found, expected)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the folder that `load` reads; it is made for this user alone, and so are the files."""
        path = Path(folder)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.tls:
            write_private(path / AUTHORITY_FILE, self.authority)
            write_private(path / CERTIFICATE_FILE, self.certificate)
            write_private(path / KEY_FILE, self.key)
        write_private(path / TOKEN_FILE, f"{self.token}\n".encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Credentials:
        """What a folder holds. FailedPreconditionError, naming the file, when something is missing."""
        path = Path(folder)
        token = _read(path, TOKEN_FILE).decode(errors="replace").strip()
        if not token:
            raise _unusable(path / TOKEN_FILE, "it is empty")
        if not (path / AUTHORITY_FILE).exists() and not (path / KEY_FILE).exists():
            return cls(b"", b"", b"", token, path)
        _check_private(path / KEY_FILE)
        return cls(
            _read(path, AUTHORITY_FILE),
            _read(path, CERTIFICATE_FILE),
            _read(path, KEY_FILE),
            token,
            path,
        )


def from_environment() -> Credentials | None:
    """The credentials in the folder that FLOWMESH_TLS_DIR names; None when it names none, or is "off"."""
    folder = os.environ.get(FOLDER_VARIABLE, "").strip()
    return None if folder in ("", "off") else _loaded(folder)


@lru_cache(maxsize=8)
def _loaded(folder: str) -> Credentials:
    return Credentials.load(folder)


def insecure_by_environment() -> bool:
    """Whether FLOWMESH_INSECURE allows servers that anybody on the network can use."""
    return os.environ.get(INSECURE_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def is_loopback(interface: str) -> bool:
    """Whether a numeric address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(interface.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check_exposure(
    task: str, address: str, interface: str, credentials: Credentials | None, insecure: bool
) -> bool:
    """Whether anybody who reaches the interface may use the server. FailedPreconditionError unless that is wanted."""
    if is_loopback(interface) or (credentials is not None and credentials.tls):
        return False
    if not insecure:
        raise errors.FailedPreconditionError(
            None,
            None,
            f"{task} would listen on {address}, which other machines can reach, without TLS: whoever connects could run any "
            "graph here, and read and write files. Make credentials with `flowmesh certs` and set "
            f"{FOLDER_VARIABLE} on every machine; or, on a network where everybody is trusted, say so with --insecure "
            f"({INSECURE_VARIABLE}=1, or Server(..., insecure=True)).",
        )
    token = "; a token is asked for, but travels in the clear" if credentials is not None else ""
    _log.warning(
        "INSECURE: %s listens on %s without TLS%s. Everybody who can reach this address can run graphs in this process, "
        "read and change its variables, and see the tensors that pass. Remote graphs may not touch files unless "
        "--allow-files names their folders.",
        task,
        address,
        token,
    )
    return True


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only this user can read, whatever was there before."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _unusable(folder / name, error.strerror or str(error)) from error


def _unusable(path: Path, why: str) -> errors.OpError:
    return errors.FailedPreconditionError(
        None,
        None,
        f"No usable credentials: {path}: {why}. {FOLDER_VARIABLE} names a folder that `flowmesh certs` makes.",
    )


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading it tells
    if stat.S_IMODE(mode) & 0o077:
        _log.warning("Other users can read the private key %s. Remedy: chmod 600 %s", path, path)
