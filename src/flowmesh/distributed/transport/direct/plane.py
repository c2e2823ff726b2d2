"""`DirectPlane`: the connections of one process on the direct plane, and how they are agreed on.

Over gRPC a process asks another for the places where it listens; the answer holds a token for one connection. Who connects
shows the token and is shown the answer's proof: neither side talks to a stranger. Two processes use one connection for
both directions.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from flowmesh.core import errors
from flowmesh.core.errors import OpError
from flowmesh.distributed import futures
from flowmesh.distributed.heartbeat import Rhythm
from flowmesh.distributed.transport.direct import frames, segments
from flowmesh.distributed.transport.direct.channel import Channel
from flowmesh.distributed.transport.direct.frames import Kind
from flowmesh.distributed.transport.direct.link import Link, Service
from flowmesh.distributed.transport.direct.tls import secure

HANDSHAKE = "/flowmesh.DirectService/Handshake"

_log = logging.getLogger(__name__)
_SECONDS = 5.0
"""How long a handshake may take."""
_TOKEN_SECONDS = 30.0
_HELLO_LIMIT = 4096
_MAX_STRANGERS = 256
"""Connections that have not yet shown a token; more are closed."""
_JOIN_SECONDS = 5.0


def dial(address: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection to a port of the host whose server is at `address`."""
    return socket.create_connection((_host_of(address), port), seconds)


@dataclass(frozen=True)
class DirectOptions:
    """What a process may use."""

    enabled: bool = True
    unix: bool = True
    shared_memory: bool = True
    dial: Callable[[str, int, float], socket.socket] = dial
    """Connects over TCP, as the function of this name: another one may take another way."""

    @classmethod
    def from_environment(cls) -> DirectOptions:
        """FLOWMESH_DIRECT_PLANE may be "off" (gRPC only) or "tcp"; FLOWMESH_SHARED_MEMORY may be "off"."""
        plane = os.environ.get("FLOWMESH_DIRECT_PLANE", "").strip().lower()
        memory = os.environ.get("FLOWMESH_SHARED_MEMORY", "").strip().lower()
        return cls(plane != "off", plane != "tcp", memory != "off")


