"""`import tensorflow` meaning Flowmesh, with a fake Flowmesh behind the table where that helps."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import flowmesh
from flowmesh import tensorflow_alias
from flowmesh.tensorflow_alias import ALIASES


def module(name: str, **content: object) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(content)
    return made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package `fakemesh` in Flowmesh's place; the alias is installed."""
    root = module(
        "fakemesh",
        __path__=[],
        __file__="fakemesh/__init__.py",
        __all__=["constant", "nn"],
        constant=lambda value: value,
        Session=type("Session", (), {}),
        nn=module("fakemesh.api.nn", relu="relu"),
        train=module("fakemesh.api.train", Saver="Saver"),
        contrib=module("fakemesh.api.contrib", layers=module("fakemesh.api.layers", flatten="f")),
        compat=module("fakemesh.api.compat", as_bytes=str.encode),
        core=module("fakemesh.core", private="inner"),
        disable_v2_behavior=lambda: None,
    )
    table = {
        "tensorflow": "fakemesh",
        "tensorflow.__version__": "fakemesh.reported_version",
        "tensorflow.compat.v1": "fakemesh",
        "tensorflow.core.framework.graph_pb2": "fakemesh.proto.graph_pb2",
        "tensorflow.python.client.timeline": "fakemesh.client.timeline",
        "tensorflow.python.framework.ops": "fakemesh",
        "tensorflow.python.framework.ops.odd_name": "fakemesh.constant",
        "tensorflow.python.missing": "fakemesh.not_there",
    }
    root.__dict__["reported_version"] = "1.15.0"
    for inner in ("proto", "proto.graph_pb2", "client", "client.timeline"):
        monkeypatch.setitem(
            sys.modules, f"fakemesh.{inner}", module(f"fakemesh.{inner}", __path__=[])
        )
    monkeypatch.setitem(sys.modules, "fakemesh", root)
    monkeypatch.setattr(tensorflow_alias, "ALIASES", table)
    tensorflow_alias.install()
    yield root
    tensorflow_alias.uninstall()


@pytest.fixture
def installed() -> Iterator[None]:
    tensorflow_alias.install()
    yield
    tensorflow_alias.uninstall()


def test_tensorflow_reads_through_to_the_package(fake: ModuleType) -> None:
    import tensorflow as tf  # type: ignore[import-not-found]

    assert tf.constant is fake.constant
    assert tf.Session is fake.Session
    assert tf.nn.relu == "relu"
    assert tf.__version__ == "1.15.0"
    assert tf.__file__ == "fakemesh/__init__.py"
    fake.__dict__["later"] = "added later"
    assert tf.later == "added later"
    assert {"constant", "nn", "python", "compat"} <= set(dir(tf))


def test_public_namespaces_are_importable_as_modules(fake: ModuleType) -> None:
    import tensorflow.contrib.layers as layers  # type: ignore[import-not-found]
    import tensorflow.nn as nn  # type: ignore[import-not-found]
    from tensorflow.contrib.layers import flatten  # type: ignore[import-not-found]
    from tensorflow.train import Saver  # type: ignore[import-not-found]

    assert nn.relu == "relu"
    assert Saver == "Saver"
    assert layers.flatten == flatten == "f"


def test_compat_v1_is_the_same_module(fake: ModuleType) -> None:
    import tensorflow as tf
    import tensorflow.compat.v1 as tf1  # type: ignore[import-not-found]
    from tensorflow.compat import as_bytes  # type: ignore[import-not-found]
    from tensorflow.compat.v1.nn import relu  # type: ignore[import-not-found]

    assert tf1 is tf
    assert tf.compat.v1 is tf
    assert relu == "relu"
    assert as_bytes("a") == b"a"
    tf1.disable_v2_behavior()


def test_the_table_is_reached_through_namespaces(fake: ModuleType) -> None:
    import tensorflow as tf

    assert tf.python.client.timeline is sys.modules["fakemesh.client.timeline"]
    from tensorflow.python.client import timeline  # type: ignore[import-not-found]
    from tensorflow.python.framework import ops  # type: ignore[import-not-found]

    assert timeline is sys.modules["fakemesh.client.timeline"]
    assert ops.Session is fake.Session
    assert ops.odd_name is fake.constant


