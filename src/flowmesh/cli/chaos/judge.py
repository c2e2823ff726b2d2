"""Runs one cell of the matrix and judges it: nothing hangs, no acknowledged update is lost, every error has a name."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flowmesh.cli.chaos.cells import DEADLY, NETWORK, Cell, link_fault
from flowmesh.cli.chaos.cluster import TASKS, ChaosCluster
from flowmesh.cli.chaos.nursery import Answer, Nursery

BOUND = 15.0
"""Seconds within which everything that a fault concerns must end: connecting (3), silence (2), and room for a busy machine."""
_WINDOW = 4.0
"""Seconds in which a fault shows; what goes on after that is told to end."""
_COMMANDS = {
    "create": "open",
    "register": "more",
    "step": "train",
    "save": "save",
    "shutdown": "close",
}
_OURS = ("count", "ballast")


@dataclass
class Outcome:
    """What became of a cell."""

    cell: Cell
    problems: list[str] = field(default_factory=list)
    errors: set[str] = field(default_factory=set)
    """The classes of what programs were told."""
    noticed: float = 0.0
    """Seconds from the fault to the last error."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems


def run_cell(cell: Cell, nursery: Nursery, folder: Path) -> Outcome:
    """Builds the cluster, breaks it, heals it, and looks at what is left."""
    outcome = Outcome(cell)
    began = time.monotonic()
    with ChaosCluster(cell, nursery, folder) as cluster:
        try:
            _Trial(cluster, outcome).run()
        except RuntimeError as error:
            outcome.problems.append(str(error))
    outcome.seconds = time.monotonic() - began
    return outcome


