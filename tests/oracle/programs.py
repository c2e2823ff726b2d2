# ruff: noqa  (also runs under Python 3.7)
"""Runs the small programs of `*_cases.py` and describes what they built and returned, as JSON.

Works under TensorFlow 1.15's Python 3.7 and under Flowmesh: the module that plays `tf` is an argument. A program is
a function `(tf, err)`; `err(thunk)` gives the thunk's result, or the class and message of what it raised.
"""

import importlib
import re

import numpy as np

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_CLASS = re.compile(r"(<(?:class|enum|type|function) '?)(?:[\w]+\.)*(?=\w)")
_DEFINED = re.compile(r" ?\(defined at [^\n]*?\) ?")
_COUNTED = re.compile(r"((?:__inference_[^}]*?|pyfunc|_make_dataset)_)[0-9a-zA-Z]+(?=$|\})")
_UPB = re.compile(r"(google\.protobuf\.)?[\w.]*_pb2\.")


def load(area):
    """The programs of an area by name, in order of definition."""
    try:
        module = importlib.import_module(area + "_cases")
    except ImportError:
        module = importlib.import_module("tests.oracle." + area + "_cases")
    return {
        name: function
        for name, function in vars(module).items()
        if callable(function)
        and not name.startswith("_")
        and getattr(function, "__module__", "") == module.__name__
    }


def run(tf, function):
    """What a program built in a fresh graph, and what it returned."""
    with tf.Graph().as_default() as graph:
        out = plain(tf, function(tf, lambda thunk: outcome(tf, thunk)))
        found = tf.get_default_graph()
        nodes = (
            []
            if function.__name__.endswith(("errors", "only_values"))
            else [node(op) for op in (found or graph).get_operations()]
        )
    return {"nodes": nodes, "out": out}


def outcome(tf, thunk):
    """The result of `thunk`, or its error."""
    try:
        return plain(tf, thunk())
    except Exception as error:
        return {"error": type(error).__name__, "message": message(error)}


def message(error):
    """The text of an error without addresses, file names, traces and package names."""
    text = getattr(error, "message", None)
    if not isinstance(text, str):
        text = str(error)
    text = text.split("\n\nOriginal stack trace")[0].split("\nOriginal stack trace")[0]
    text = text.split("\n\nErrors may have originated")[0]
    text = _ADDRESS.sub(" at 0x", text)
    text = _CLASS.sub(r"\1", text)
    text = re.sub(r" +(?=\]\])", "", re.sub("  +", " ", _DEFINED.sub(" ", text)))
    text = re.sub(r"; (signature|attr)=[^>]*->[^;]*?(; attr=.*?)?>; NodeDef", ">; NodeDef", text)
    text = re.sub(r"; (signature|attr)=.*?>(?=\.|;)", ">", text)
    text = re.sub(
        r"\[\[(?:\{\{)?node (?:_retval_)?(\S+?)(?:_0_0)?(?:\}\})?\]\]", r"[[node \1]]", text
    )
    text = re.sub(r'  File "[^\n]*', '  File "..."', text)
    return text.rstrip()


def node(op):
    """One node: name, type, inputs (data and control), device, attrs, static shapes and dtypes."""
    definition = op.node_def
    result = {
        "name": definition.name,
        "op": definition.op,
        "shapes": [shape_text(t.shape) for t in op.outputs],
    }
    if definition.input:
        result["input"] = [i[:-2] if i.endswith(":0") else i for i in definition.input]
    controls = sorted(c.name for c in op.control_inputs)
    if controls:
        result["control"] = controls
    if definition.device:
        result["device"] = definition.device
    attrs = {k: message_json(v) for k, v in sorted(definition.attr.items())}
    if attrs:
        result["attr"] = attrs
    return result


def shape_text(shape):
    """`[2,?]`, or `?`."""
    if shape.ndims is None:
        return "?"
    return "[" + ",".join("?" if d is None else str(d) for d in shape.as_list()) + "]"


def message_json(proto):
    """A protobuf message as nested lists and dicts of its set fields."""
    result = {}
    for field, value in proto.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries = sorted(value.items())
            result[field.name] = {
                str(k): message_json(v) if hasattr(v, "ListFields") else scalar(v)
                for k, v in entries
            }
        elif not isinstance(value, (str, bytes)) and hasattr(value, "__len__"):
            result[field.name] = [
                message_json(v) if hasattr(v, "ListFields") else scalar(v) for v in value
            ]
        elif hasattr(value, "ListFields"):
            result[field.name] = message_json(value)
        else:
            result[field.name] = scalar(value)
    return result


def scalar(value):
    """A number or string that JSON can hold; floats in the precision of float32."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        return _COUNTED.sub(r"\1", value)
    if isinstance(value, float):
        return "%.7g" % value
    return value


def plain(tf, value):
    """Any result of a program as JSON."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": "%.12g" % value}
    if isinstance(value, bytes):
        return array_json(np.array(value, object))
    if isinstance(value, (np.ndarray, np.generic)):
        return array_json(value)
    if isinstance(value, dict):
        kind = type(value).__name__
        entries = [[str(k), plain(tf, v)] for k, v in value.items()]
        if kind == "dict":
            return {"dict": dict(entries)}
        return {kind: entries}
    return plain_graph_element(tf, value)


def plain_graph_element(tf, value):
    """Graph elements, structures and messages as JSON."""
    if isinstance(value, tf.Tensor):
        return "tensor %s %s %s" % (value.name, value.dtype.name, shape_text(value.shape))
    if isinstance(value, tf.Operation):
        return "op %s %s" % (value.name, value.type)
    if isinstance(value, tf.Variable):
        return "variable %s %s %s" % (value.name, value.dtype.name, shape_text(value.shape))
    if isinstance(value, tf.DType):
        return "dtype " + value.name
    if isinstance(value, tf.TensorShape):
        return "shape " + shape_text(value)
    if isinstance(value, (tf.IndexedSlices, tf.SparseTensor)):
        parts = [value.values, value.indices, value.dense_shape]
        return {type(value).__name__: [plain(tf, p) for p in parts]}
    if isinstance(value, (list, tuple)):
        items = [plain(tf, v) for v in value]
        return items if type(value) in (list, tuple) else {type(value).__name__: items}
    if hasattr(value, "ListFields"):
        return {"message": message_json(value)}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(str(v) for v in value)}
    return {"repr": message(Exception(repr(value)))}


def array_json(value):
    """An array or NumPy scalar: kind, dtype, shape, elements."""
    array = np.asarray(value)
    flat = array.reshape(-1).tolist()
    if array.dtype.kind in "OS":
        items = [v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in flat]
    elif array.dtype.kind == "f":
        items = ["%.6g" % v for v in flat]
    elif array.dtype.kind == "c":
        items = ["%.6g %.6g" % (v.real, v.imag) for v in flat]
    else:
        items = flat
    dtype = "object" if array.dtype.kind in "OS" else str(array.dtype)
    return {"array": items, "dtype": dtype, "shape": list(array.shape)}
