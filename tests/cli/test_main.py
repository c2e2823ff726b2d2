"""The command itself: choosing a sub-command, help, version, mistakes."""

import subprocess
import sys

import pytest

from flowmesh.cli import main as cli
from tests.cli.commands import ENV


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("flowmesh ")


def test_nothing_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr().err
    assert all(name in shown for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("train.py", "to run a script: flowmesh run train.py"),
        ("devics", "did you mean 'devices'?"),
        ("zzz", "the commands are run, up, serve, certs, chaos, devices"),
        ("--nope", "--nope"),
    ],
)
def test_an_unknown_command_gets_a_hint(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([word])
    assert exit_.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    assert f"flowmesh {command}" in capsys.readouterr().out


def test_starting_imports_nothing_heavy() -> None:
    code = (
        "import sys; from flowmesh.cli import main, run, up, serve, devices; "
        "print({'jax', 'grpc', 'rich'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
