"""How channels and servers of the cluster are set up."""

from __future__ import annotations

from flowmesh.core import limits
from flowmesh.distributed.heartbeat import Rhythm

_COMMON = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 64 * 1024),
)

CHANNEL_OPTIONS = (
    *_COMMON,
    ("grpc.max_receive_message_length", -1),
    # A proxy that the environment names is for the Internet, not for the cluster.
    ("grpc.enable_http_proxy", 0),
    # Each channel has connections of its own, which end with it.
    ("grpc.use_local_subchannel_pool", 1),
    # A session may rest: its server takes a client whose connection ends for one that is gone.
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

SERVER_OPTIONS = (
    *_COMMON,
    # Two servers must not share a port: one of them would get the other's calls.
    ("grpc.so_reuseport", 0),
)


def server_options(rhythm: Rhythm) -> tuple[tuple[str, int], ...]:
    """The options of a server that finds out, while calls are under way, that a caller has fallen silent."""
    options = (
        *SERVER_OPTIONS,
        ("grpc.max_receive_message_length", limits.current().message),
    )
    if rhythm.timeout < 0:
        return options
    interval = max(1, round(min(rhythm.interval, rhythm.timeout) * 1000))
    timeout = max(1, round(rhythm.timeout * 1000) - interval)
    return (
        *options,
        ("grpc.keepalive_time_ms", interval),
        ("grpc.keepalive_timeout_ms", timeout),
        ("grpc.http2.max_pings_without_data", 0),
        # Callers may ask, too, as often as they like.
        ("grpc.http2.max_ping_strikes", 0),
    )


MAX_CALLS = 4096
"""Calls that a server has under way at a time; more are refused with RESOURCE_EXHAUSTED."""
