"""The table of a matrix: a row for each fault of each member, a column for each moment."""

from __future__ import annotations

from collections.abc import Iterable

from flowmesh.cli.chaos.cells import FAULTS, MODES, PHASES, ROLES, TEXTS
from flowmesh.cli.chaos.judge import Outcome

_WIDTH = 20


def describe(outcome: Outcome) -> str:
    """A cell in a few words: whether it went well, what programs were told, and after how long."""
    if not outcome.ok:
        return "FAILED"
    if not outcome.errors:
        return "ok, no error"
    told = "+".join(sorted(_short(name) for name in outcome.errors))
    return f"ok {told} {outcome.noticed:.1f}s"


def _short(name: str) -> str:
    return {"DeadlineExceeded": "Deadline", "FailedPrecondition": "Precond"}.get(name, name)[:11]


def table(outcomes: Iterable[Outcome]) -> str:
    """The table, and under it what was wrong."""
    found = {outcome.cell: outcome for outcome in outcomes}
    phases = [p for p in PHASES if any(cell.phase == p for cell in found)]
    lines: list[str] = []
    for mode in MODES:
        if not any(cell.mode == mode for cell in found):
            continue
        heads = "".join(f"{TEXTS[p]:{_WIDTH}}" for p in phases)
        lines += ["", f"{mode}", f"{'':34}{heads}".rstrip()]
        for role in ROLES:
            for fault in FAULTS:
                row = {c.phase: o for c, o in found.items() if c[:3] == (mode, role, fault)}
                if row:
                    cells = "".join(
                        f"{describe(row[p]) if p in row else '':{_WIDTH}}" for p in phases
                    )
                    lines.append(f"{role:8}{TEXTS[fault]:26}{cells}".rstrip())
    failed = [outcome for outcome in found.values() if not outcome.ok]
    for outcome in failed:
        lines += ["", f"FAILED {outcome.cell}:", *(f"    {p}" for p in outcome.problems)]
    lines += ["", f"{len(found) - len(failed)} of {len(found)} cells went well"]
    return "\n".join(lines).lstrip("\n")
