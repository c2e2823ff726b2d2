"""Flags that the launcher adds, logging limits and formats, files left open."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import flowmesh as tf
from flowmesh.core.platform import tf_logging


def _run(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PROGRAM = """
    from flowmesh.core.platform import app, flags
    flags.DEFINE_string("name", "none", "a name")
    flags.DEFINE_integer("task_index", 0, "which")
    def main(argv):
        print(flags.FLAGS.name, flags.FLAGS.task_index, argv[1:])
    app.run(main)
"""


def test_app_run_parses_the_command_line() -> None:
    done = _run(PROGRAM, "-name", "x", "--task_index=3", "rest")
    assert (done.returncode, done.stdout) == (0, "x 3 ['rest']\n"), done.stderr


def test_launcher_flags_that_the_program_does_not_define_are_ignored() -> None:
    done = _run(PROGRAM, "--ps_hosts=a:1", "--worker_hosts=b:1", "--job_name=ps", "--task_index=1")
    assert (done.returncode, done.stdout) == (0, "none 1 []\n"), done.stderr


def test_a_wrong_flag_ends_the_program_and_is_named() -> None:
    done = _run(PROGRAM, "--task_index=x")
    assert done.returncode == 1
    assert "flag --task_index=x: invalid literal for int() with base 10: 'x'" in done.stderr
    done = _run(
        """
        from flowmesh.core.platform import flags
        flags.DEFINE_boolean("on", False, "on")
        print(flags.FLAGS.on)
        """,
        "--nothing_such=1",
    )
    assert done.returncode == 1
    assert "Unknown command line flag 'nothing_such'" in done.stderr


def test_app_run_leaves_flags_that_it_does_not_know_to_the_program() -> None:
    done = _run(PROGRAM, "--lr=1", "--taskindex=2", "rest")
    assert (done.returncode, done.stdout) == (0, "none 0 ['--lr=1', '--taskindex=2', 'rest']\n")
    assert done.stderr == (
        "WARNING:tensorflow:The program has no flag --taskindex (did you mean --task_index?); "
        "it is left to main(argv).\n"
    )


def test_help_lists_the_flags_of_the_program(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text('"""Trains."""\n' + textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1  # as absl
    assert "Trains." in done.stdout and "train.py:" in done.stdout
    assert "--name: a name\n    (default: 'none')" in done.stdout
    assert "ps_hosts" not in done.stdout


def test_flags_called_with_a_command_line_raise_absls_errors() -> None:
    from absl import flags as absl_flags

    values = absl_flags.FlagValues()
    tf.flags.DEFINE_integer("count", 3, "how many", lower_bound=0, flag_values=values)
    with pytest.raises(tf.flags.UnrecognizedFlagError, match="Unknown command line flag 'nope'"):
        tf.flags.FLAGS(["p", "--nope"])
    with pytest.raises(tf.flags.IllegalFlagValueError, match="-1 is not a non-negative integer"):
        values(["p", "--count=-1"])
    with pytest.raises(tf.flags.DuplicateFlagError, match=r"First from tests\.platform"):
        tf.flags.DEFINE_integer("count", 4, "again", flag_values=values)


def test_flags_are_parsed_on_first_use() -> None:
    done = _run(
        """
        from flowmesh.core.platform import flags
        flags.DEFINE_boolean("on", False, "on")
        print(flags.FLAGS.on)
        """,
        "--on",
    )
    assert done.stdout == "True\n", done.stderr


def test_log_lines_have_level_logger_and_message() -> None:
    done = _run(
        """
        from flowmesh.core.platform import tf_logging
        tf_logging.info("hidden")
        tf_logging.set_verbosity(tf_logging.INFO)
        tf_logging.info("step %d", 3)
        tf_logging.error("bad")
        """
    )
    assert done.stderr == "INFO:tensorflow:step 3\nERROR:tensorflow:bad\n"


def test_limited_logging(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tensorflow")
    propagate, logger.propagate = logger.propagate, True
    try:
        with caplog.at_level(logging.INFO, logger="tensorflow"):
            for i in range(5):
                tf_logging.log_every_n(tf_logging.INFO, "every %d", 2, i)
            for i in range(5):
                tf_logging.log_first_n(tf_logging.INFO, "first %d", 2, i)
    finally:
        logger.propagate = propagate
    assert [r.getMessage() for r in caplog.records] == [
        "every 0",
        "every 2",
        "every 4",
        "first 0",
        "first 1",
    ]


def test_a_file_left_open_is_written(tmp_path: Path) -> None:
    tf.gfile.GFile(tmp_path / "a", "w").write("text")
    assert tf.gfile.GFile(str(tmp_path / "a")).read() == "text"
