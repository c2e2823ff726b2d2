"""TLS and the cluster's token on gRPC."""

from __future__ import annotations

from typing import Any

import grpc

from flowmesh.distributed.credentials import Credentials

_REFUSAL = (
    "This server serves only the tasks and clients of its cluster: the call does not carry the cluster's token. Set "
    "FLOWMESH_TLS_DIR to the folder with its credentials."
)


def open_channel(address: str, options: Any, credentials: Credentials | None) -> Any:
    """A channel to 'host:port', encrypted and with this side's certificate where the credentials have one."""
    target = f"dns:///{address}"
    if credentials is None or not credentials.tls:
        return grpc.insecure_channel(target, options=options)
    tls = grpc.ssl_channel_credentials(
        credentials.authority, credentials.key, credentials.certificate
    )
    return grpc.secure_channel(target, tls, options=options)


def call_metadata(credentials: Credentials | None) -> tuple[tuple[str, str], ...]:
    """What every call carries."""
    return () if credentials is None else (credentials.header,)


def listen(server: Any, address: str, credentials: Credentials | None) -> int:
    """Has a gRPC server listen; the port."""
    if credentials is None or not credentials.tls:
        return int(server.add_insecure_port(address))
    tls = grpc.ssl_server_credentials(
        [(credentials.key, credentials.certificate)],
        root_certificates=credentials.authority,
        require_client_auth=True,
    )
    return int(server.add_secure_port(address, tls))


class TokenGate(grpc.GenericRpcHandler):
    """Hands calls that carry the token on to the services, and refuses the others before their message is read."""

    def __init__(self, services: Any, credentials: Credentials):
        self._services = services
        self._credentials = credentials
        self._refusal: Any = grpc.unary_unary_rpc_method_handler(_refuse)

    def service(self, handler_call_details: Any) -> Any:
        if self._credentials.admits(handler_call_details.invocation_metadata or ()):
            return self._services.service(handler_call_details)
        return self._refusal


def _refuse(data: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, _REFUSAL)
    raise AssertionError("abort raises")