class _Trial:
    def __init__(self, cluster: ChaosCluster, outcome: Outcome):
        self.cluster = cluster
        self.cell = cluster.cell
        self.outcome = outcome
        self.saved = ["", 0]
        """The last checkpoint, and how many updates it must hold."""
        self.known: dict[str, list[int]] = {}
        """Updates that programs had acknowledged, and attempted, before the fault."""
        self.struck = 0.0

    def run(self) -> None:
        """The cell from start to end."""
        self.cluster.start()
        self._prepare()
        answers = self._strike()
        self._gather(answers)
        self.cluster.heal()
        self._gather_rest(answers)
        if self.cell.phase == "shutdown":
            self._shut_down()
            return
        self._steps_are_gone()
        self._recover()

    # -- before --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Everything up to the phase in which the fault comes."""
        cluster, phase = self.cluster, self.cell.phase
        if phase == "create":
            return
        for answer in [cluster.open(program) for program in cluster.programs]:
            answer.result()
        cluster.members[cluster.saver].ask("prepare").result()
        if phase == "register":
            return
        for answer in [cluster.members[p].ask("more", steps=3) for p in cluster.programs]:
            answer.result()
        self._save("first")
        for program in cluster.programs:
            self.known[program] = cluster.members[program].ask("updates").result()

    def _save(self, name: str) -> None:
        before = sum(
            self.cluster.members[p].ask("updates").result()[0] for p in self.cluster.programs
        )
        path, _ = (
            self.cluster.members[self.cluster.saver].ask("save", path=self._path(name)).result()
        )
        self.saved = [path, before]

    def _path(self, name: str) -> str:
        return str(self.cluster.folder / f"{'-'.join(self.cell)}-{name}")

    # -- the fault -----------------------------------------------------------------------------------------

    def _strike(self) -> list[Answer]:
        cluster, cell = self.cluster, self.cell
        happened = cluster.arm()
        self.struck = time.monotonic()
        answers = []
        for program in cluster.programs:
            member, what = cluster.members[program], _COMMANDS[cell.phase]
            if what == "open":
                answers.append(cluster.open(program))
            elif what == "save" and program == cluster.saver:
                answers.append(member.ask("save", path=self._path("second")))
            elif what == "save":
                answers.append(member.ask("train"))
            else:
                answers.append(member.ask(what))
            if what == "train":
                answers.append(member.ask("wait"))
        for answer in answers:
            answer.started.wait(BOUND)
        if happened is None:
            self.struck = time.monotonic()
            cluster.strike()
        elif not happened.wait(_WINDOW):
            cluster.network.set(
                cell.role, link_fault(cell.fault)
            )  # nothing passed: the fault comes by itself
        return answers

    def _gather(self, answers: list[Answer]) -> None:
        """Waits for what the fault concerns, ends what it does not, and judges both."""
        began = time.monotonic()
        for answer in answers:
            if self._culprits(answer):
                answer.wait(max(0.0, began + _WINDOW - time.monotonic()))
        judged = [a for a in answers if a.member != self.cell.role or self._culprits(a)]
        for answer in judged:
            if answer.what == "train":
                self.cluster.members[answer.member].ask("enough")
        for answer in judged:
            if answer.what == "wait":
                self._release(answer)
        for answer in judged:
            self._judge(answer, began)

    def _culprits(self, answer: Answer) -> set[str]:
        """The members whom an error may name: the victim, or whom a victim behind broken links needs."""
        victim, needed = self.cell.role, self._needs(answer)
        if answer.member != victim:
            return needed & {victim}
        return needed - {victim} if self.cell.fault in NETWORK else set()

    def _release(self, answer: Answer) -> None:
        """Ends a step that waits for an element. Another step may get it: the victim's, which waits at the same queue."""
        deadline = time.monotonic() + BOUND
        while not answer.wait(0) and time.monotonic() < deadline:
            self.cluster.members[answer.member].ask("go")
            answer.wait(1.0)

    def _needs(self, answer: Answer) -> set[str]:
        return self.cluster.needs(answer.member, answer.what)

    def _judge(self, answer: Answer, began: float) -> None:
        outcome, cell = self.outcome, self.cell
        who = f"{answer.member} {answer.what}"
        if not answer.wait(max(0.0, began + BOUND - time.monotonic())):
            outcome.problems.append(f"{who} hangs")
            return
        if answer.gone:
            outcome.problems.append(f"{who}: the process ended")
            return
        if not answer.error:
            return
        outcome.errors.add(answer.error.partition(":")[0].removesuffix("Error"))
        outcome.noticed = max(outcome.noticed, answer.at - self.struck)
        culprits = sorted(self._culprits(answer))
        names = [name for member in culprits for name in self.cluster.names_of(member)]
        if not culprits:
            outcome.problems.append(
                f"{who} does not need {cell.role} but failed: {answer.error[:300]}"
            )
        elif not any(name in answer.error for name in (*names, *_OURS)):
            named = " or ".join(culprits)
            outcome.problems.append(f"{who}: the error does not name {named}: {answer.error[:300]}")

    def _gather_rest(self, answers: list[Answer]) -> None:
        """The victim's own commands end when it goes on."""
        for answer in answers:
            if answer.member != self.cell.role or answer.gone:
                continue
            if answer.what == "train" and not answer.wait(0):
                self.cluster.members[answer.member].ask("enough")
            if answer.what == "wait":
                self._release(answer)
            if not answer.wait(BOUND):
                self.outcome.problems.append(f"{answer.member} {answer.what} hangs after the fault")
            elif answer.error:
                self.outcome.errors.add(answer.error.partition(":")[0].removesuffix("Error"))
        for answer in answers:
            if answer.what == "save" and answer.wait(0) and answer.value:
                path, before = answer.value
                self.saved = [path, max(self.saved[1], before)]

    # -- after ---------------------------------------------------------------------------------------------

    def _steps_are_gone(self) -> None:
        """No server keeps anything of steps that have ended, whoever died."""
        deadline = time.monotonic() + BOUND
        pause = threading.Event()
        for name in TASKS:
            while left := self.cluster.members[name].ask("steps").result():
                if time.monotonic() > deadline:
                    self.outcome.problems.append(f"{name} still has steps {left}")
                    break
                pause.wait(0.05)

    def _shut_down(self) -> None:
        """All servers stop in time and free their ports."""
        answers = [self.cluster.members[name].ask("stop") for name in TASKS]
        for answer in answers:
            if not answer.wait(BOUND):
                self.outcome.problems.append(f"{answer.member} stop hangs")
        for name, port in self.cluster.ports.items():
            with socket.socket() as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    trial.bind(("127.0.0.1", port))
                except OSError as error:
                    self.outcome.problems.append(f"{name}'s port is not free: {error}")

    def _recover(self) -> None:
        """All programs open new sessions; the model is alive or restored, and no acknowledged update is missing."""
        cluster, cell = self.cluster, self.cell
        counts = self._counts()
        reborn = cell.role == "ps" and cell.fault in DEADLY
        if cell.fault == "restart-other" and (reborn or cell.phase == "create"):
            self._forget()
        for program in cluster.programs:
            with suppress(RuntimeError):  # one that had no session yet
                cluster.members[program].ask("close").result(BOUND)
        for answer in [cluster.open(program) for program in cluster.programs]:
            answer.result(BOUND)
        saver = cluster.members[cluster.saver]
        how = saver.ask("prepare", checkpoint=self.saved[0]).result(BOUND)
        value = saver.ask("value").result(BOUND)
        least = self.saved[1] if reborn else counts[0]
        if value < least:
            self.outcome.problems.append(f"{least - value:g} acknowledged updates are lost ({how})")
        if value > counts[1]:
            self.outcome.problems.append(f"{value - counts[1]:g} updates too many ({how})")
        if not reborn and cell.phase != "create" and how != "alive":
            self.outcome.problems.append(f"live state was {how}")
        for answer in [cluster.members[p].ask("more", steps=2) for p in cluster.programs]:
            answer.result(BOUND)

    def _forget(self) -> None:
        """The variables of the other graph go."""
        self.cluster.members[self.cluster.programs[-1]].ask(
            "reset", target=f"grpc://{self.cluster.address('client', 'ps')}"
        ).result(BOUND)

    def _counts(self) -> tuple[float, float]:
        """Updates that were acknowledged, and that were attempted, by all programs."""
        least, most = 0.0, 0.0
        for program in self.cluster.programs:
            if program == self.cell.role and self.cell.fault in DEADLY:
                known = self.known.get(program, [0, 0])
                least, most = least + known[0], float("inf")
            else:
                known = self.cluster.members[program].ask("updates").result(BOUND)
                least, most = least + known[0], most + known[1]
        return least, most
