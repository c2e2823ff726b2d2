"""Our messages are TensorFlow 1.15's: same names, numbers, types and bytes."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, text_format

import flowmesh.proto
from flowmesh.proto import regenerate

FIXTURES = Path(__file__).parent / "fixtures"
MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(flowmesh.proto.__path__)
    if module.name.endswith("_pb2")
)

# What stands in our messages and not in TensorFlow 1.15's.
OURS = (
    "tensorflow.ConfigProto.Experimental.flowmesh ",
    "tensorflow.FlowmeshOptions",
    "tensorflow.RegisterGraphRequest.config_proto ",
    # TensorFlow 2's, which 1.15 does not have yet.
    "tensorflow.CreateWorkerSessionRequest.master_task ",
    "tensorflow.CreateWorkerSessionRequest.master_incarnation ",
)


def file_proto(descriptor: Any) -> descriptor_pb2.FileDescriptorProto:
    proto = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(proto)
    return proto


def our_files() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    for name in MODULES:
        yield file_proto(importlib.import_module(f"flowmesh.proto.{name}").DESCRIPTOR)


def as_tensorflow(name: str) -> str:
    return re.sub(r"^(flowmesh|tensorboard)\b", "tensorflow", name)


def facts(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """The lines that tests/oracle/record_formats.py writes, under TensorFlow's package name."""
    package = as_tensorflow(file.package)
    for message in file.message_type:
        yield from message_facts(message, f"{package}.{message.name}")
    for enum in file.enum_type:
        yield from enum_facts(enum, f"{package}.{enum.name}")


def enum_facts(enum: descriptor_pb2.EnumDescriptorProto, name: str) -> Iterator[str]:
    return (f"{name} {value.name}={value.number}" for value in enum.value)


def message_facts(message: descriptor_pb2.DescriptorProto, name: str) -> Iterator[str]:
    yield f"{name} message"
    for field in message.field:
        yield field_fact(message, field, name)
    for nested in message.nested_type:
        yield from message_facts(nested, f"{name}.{nested.name}")
    for enum in message.enum_type:
        yield from enum_facts(enum, f"{name}.{enum.name}")


def field_fact(
    message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto, name: str
) -> str:
    words = [f"{name}.{field.name}", str(field.number), {1: "one", 3: "many"}[field.label]]
    words.append(field.Type.Name(field.type)[5:].lower())
    if field.type_name:
        words.append(as_tensorflow(field.type_name.lstrip(".")))
    if field.HasField("oneof_index"):
        words.append(f"oneof={message.oneof_decl[field.oneof_index].name}")
    if field.options.HasField("packed"):
        words.append(f"packed={str(field.options.packed).lower()}")
    return " ".join(words)


def test_every_field_and_enum_value_is_tensorflows() -> None:
    ours = {line for file in our_files() for line in facts(file) if not line.startswith(OURS)}
    golden = set((FIXTURES / "tf115_fields.txt").read_text().splitlines())
    assert sorted(ours ^ golden) == []


def test_our_additions_are_there() -> None:
    lines = [line for file in our_files() for line in facts(file)]
    for prefix in OURS:
        assert any(line.startswith(prefix) for line in lines), prefix


def test_fields_agree_with_tensorboards_where_it_has_them() -> None:
    ours = {line.split(" ", 1)[0]: line for file in our_files() for line in facts(file)}
    compared, differences = 0, set()
    for name in MODULES:
        try:
            module = importlib.import_module(f"tensorboard.compat.proto.{name}")
        except ImportError:
            continue
        for line in facts(file_proto(module.DESCRIPTOR)):
            field, fact = line.split(" ", 1)
            if "=" in fact.split(" ")[0] or fact == "message" or field not in ours:
                continue
            compared += 1
            if ours[field] != f"{field} {fact}":
                differences.add(field)
    assert compared > 400
    assert differences == set()


def test_bytes_that_tensorflow_wrote_are_read_and_written_alike() -> None:
    rows = json.loads((FIXTURES / "tf115_messages.json").read_text())
    assert len(rows) >= 9
    for row in rows:
        module = importlib.import_module(f"flowmesh.proto.{row['module']}")
        data = bytes.fromhex(row["bytes"])
        message = getattr(module, row["message"]).FromString(data)
        # Map entries have no agreed order, but their bytes are the same.
        assert sorted(message.SerializeToString()) == sorted(data), row["message"]
        text = row["text"].replace("type.googleapis.com/tensorflow.", "type.googleapis.com/")
        assert text_format.MessageToString(message) == text


def test_module_level_enum_values() -> None:
    from flowmesh.proto import error_codes_pb2, types_pb2

    assert (types_pb2.DT_FLOAT, types_pb2.DT_STRING, types_pb2.DT_UINT64_REF) == (1, 7, 123)
    assert error_codes_pb2.DATA_LOSS == 15


def test_every_file_is_imported_alone() -> None:
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for loaded in [m for m in sys.modules if m.startswith('flowmesh.proto.')]:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module('flowmesh.proto.' + name)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, *MODULES]
    path = str(Path(flowmesh.proto.__path__[0]).parent.parent)
    done = subprocess.run(
        command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_compiled_files_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc_tools")
    package = tmp_path / "flowmesh" / "proto"
    package.mkdir(parents=True)
    for source in regenerate.PROTO_DIR.glob("*.proto"):
        (package / source.name).write_text(source.read_text())
    committed = regenerate.PROTO_DIR
    monkeypatch.setattr(regenerate, "PROTO_DIR", package)
    monkeypatch.setattr(regenerate, "IMPORT_ROOT", tmp_path)
    assert regenerate.main() == 0
    assert {path.name for path in package.glob("*_pb2.py")} == {f"{name}.py" for name in MODULES}
    for path in package.glob("*_pb2.py"):
        assert serialized_part(path) == serialized_part(committed / path.name)


def serialized_part(path: Path) -> list[str]:
    """The descriptor in a compiled file; what is around it differs between compilers."""
    return [line for line in path.read_text().splitlines() if line.startswith("DESCRIPTOR = ")]
