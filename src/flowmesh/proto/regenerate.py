"""Compiles every `.proto` beside this file to `*_pb2.py` and `*_pb2.pyi`.

Run `python -m flowmesh.proto.regenerate` after changing a `.proto` file (it needs `grpcio-tools`).
"""

from __future__ import annotations

import importlib.resources
import re
import sys
from pathlib import Path

PROTO_DIR = Path(__file__).resolve().parent
IMPORT_ROOT = PROTO_DIR.parent.parent


def main() -> int:
    from grpc_tools import protoc  # a development tool, absent from an installed package

    well_known = importlib.resources.files("grpc_tools") / "_proto"
    sources = sorted(
        str(path.relative_to(IMPORT_ROOT).as_posix()) for path in PROTO_DIR.glob("*.proto")
    )
    command = [
        "protoc",
        f"--proto_path={IMPORT_ROOT}",
        f"--proto_path={well_known}",
        f"--python_out={IMPORT_ROOT}",
        f"--pyi_out={IMPORT_ROOT}",
        *sources,
    ]
    status = int(protoc.main(command))
    for path in PROTO_DIR.glob("*_pb2.py"):
        path.write_text(without_version_check(path.read_text()))
    return status


def without_version_check(generated: str) -> str:
    """Drops the demand for a protobuf as new as the compiler.

    The compiler writes it into every module whatever the messages use. Plain proto3 messages such
    as these need nothing newer than protobuf 5.26, and other packages often hold protobuf back.
    """
    imported = r"^from google\.protobuf import runtime_version .*\n"
    checked = r"^_runtime_version\.ValidateProtobufRuntimeVersion\(\n(?:    .*\n)*\)\n"
    return re.sub(checked, "", re.sub(imported, "", generated, flags=re.M), flags=re.M)


if __name__ == "__main__":
    sys.exit(main())
