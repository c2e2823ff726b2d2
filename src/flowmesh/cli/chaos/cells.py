"""Which faults there are: a matrix of who fails, how, when, and in which kind of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MODES = ("async", "in-graph")
ROLES = ("worker", "ps", "chief", "client")
FAULTS = (
    "kill",
    "stop",
    "reset",
    "hole",
    "slow",
    "reset-grpc",
    "hole-grpc",
    "slow-grpc",
    "stolen",
    "restart",
    "restart-other",
)
PHASES = ("create", "register", "step", "save", "shutdown")

NETWORK = frozenset({"reset", "hole", "slow", "reset-grpc", "hole-grpc", "slow-grpc"})
"""Faults of the links, between tasks that talk on the direct plane or over gRPC alone; the others are of the process."""
DEADLY = frozenset({"kill", "stolen", "restart", "restart-other"})
"""Faults that end the process."""

TEXTS = {
    "kill": "SIGKILL",
    "stop": "SIGSTOP",
    "reset": "connections reset",
    "hole": "black hole",
    "slow": "100x slow link",
    "reset-grpc": "reset, gRPC only",
    "hole-grpc": "black hole, gRPC only",
    "slow-grpc": "100x slow, gRPC only",
    "stolen": "killed, port stolen",
    "restart": "restarted, same graph",
    "restart-other": "restarted, another graph",
    "create": "session creation",
    "register": "registration",
    "step": "mid-step",
    "save": "mid-save",
    "shutdown": "at shutdown",
}


class Cell(NamedTuple):
    """One fault: "async" and "in-graph" are between-graph replication and one client that drives all tasks."""

    mode: str
    role: str
    fault: str
    phase: str

    def __str__(self) -> str:
        return "/".join(self)


def link_fault(fault: str) -> str:
    """What happens to a link: "reset", "hole" or "slow"."""
    return fault.removesuffix("-grpc")


def matrix(
    modes: tuple[str, ...] = MODES,
    roles: tuple[str, ...] = ROLES,
    faults: tuple[str, ...] = FAULTS,
    phases: tuple[str, ...] = PHASES,
) -> Iterator[Cell]:
    """All cells of these rows; a client has no port that could be stolen."""
    for mode in modes:
        for role in roles:
            for fault in faults:
                for phase in phases:
                    if (role, fault) != ("client", "stolen"):
                        yield Cell(mode, role, fault, phase)


QUICK = (
    Cell("async", "worker", "kill", "step"),
    Cell("async", "ps", "kill", "save"),
    Cell("async", "ps", "stop", "step"),
    Cell("async", "ps", "reset", "register"),
    Cell("async", "chief", "restart", "step"),
    Cell("async", "ps", "hole", "create"),
    Cell("async", "worker", "slow", "step"),
    Cell("async", "ps", "hole-grpc", "step"),
    Cell("in-graph", "worker", "reset", "step"),
    Cell("in-graph", "chief", "reset-grpc", "save"),
    Cell("in-graph", "worker", "hole", "step"),
    Cell("in-graph", "ps", "restart", "step"),
    Cell("in-graph", "ps", "restart-other", "step"),
    Cell("in-graph", "worker", "stolen", "create"),
    Cell("in-graph", "chief", "kill", "step"),
    Cell("in-graph", "client", "kill", "step"),
    Cell("in-graph", "client", "stop", "step"),
    Cell("in-graph", "worker", "kill", "shutdown"),
)
"""A subset that takes less than a minute and touches every row."""
