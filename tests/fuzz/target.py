"""A server under fire: gets one input after another and has to answer with an OpError, or a result, in time."""

from __future__ import annotations

import collections
import faulthandler
import json
import random
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from flowmesh.core import errors, limits
from flowmesh.core.file_policy import FilePolicy
from flowmesh.distributed import failure
from flowmesh.distributed.policy import Policy
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.connections import GrpcCaller
from flowmesh.distributed.transport.direct import frames
from flowmesh.distributed.transport.direct.plane import host_token
from flowmesh.distributed.transport.master_service import MasterService
from flowmesh.distributed.transport.worker_service import WorkerService
from flowmesh.proto import config_pb2, graph_pb2, master_pb2, types_pb2
from tests.fuzz import inputs

LIMITS = limits.Limits(tensor=1 << 26, queue=1 << 24, nodes=10_000, graph=1 << 24)
STEP_MS = 300
HANG_SECONDS = 20.0


class Call:
    """What a service sees of a call."""

    alive = True
    caller = GrpcCaller("")

    def on_cancel(self, callback: Any) -> None:
        """Nobody gives up here."""

    def header(self, name: str) -> str:
        """A worker's run ends in time, too."""
        return str(STEP_MS) if name == messages.TIMEOUT_HEADER else ""


class Target:
    """One server. `strange` counts the exceptions that are no OpError, by place."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self.current = ""
        self._folder = tempfile.TemporaryDirectory(prefix="flowmesh-fuzz-")
        self.server = Server(
            {"local": ["localhost:0"]}, policy=Policy(FilePolicy([self._folder.name]))
        )
        self._master = MasterService(self.server._master, self.server._task)
        self._worker = WorkerService(self.server._worker)
        self._channel = grpc.insecure_channel(self.server.target.removeprefix("grpc://"))
        self.strange: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, str] = {}
        self.codes: collections.Counter[int] = collections.Counter()

    def close(self) -> None:
        """Stops the server."""
        self._channel.close()
        self.server.stop()
        self._folder.cleanup()

    def run(self, kind: str, seed: int) -> None:
        """Input number `seed` of one kind: "graph", "call", "wire" or "frames"."""
        self.run_with(kind, random.Random(f"{kind} {seed}"), f"{kind} {seed}")

    def run_with(self, kind: str, r: random.Random, name: str) -> None:
        """An input of one kind, made with the choices of `r`."""
        self.current = name
        if self.verbose:
            print(self.current, file=sys.__stderr__)
        self._limited(lambda: getattr(self, f"_{kind}")(r))

    def run_bytes(self, method: str, data: bytes) -> None:
        """A request as bytes; any method when none is named."""
        self.current = f"{method} {data!r}"
        if method:
            self._limited(lambda: self._request(random.Random(0), method, data))

    def run_stream(self, data: bytes) -> None:
        """What somebody with a token sends on the direct plane."""
        self.current = f"stream {data!r}"
        self._limited(lambda: self._stream(data, greet=True))

    @staticmethod
    def _limited(work: Callable[[], object]) -> None:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            work()
        finally:
            faulthandler.cancel_dump_traceback_later()

    # -- the kinds -----------------------------------------------------------------------------------------

    def _graph(self, r: random.Random) -> None:
        """A client's graph, and a step that fetches one of its nodes."""
        graph = inputs.graph_def(r)
        request = master_pb2.CreateSessionRequest(graph_def=graph)
        made = self._try(self._master.CreateSession, request)
        if made is None:
            return
        handle = made.session_handle
        node = graph.node[-1] if graph.node else None
        step = master_pb2.RunStepRequest(session_handle=handle)
        step.options.timeout_in_ms = STEP_MS
        if node is not None and r.random() < 0.7:
            step.fetch.append(f"{node.name}:{r.choice((0, 0, 0, 1))}")
        elif node is not None:
            step.target.append(node.name)
        self._try(self._master.RunStep, step)
        self._try(self._master.CloseSession, master_pb2.CloseSessionRequest(session_handle=handle))
        if r.random() < 0.1:
            self.server._worker.resources.clear_all()

    def _call(self, r: random.Random) -> None:
        """A call of any method."""
        return self._request(r, *inputs.call(r))

    def _request(self, r: random.Random, method: str, data: bytes) -> None:
        if method in ("RecvTensor", "RunGraph"):
            return self._wire(r, method, data)  # these may wait: only a client can give up
        service = self._master if method in messages.MASTER_PATHS else self._worker
        try:
            request = messages.request_type(method).FromString(data)
        except Exception:
            return None
        if method == "RunStep":
            request.options.timeout_in_ms = STEP_MS
        return self._try(getattr(service, method), request)

    def _wire(self, r: random.Random, method: str = "", data: bytes = b"") -> None:
        """A call over gRPC."""
        if not method:
            method, data = inputs.call(r)
        path = {**messages.MASTER_PATHS, **messages.WORKER_PATHS}[method]
        try:
            self._channel.unary_unary(path)(data, timeout=STEP_MS / 1000)
        except grpc.RpcError as error:
            self.codes[error.code().value[0]] += 1  # type: ignore[attr-defined]

    def _frames(self, r: random.Random) -> None:
        """Bytes on the direct plane, from somebody who has a token."""
        self._stream(inputs.stream(r), greet=r.random() > 0.1)

    def _stream(self, data: bytes, greet: bool) -> None:
        plane = self.server._plane
        asked = {"version": frames.VERSION, "identity": "fuzz", "host": host_token()}
        answer = json.loads(plane.handshake(json.dumps(asked).encode()))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10.0)
            connection.connect("\0" + answer["unix"])
            words = [answer["token"], "fuzz", "", ""]
            if greet:
                hello = frames.frame(frames.Kind.HELLO, 0, frames.pack_strings(words), ())
                connection.sendall(hello)
                assert connection.recv(4096), "a greeting was not answered"
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except ConnectionError:
                pass

    def _try(self, method: Any, request: Any) -> Any:
        try:
            response = method(request, Call())
            response.SerializeToString()
        except Exception as exc:
            error = failure.of_exception(exc)
            self.codes[error.error_code] += 1
            if error.error_code == errors.INTERNAL:
                self._note(error.__cause__ or exc)
            return None
        self.codes[0] += 1
        return response

    def _note(self, error: BaseException) -> None:
        frames_ = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames_ if "/flowmesh/" in f.filename] or frames_
        where = f"{own[-1].filename.rpartition('/flowmesh/')[2]}:{own[-1].lineno}" if own else "?"
        self.examples.setdefault(where, self.current)
        self.strange[
            f"[{self.examples[where]}] {type(error).__name__} at {where}: {str(error)[:90]}"
        ] += 1

    # -- afterwards ----------------------------------------------------------------------------------------

    def still_serves(self) -> None:
        """A client that behaves gets what it asks for, over gRPC."""
        graph = graph_pb2.GraphDef()
        node = graph.node.add(name="answer", op="Const")
        node.attr["dtype"].type = types_pb2.DT_INT32
        node.attr["value"].tensor.CopyFrom(messages.value_to_proto(np.int32(42)))
        made = self._ask("CreateSession", master_pb2.CreateSessionRequest(graph_def=graph))
        step = master_pb2.RunStepRequest(session_handle=made.session_handle, fetch=["answer:0"])
        step.options.CopyFrom(config_pb2.RunOptions(timeout_in_ms=20_000))
        values = self._ask("RunStep", step).tensor
        assert messages.value_from_proto(values[0].tensor) == 42
        closing = master_pb2.CloseSessionRequest(session_handle=made.session_handle)
        self._ask("CloseSession", closing)

    def _ask(self, method: str, request: Any) -> Any:
        data = self._channel.unary_unary(messages.MASTER_PATHS[method])(
            request.SerializeToString(), timeout=30.0
        )
        return messages.response_type(method).FromString(data)


KINDS = ("graph", "call", "wire", "frames")
