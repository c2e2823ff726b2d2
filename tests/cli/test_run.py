"""`flowmesh run` as users meet it: a process, its output and its exit code."""

from pathlib import Path

import pytest

from tests.cli.commands import flowmesh, python, script


def test_script_is_main_with_its_own_arguments_and_folder(tmp_path: Path) -> None:
    script(tmp_path, "NAME = 'beside'\n", "beside.py")
    path = script(
        tmp_path,
        "import sys, beside\n"
        "print(__name__, sys.argv[1:], sys.argv[0] == __file__, beside.NAME)\n"
        "import __main__; print(__main__.__dict__ is globals(), __package__, __spec__)\n",
    )
    done = flowmesh("run", path, "--simulate-gpus", "9", "-m", "x")
    assert done.stdout.splitlines() == [
        "__main__ ['--simulate-gpus', '9', '-m', 'x'] True beside",
        "True None None",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_tensorflow_means_flowmesh_for_the_script_and_its_imports(tmp_path: Path) -> None:
    text = (
        "import tensorflow as tf\n"
        "from tensorflow.core.framework import graph_pb2\n"
        "print(tf.__version__, graph_pb2.GraphDef.__module__)\n"
    )
    script(tmp_path, text, "helper.py")
    done = flowmesh("run", script(tmp_path, text + "import helper\n"))
    assert done.stdout == "1.15.0 flowmesh.proto.graph_pb2\n" * 2


def test_module_code_and_folder_forms(tmp_path: Path) -> None:
    text = "import sys\nprint(__name__, sys.argv[1:], __package__)\n"
    script(tmp_path, text, "pkg/__main__.py")
    script(tmp_path, "", "pkg/__init__.py")
    script(tmp_path, text, "single.py")
    assert flowmesh("run", "-m", "single", "-v", cwd=tmp_path).stdout == "__main__ ['-v'] \n"
    assert flowmesh("run", "-m", "pkg", "1", cwd=tmp_path).stdout == "__main__ ['1'] pkg\n"
    assert flowmesh("run", tmp_path / "pkg", "1").stdout == "__main__ ['1'] None\n"
    done = flowmesh("run", "-c", "import sys; print(sys.argv, sys.path[0] == '')", "-c")
    assert done.stdout == "['-c', '-c'] True\n"
    assert flowmesh("run", "--", script(tmp_path, text), "--").stdout == "__main__ ['--'] None\n"


@pytest.mark.parametrize(
    ("ending", "code", "error"),
    [
        ("", 0, ""),
        ("sys.exit(7)", 7, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no luck')", 1, "no luck\n"),
        ("raise SystemExit(3)", 3, ""),
    ],
)
def test_exit_codes_pass_through(ending: str, code: int, error: str) -> None:
    done = flowmesh("run", "-c", f"import sys\n{ending}\n")
    assert (done.returncode, done.stderr) == (code, error)


def test_traceback_shows_only_the_users_frames(tmp_path: Path) -> None:
    path = script(tmp_path, "def fail():\n    raise ValueError('oh')\n\nfail()\n")
    done = flowmesh("run", path)
    plain = python(path)
    assert done.returncode == plain.returncode == 1
    assert done.stderr == plain.stderr


def test_syntax_errors_look_like_pythons(tmp_path: Path) -> None:
    path = script(tmp_path, "x = = 1\n")
    done = flowmesh("run", path)
    plain = python(path)
    assert (done.returncode, done.stderr) == (1, plain.stderr)


def test_keyboard_interrupt_is_130() -> None:
    done = flowmesh("run", "-c", "raise KeyboardInterrupt")
    assert done.returncode == 130
    assert "flowmesh" not in done.stderr


def test_work_after_the_script_still_sees_its_names() -> None:
    done = flowmesh("run", "-c", "import atexit\nx = 'kept'\natexit.register(lambda: print(x))\n")
    assert done.stdout == "kept\n"


def test_simulated_gpus_are_set_before_the_script() -> None:
    code = "import os; print(os.environ['FLOWMESH_SIMULATE_GPUS'])"
    assert flowmesh("run", "--simulate-gpus", "4", "-c", code).stdout == "4\n"
    assert flowmesh("run", "--simulate-gpus=2", "-c", code).stdout == "2\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "what to run is missing"),
        (["run", "-m"], "-m needs an argument"),
        (["run", "nowhere.py"], "No such file"),
        (["run", "-m", "no.such"], "no module named 'no.such'"),
        (["run", "--simulate-gpus", "many", "x.py"], "invalid number value: 'many'"),
        (["run", "--simulate-gpus", "-1", "x.py"], "-1 is negative"),
        (["run", "--unknown", "x.py"], "--unknown"),
    ],
)
def test_wrong_command_lines_say_why(words: list[str], message: str, tmp_path: Path) -> None:
    done = flowmesh(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_beside_the_current_folder_does_not_hide_pythons(tmp_path: Path) -> None:
    script(tmp_path, "raise RuntimeError('hidden')\n", "argparse.py")
    path = script(tmp_path / "elsewhere", "print('ran')\n")
    done = python("-P", "-m", "flowmesh", "run", path, cwd=tmp_path)
    assert done.stdout == "ran\n", done.stderr
