"""TLS on the direct plane's TCP connections, with a certificate on both sides.

A `TlsSocket` has the methods of a socket that `Channel` uses. One thread reads from it and others send, at the same time; OpenSSL
allows one caller at a time, so what goes through it goes through memory and the socket itself is used outside of the lock.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from flowmesh.distributed import credentials as all_credentials
from flowmesh.distributed.credentials import Credentials

_CHUNK = 256 << 10
_NOWAIT = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)


def secure(connection: Any, seconds: float, host: str | None = None) -> Any:
    """The connection as the cluster's credentials want it: encrypted if it is TCP and they have certificates.

    `host` is the server's name or address as the cluster knows it, None on the server's side. Raises OSError when the other side
    has no certificate of this cluster, or does not finish the handshake within `seconds`.
    """
    credentials = all_credentials.from_environment()
    if connection.family == socket.AF_UNIX or credentials is None or not credentials.tls:
        return connection
    return TlsSocket(connection, _context(credentials, host is None), host, seconds)


@lru_cache(maxsize=8)
def _context(credentials: Credentials, is_server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.authority.decode())
    context.load_cert_chain(*credentials.files())
    if is_server:
        context.num_tickets = 0  # nobody resumes a connection
    return context


class TlsSocket:
    """An encrypted connection over a TCP socket."""

    def __init__(
        self, connection: socket.socket, context: ssl.SSLContext, host: str | None, seconds: float
    ):
        """Does the handshake; see `secure`."""
        self._socket = connection
        self._lock = threading.Lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._pending = memoryview(b"")
        self._owed = 0
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )
        connection.settimeout(seconds)
        self._shake_hands()

    @property
    def family(self) -> int:
        """The address family of the socket."""
        return self._socket.family

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                data = self._socket.recv(_CHUNK)
                if not data:
                    raise ConnectionError("the other side ended the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                self._socket.sendall(self._outgoing.read())  # says why
                raise
            else:
                self._socket.sendall(self._outgoing.read())
                return

    # -- sending -----------------------------------------------------------------------------------------

    def send(self, data: Any, flags: int = 0) -> int:
        """Like `sendmsg` of one buffer."""
        return self.sendmsg((data,), (), flags)

    def sendmsg(self, buffers: Iterable[Any], ancillary: Any = (), flags: int = 0) -> int:
        """Encrypts and sends, without waiting, as much as the socket takes. BlockingIOError when it takes nothing.

        What is encrypted has to be sent as it is. So as long as some of it has not gone out, one byte less is reported than was
        taken: the caller comes back for it.
        """
        with self._lock:
            self._flush()
            if self._pending:
                raise BlockingIOError
            if self._owed:
                self._owed = 0
                return 1
            taken = 0
            for buffer in buffers:
                view = memoryview(buffer).cast("B")[: _CHUNK - taken]
                if view:
                    taken += self._tls.write(view)
                if taken >= _CHUNK:
                    break
            self._flush()
            if self._pending and taken:
                self._owed = 1
            return taken - self._owed

    def _flush(self) -> None:
        """Sends what is encrypted; the lock is held."""
        if not self._pending:
            self._pending = memoryview(self._outgoing.read())
        while self._pending:
            try:
                sent = self._socket.send(self._pending, _NOWAIT)
            except BlockingIOError:
                return
            self._pending = self._pending[sent:] or memoryview(self._outgoing.read())

    # -- receiving ---------------------------------------------------------------------------------------

    def recv_into(self, target: Any) -> int:
        """Waits for data and decrypts some of it into `target`; 0 at the end of the stream."""
        while True:
            with self._lock:
                try:
                    return int(self._tls.read(len(target), target))
                except ssl.SSLWantReadError:
                    self._flush()
                except ssl.SSLZeroReturnError:
                    return 0
            data = self._socket.recv(_CHUNK)
            if not data:
                return 0
            with self._lock:
                self._incoming.write(data)

    # -- the socket itself -------------------------------------------------------------------------------

    def setsockopt(self, *arguments: Any) -> None:
        """Sets an option of the socket."""
        self._socket.setsockopt(*arguments)

    def fileno(self) -> int:
        """The socket's descriptor, for polling."""
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        """Ends the connection in the given directions."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
