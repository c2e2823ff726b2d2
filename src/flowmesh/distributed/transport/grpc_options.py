"""How channels and servers of the cluster are set up."""

from __future__ import annotations

_COMMON = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 64 * 1024),
)

CHANNEL_OPTIONS = (
    *_COMMON,
    # A proxy that the environment names is for the Internet, not for the cluster.
    ("grpc.enable_http_proxy", 0),
    # Each channel has connections of its own, which end with it.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

SERVER_OPTIONS = (
    *_COMMON,
    # Two servers must not share a port: one of them would get the other's calls.
    ("grpc.so_reuseport", 0),
)

MAX_CALLS = 4096
"""Calls that a server has under way at a time; more are refused with RESOURCE_EXHAUSTED."""