def test_inner_packages_of_the_same_name_are_not_meant_nor_changed(fake: ModuleType) -> None:
    import tensorflow as tf
    import tensorflow.core.framework.graph_pb2 as graph_pb2  # type: ignore[import-not-found]

    assert graph_pb2 is sys.modules["fakemesh.proto.graph_pb2"]
    assert tf.core.framework.graph_pb2 is graph_pb2
    assert not hasattr(tf.core, "private")
    assert fake.core.private == "inner"
    assert not hasattr(fake, "python")


def test_star_import_takes_the_public_names(fake: ModuleType) -> None:
    names: dict[str, object] = {}
    exec("from tensorflow import *", names)
    assert set(names) - {"__builtins__"} == {"constant", "nn"}
    exec("from tensorflow.contrib.layers import *", names)
    assert names["flatten"] == "f"


def test_what_is_not_there_is_named_with_what_is(fake: ModuleType) -> None:
    with pytest.raises(
        ImportError, match=r"nothing for 'tensorflow\.python\.client\.timelin'"
    ) as e:
        importlib.import_module("tensorflow.python.client.timelin")
    assert "Did you mean 'tensorflow.python.client.timeline'?" in str(e.value)
    assert e.value.name == "tensorflow.python.client.timelin"
    with pytest.raises(ImportError, match=r"Supported below 'tensorflow\.python': client, frame"):
        importlib.import_module("tensorflow.python.other")
    with pytest.raises(ImportError, match=r"nothing for 'tensorflow\.keras'"):
        exec("from tensorflow import keras")
    with pytest.raises(ImportError, match=r"means 'fakemesh\.not_there', which this version"):
        exec("from tensorflow.python import missing")
    with pytest.raises(ImportError, match=r"nothing for 'tensorflow\.Session'"):
        importlib.import_module("tensorflow.Session")


def test_a_missing_attribute_is_an_attribute_error(fake: ModuleType) -> None:
    import tensorflow as tf

    with pytest.raises(AttributeError, match="module 'tensorflow' has no attribute 'nope'"):
        _ = tf.nope
    assert not hasattr(tf.python, "missing")
    assert not hasattr(tf, "__wrapped__")


def test_an_import_error_inside_a_target_is_not_hidden(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    tensorflow_alias.ALIASES["tensorflow.python.needy"] = "needy"
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        importlib.import_module("tensorflow.python.needy")


def test_setting_an_attribute_leaves_flowmesh_alone(fake: ModuleType) -> None:
    import tensorflow as tf

    tf.constant = "patched"
    assert tf.constant == "patched"
    assert callable(fake.constant)


def test_uninstall_forgets_and_install_repeats(fake: ModuleType) -> None:
    importlib.import_module("tensorflow.nn")
    tensorflow_alias.install()
    tensorflow_alias.uninstall()
    assert not [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]
    with pytest.raises(ImportError):
        importlib.import_module("tensorflow.nn.nothing")
    tensorflow_alias.install()
    assert importlib.import_module("tensorflow").constant is fake.constant


def test_another_tensorflow_already_imported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", module("tensorflow", __file__="/tf.py"))
    with pytest.raises(RuntimeError, match=r"already imported from /tf\.py"):
        tensorflow_alias.install()


def test_every_message_has_a_path(installed: None) -> None:
    folder = Path(flowmesh.__path__[0]) / "proto"
    there = {path.stem for path in folder.glob("*_pb2.py")}
    paths = {
        path: target.removeprefix("flowmesh.proto.")
        for path, target in ALIASES.items()
        if target.startswith("flowmesh.proto.")
    }
    assert set(paths.values()) == there
    for path, name in paths.items():
        assert path.rpartition(".")[2] == name
        assert importlib.import_module(path) is sys.modules[f"flowmesh.proto.{name}"]


def test_the_table_is_well_formed() -> None:
    for path, target in ALIASES.items():
        assert path.partition(".")[0] == "tensorflow"
        assert target.partition(".")[0] in {"flowmesh", "contextlib"}, (path, target)


def test_version_and_v2_switch(installed: None) -> None:
    import tensorflow as tf
    import tensorflow.compat.v1 as tf1

    assert tf.__version__ == tf.VERSION == "1.15.0"
    tf1.disable_v2_behavior()
