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
    done = _run(PROGRAM, "--nothing_such=1")
    assert done.returncode == 1
    assert "Unknown command line flag 'nothing_such'" in done.stderr


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
