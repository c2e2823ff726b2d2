"""Why an address does not answer, in words: for the line that says who is waited for, and for the error in the end."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Mapping

from flowmesh.core.cluster_spec import split_address
from flowmesh.distributed.credentials import FOLDER_VARIABLE, from_environment

PROBE = 1.0
SILENT = "connected, but the server does not answer"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What an HTTP/2 client says first, with empty settings."""
_SETTINGS = 4
_ALERT = b"\x15\x03"
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")
_LONGEST = 60


def diagnose(address: str, environ: Mapping[str, str] | None = None) -> str:
    """Tries to connect to 'host:port'; says in words what happens. Takes about two seconds at most, unless the name does not
    resolve."""
    try:
        host, port = split_address(address)
    except ValueError as error:
        return str(error)
    proxy = _proxy(os.environ if environ is None else environ)
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        return f"host name {host!r} does not resolve: {why}{proxy}"
    reason = "no address"
    for family, kind, proto, _, target in resolved:
        with socket.socket(family, kind, proto) as probe:
            probe.settimeout(PROBE / len(resolved))
            try:
                probe.connect(target)
            except TimeoutError:
                reason = "connecting timed out: the host is down, or a firewall drops packets"
            except OSError as error:
                reason = _os_reason(error, reason)
            else:
                return _greet_encrypted(probe) if encrypts() else _greet(probe)
    return reason if reason == _REFUSED else reason + proxy


def _proxy(environ: Mapping[str, str]) -> str:
    """What to say of a proxy that the environment names: who relies on it looks in the wrong place."""
    for name in _PROXIES:
        for spelling in (name, name.upper()):
            if environ.get(spelling):
                return f"; the proxy that {spelling} names is not used within a cluster"
    return ""


_REFUSED = "connection refused: no server listens there"


def _os_reason(error: OSError, before: str) -> str:
    if error.errno == errno.ECONNREFUSED:
        return _REFUSED
    if (
        error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
        and before != "no address"
    ):
        return before  # one of several addresses of the name, an unused IPv6 one for instance
    return (error.strerror or str(error)).lower()


def _greet(probe: socket.socket) -> str:
    """Tells a server of the right kind that does not answer from something else that listens there."""
    probe.settimeout(PROBE)
    try:
        probe.sendall(_PREFACE)
        said = probe.recv(256)
    except TimeoutError:
        return SILENT
    except OSError:
        said = b""
    if len(said) > 3 and said[3] == _SETTINGS:
        return SILENT
    if said.startswith(_ALERT):
        return f"a server is there that wants TLS: set {FOLDER_VARIABLE} to the cluster's credentials, or correct the address"
    if not said:
        return (
            "it closes connections at once: not a Flowmesh or TensorFlow server, one that wants TLS (set "
            f"{FOLDER_VARIABLE} to the cluster's credentials), or one that is just ending"
        )
    text = said.split(b"\n", 1)[0].decode("ascii", "backslashreplace").strip()[:_LONGEST]
    return f"not a Flowmesh or TensorFlow server: it says {text!r}"


def encrypts() -> bool:
    """Whether this process has the certificates of a cluster."""
    credentials = from_environment()
    return credentials is not None and credentials.tls


def _greet_encrypted(probe: socket.socket) -> str:
    """The same where this process has credentials: whether they are the other side's, too."""
    credentials = from_environment()
    assert credentials is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=credentials.authority.decode())
    probe.settimeout(PROBE)
    try:
        with context.wrap_socket(probe):
            return SILENT
    except ssl.SSLCertVerificationError:
        return f"its certificate is of another cluster than the credentials in {FOLDER_VARIABLE}"
    except TimeoutError:
        return SILENT
    except OSError:
        return f"it speaks no TLS, but {FOLDER_VARIABLE} is set here: start it with the same credentials"