def host_token() -> str:
    """Equal in two processes that can reach each other over abstract Unix sockets."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return f"{boot} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return ""


class DirectPlane:
    """The links of one process. Thread-safe."""

    def __init__(
        self, task: str = "", options: DirectOptions | None = None, host: str = "127.0.0.1"
    ):
        """`task` is the name of the server's task, "" in a client; `host` the interface that a server may listen on."""
        self.task = task
        self.identity = secrets.token_hex(16)
        self.options = options or DirectOptions.from_environment()
        self._host = host
        self.rhythm = Rhythm()
        self._service: Service | None = None
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}
        self._all: set[Link] = set()
        self._tokens: dict[str, tuple[float, str]] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._strangers = 0

    def serve(self, service: Service) -> None:
        """Says who handles what arrives."""
        self._service = service

    def link(self, identity: str) -> Link | None:
        """The connection to the process with this identity, if there is one."""
        found = self._links.get(identity)
        return found if found is not None and found.alive else None

    # -- the side that is asked ----------------------------------------------------------------------------

    def handshake(self, request: bytes) -> bytes:
        """Answers the gRPC method: where to connect to, and with what token. UnimplementedError when the plane is off."""
        if not self.options.enabled or self._service is None:
            raise errors.UnimplementedError(None, None, "The direct plane is switched off")
        asked = _parse(request)
        if asked.get("version") != frames.VERSION:
            raise errors.UnimplementedError(
                None, None, f"This server speaks version {frames.VERSION} of the direct plane"
            )
        mine = host_token()
        same_host = bool(mine) and asked.get("host") == mine
        token, proof = secrets.token_hex(16), secrets.token_hex(16)
        answer: dict[str, Any] = {
            "version": frames.VERSION,
            "identity": self.identity,
            "task": self.task,
            "token": token,
            "proof": proof,
            "max_frame": frames.MAX_META,
            "shared_memory": self.options.shared_memory and segments.supported,
        }
        with self._lock:
            if self._closed:
                raise errors.UnavailableError(None, None, "The server is stopped")
            now = time.monotonic()
            for old in [t for t, (at, _) in self._tokens.items() if at < now - _TOKEN_SECONDS]:
                del self._tokens[old]
            self._tokens[token] = (now, proof)
            if same_host and self.options.unix:
                answer["unix"] = self._listen("unix")
            else:
                answer["tcp"] = self._listen("tcp")
        return json.dumps(answer).encode()

    def _listen(self, kind: str) -> Any:
        """The address of the listener of this kind, which is made on first use."""
        found = self._listeners.get(kind)
        if found is None:
            if kind == "unix":
                found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                found.bind(f"\0flowmesh-{secrets.token_hex(16)}")
            else:
                family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
                found = socket.socket(family, socket.SOCK_STREAM)
                found.bind((self._host, 0))
            found.listen(128)
            self._listeners[kind] = found
            self._start(self._accept, found, name=f"flowmesh-direct-accept-{kind}")
        address = found.getsockname()
        return address[1:].decode() if kind == "unix" else address[1]

    def _start(self, target: Callable[..., None], *args: Any, name: str) -> None:
        """Starts a thread that `close` waits for; the lock is held."""
        thread = threading.Thread(target=self._work, args=(target, args), name=name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self, target: Callable[..., None], args: Any) -> None:
        try:
            target(*args)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                if self._strangers >= _MAX_STRANGERS:
                    connection.close()
                    continue
                self._strangers += 1
                self._start(self._greet, connection, name="flowmesh-direct-read")

    def _greet(self, connection: socket.socket) -> None:
        """Lets in who has a token, and reads from it until it goes."""
        try:
            try:
                link = self._welcome(connection)
            finally:
                with self._lock:
                    self._strangers -= 1
        except (OSError, OpError, frames.MalformedError, struct.error) as error:
            _log.debug("A stranger was turned away: %s", error)
            connection.close()
            return
        if self._add(link):
            link.run()
        else:
            connection.close()

    def _welcome(self, connection: socket.socket) -> Link:
        _check_user(connection)
        channel, answer = _channel(secure(connection, _SECONDS), connection)
        message = channel.read_message(_HELLO_LIMIT)
        if message is None or message.kind != Kind.HELLO:
            raise frames.MalformedError("no greeting")
        texts, _ = frames.unpack_strings(message.head, 0)
        if len(texts) != 4:
            raise frames.MalformedError("a malformed greeting")
        token, identity, task, memory = texts
        with self._lock:
            found = self._tokens.pop(token, None)
        if found is None or found[0] < time.monotonic() - _TOKEN_SECONDS:
            raise frames.MalformedError("an unknown token")
        shared = memory == "shared" and answer and self.options.shared_memory
        channel.start(shared)
        words = [found[1], "shared" if shared else ""]
        channel.send(Kind.WELCOME, 0, frames.pack_strings(words))
        connection.settimeout(None)
        return Link(channel, identity, task or "a client", self._service)

    def _add(self, link: Link) -> bool:
        with self._lock:
            if self._closed:
                return False
            self._links[link.identity] = link
            self._all.add(link)
            if self._service is not None:
                self._service.found(link)
        link.on_close(self._remove)
        link.watch(self.rhythm)
        return True

    def _remove(self, link: Link) -> None:
        with self._lock:
            self._all.discard(link)
            if self._links.get(link.identity) is link:
                del self._links[link.identity]

    # -- the side that asks --------------------------------------------------------------------------------

    def connect(self, name: str, address: str, ask: Callable[[bytes, float], bytes]) -> Future[Any]:
        """A future of the link to the server at `address`, or None when it has no direct plane that can be reached.

        `ask(request, seconds)` calls the server's handshake method. `name` is what to call the server in errors.
        """
        result: Future[Any] = Future()
        if not self.options.enabled:
            result.set_result(None)
            return result
        with self._lock:
            if self._closed:
                result.set_result(None)
                return result
            self._start(self._connect, name, address, ask, result, name="flowmesh-direct-read")
        return result

    def _connect(
        self,
        name: str,
        address: str,
        ask: Callable[[bytes, float], bytes],
        result: Future[Any],
    ) -> None:
        link, mine = None, False
        try:
            request = {"version": frames.VERSION, "identity": self.identity, "host": host_token()}
            answer = _parse(ask(json.dumps(request).encode(), _SECONDS))
            link = self.link(str(answer.get("identity")))
            if link is None:
                link = self._dial(name, address, answer)
                mine = self._add(link)
                if not mine:
                    link.channel.close(errors.CancelledError(None, None, "stopped"))
                    link.channel.release()
                    link = None
        except OpError as error:
            if error.error_code != errors.UNIMPLEMENTED:
                _log.debug("No direct connection to %s: %s", name, error.message)
        except (OSError, frames.MalformedError, struct.error, KeyError, TypeError) as error:
            _log.debug("No direct connection to %s: %s", name, error)
        except Exception:
            _log.exception("No direct connection to %s", name)
        finally:
            futures.settle(result, link)
        if link is not None and mine:
            link.run()

    def _dial(self, name: str, address: str, answer: dict[str, Any]) -> Link:
        connection = self._socket(address, answer)
        try:
            _check_user(connection)
            encrypted = secure(connection, _SECONDS, _host_of(address))
            channel, can_share = _channel(encrypted, connection)
            wish = can_share and self.options.shared_memory and bool(answer.get("shared_memory"))
            words = [str(answer["token"]), self.identity, self.task, "shared" if wish else ""]
            channel.send(Kind.HELLO, 0, frames.pack_strings(words))
            message = channel.read_message(_HELLO_LIMIT)
            if message is None or message.kind != Kind.WELCOME:
                raise frames.MalformedError("not welcome")
            texts, _ = frames.unpack_strings(message.head, 0)
            if len(texts) != 2 or not hmac.compare_digest(texts[0], str(answer["proof"])):
                raise frames.MalformedError("another process answered")
            channel.start(texts[1] == "shared")
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        return Link(channel, str(answer["identity"]), name, self._service)

    def _socket(self, address: str, answer: dict[str, Any]) -> socket.socket:
        if "unix" in answer:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(_SECONDS)
                connection.connect("\0" + str(answer["unix"]))
            except BaseException:
                connection.close()
                raise
            return connection
        return self.options.dial(address, int(answer["tcp"]), _SECONDS)

    # -- the end -------------------------------------------------------------------------------------------

    def close(self, grace: float = 0.0) -> None:
        """Closes all links and listeners, and waits for their threads. Requests under way get `grace` seconds to be answered."""
        with self._lock:
            self._closed = True
            busy = list(self._all)
        end = time.monotonic() + grace
        while any(link.busy for link in busy) and time.monotonic() < end:
            time.sleep(0.005)
        with self._lock:
            links = list(self._all)
            listeners, self._listeners = list(self._listeners.values()), {}
            threads = list(self._threads)
        for listener in listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for link in links:
            link.close(errors.UnavailableError(None, None, "the connection was closed"))
        if self._service is not None:
            self._service.close()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise frames.MalformedError(f"a malformed handshake: {error}") from error
    if not isinstance(found, dict):
        raise frames.MalformedError("a malformed handshake")
    return found


def _host_of(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _channel(encrypted: Any, connection: socket.socket) -> tuple[Channel, bool]:
    """A channel for greetings, and whether memory can be shared over it."""
    connection.settimeout(_SECONDS)
    unix = connection.family == socket.AF_UNIX
    return Channel(encrypted), unix and segments.supported


def _check_user(connection: socket.socket) -> None:
    """On a Unix socket the kernel says who is there: only this user and the superuser are let in."""
    if connection.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", data)
    if user not in (os.getuid(), 0) and os.getuid() != 0:
        raise OSError(f"user {user} is somebody else")
