"""Records what TensorFlow 1.15 writes, for the tests of `proto/` and `formats/`.

Run by hand with a Python that has TensorFlow 1.15 (so: Python 3.7):

    python tests/oracle/record_formats.py

It rewrites tests/proto/fixtures and tests/formats/fixtures.
"""

import importlib
import json
import os
import re
import shutil

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf import descriptor_pb2, text_format

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROTO_FIXTURES = os.path.join(TESTS, "proto", "fixtures")
FORMAT_FIXTURES = os.path.join(TESTS, "formats", "fixtures")

MODULES = {
    "example": "example feature",
    "framework": (
        "allocation_description attr_value cost_graph device_attributes function graph node_def "
        "op_def resource_handle step_stats summary tensor tensor_description tensor_shape "
        "tensor_slice types variable versions"
    ),
    "lib.core": "error_codes",
    "protobuf": (
        "cluster config control_flow debug meta_graph named_tensor queue_runner rewriter_config "
        "saved_model saved_object_graph saver struct tensor_bundle tensorflow_server "
        "trackable_object_graph verifier_config"
    ),
    "util": "event saved_tensor_slice",
}
NUMBER_TYPES = (
    "float32 float64 int32 uint8 int16 int8 int64 uint16 uint32 uint64 bool float16 bfloat16 "
    "complex64 complex128"
)
NATIVE_ONLY = ("master", "worker")


def python_files():
    for package, names in MODULES.items():
        for name in names.split():
            yield importlib.import_module(f"tensorflow.core.{package}.{name}_pb2").DESCRIPTOR
    yield importlib.import_module("tensorflow.python.training.checkpoint_state_pb2").DESCRIPTOR


def native_file(name):
    """The descriptor of a file that Python does not show, from the shared library's own data."""
    from tensorflow.python import _pywrap_tensorflow_internal as native

    with open(native.__file__, "rb") as library:
        data = library.read()
    path = f"tensorflow/core/protobuf/{name}.proto".encode()
    for match in re.finditer(re.escape(b"\x0a" + bytes([len(path)]) + path), data):
        end = match.start()
        while data[end] & 7 == 2 and (end == match.start() or data[end] != 0x0A):
            size, shift, position = 0, 0, end + 1
            while True:
                size |= (data[position] & 127) << shift
                shift += 7
                position += 1
                if data[position - 1] < 128:
                    break
            end = position + size
            if data[end - size - 1 : end].endswith(b"proto3"):
                break
        proto = descriptor_pb2.FileDescriptorProto()
        try:
            proto.ParseFromString(data[match.start() : end])
        except Exception:
            continue
        if proto.message_type:
            return proto
    raise RuntimeError("no descriptor of " + name)


def field_facts(files):
    """One line for each field and each enum value."""
    kind = descriptor_pb2.FieldDescriptorProto.Type.Name

    def of_enum(enum, name):
        for value in enum.value:
            yield f"{name} {value.name}={value.number}"

    def of_message(message, name):
        yield f"{name} message"
        for field in message.field:
            words = [name + "." + field.name, str(field.number)]
            words.append({1: "one", 3: "many"}[field.label])
            words.append(kind(field.type)[5:].lower())
            if field.type_name:
                words.append(field.type_name.lstrip("."))
            if field.HasField("oneof_index"):
                words.append("oneof=" + message.oneof_decl[field.oneof_index].name)
            if field.options.HasField("packed"):
                words.append("packed=" + str(field.options.packed).lower())
            yield " ".join(words)
        for nested in message.nested_type:
            for line in of_message(nested, name + "." + nested.name):
                yield line
        for enum in message.enum_type:
            for line in of_enum(enum, name + "." + enum.name):
                yield line

    for file in files:
        for message in file.message_type:
            for line in of_message(message, file.package + "." + message.name):
                yield line
        for enum in file.enum_type:
            for line in of_enum(enum, file.package + "." + enum.name):
                yield line


def record_fields():
    files = []
    for descriptor in python_files():
        proto = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(proto)
        files.append(proto)
    files += [native_file(name) for name in NATIVE_ONLY]
    with open(os.path.join(PROTO_FIXTURES, "tf115_fields.txt"), "w") as out:
        out.writelines(line + "\n" for line in sorted(field_facts(files)))


def record_messages():
    """Messages as bytes and as text."""
    tf.reset_default_graph()
    with tf.device("/job:ps/task:0"):
        weights = tf.Variable(tf.random_normal([3, 2], seed=7), name="weights")
    inputs = tf.placeholder(tf.float32, [None, 3], name="inputs")
    outputs = tf.nn.relu(tf.matmul(inputs, weights), name="outputs")
    saver = tf.train.Saver([weights])
    tf.add_to_collection("outputs", outputs)
    config = tf.ConfigProto(
        device_count={"CPU": 2},
        allow_soft_placement=True,
        operation_timeout_in_ms=1500,
        device_filters=["/job:ps"],
    )
    config.gpu_options.per_process_gpu_memory_fraction = 0.25
    config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    config.graph_options.rewrite_options.memory_optimization = 3
    config.experimental.collective_group_leader = "/job:worker/replica:0/task:0"
    server = tf.train.ServerDef(job_name="worker", task_index=1, protocol="grpc")
    server.cluster.CopyFrom(
        tf.train.ClusterSpec({"ps": ["a:1"], "worker": {1: "b:2", 3: "c:3"}}).as_cluster_def()
    )
    server.default_session_config.CopyFrom(config)
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE, timeout_in_ms=77)
    options.experimental.collective_graph_key = 5
    example = tf.train.Example()
    example.features.feature["a"].int64_list.value.extend([1, -1, 1 << 40])
    event = tf.Event(wall_time=12.5, step=3)
    event.summary.value.add(tag="loss", simple_value=0.5)
    messages = {
        "graph": tf.get_default_graph().as_graph_def(add_shapes=True),
        "meta_graph": tf.train.export_meta_graph(saver_def=saver.as_saver_def()),
        "config": config,
        "run_options:config": options,
        "tensorflow_server": server,
        "example": example,
        "event": event,
        "tensor": tf.make_tensor_proto([[1.5, 2.5], [3.5, 4.5]]),
        "saver": saver.as_saver_def(),
    }
    messages["meta_graph"].meta_info_def.ClearField("stripped_op_list")
    rows = []
    for name, message in sorted(messages.items()):
        rows.append(
            {
                "module": name.split(":")[-1] + "_pb2",
                "message": message.DESCRIPTOR.name,
                "bytes": message.SerializeToString(deterministic=True).hex(),
                "text": text_format.MessageToString(message),
            }
        )
    write_json(os.path.join(PROTO_FIXTURES, "tf115_messages.json"), rows)


def numbers(dtype):
    low = -3 if dtype.is_floating or (dtype.is_integer and not dtype.is_unsigned) else 0
    return [low, 0, 1, 2, 5, 7]


def tensor_cases():
    for dtype in NUMBER_TYPES.split():
        values = numbers(tf.as_dtype(dtype))
        yield dtype, (), values[:1]
        yield dtype, (1,), values[:1]
        yield dtype, (2, 3), values
        yield dtype, (0, 2), []
    strings = [b"", b"a", b"\x00\xff", b"longer" * 30]
    yield "string", (), strings[1:2]
    yield "string", (2, 2), strings
    yield "string", (0,), []


def as_array(dtype, shape, values):
    numpy_dtype = tf.as_dtype(dtype).as_numpy_dtype
    if dtype == "string":
        array = np.empty(len(values), object)
        array[:] = values
    else:
        array = np.array(values, np.float64).astype(numpy_dtype)
        if dtype.startswith("complex"):
            array = (array * (1 + 2j)).astype(numpy_dtype)
    return array.reshape(shape)


def case_row(dtype, shape, values):
    values = [v.decode("latin1") for v in values] if dtype == "string" else values
    return {"dtype": dtype, "shape": list(shape), "values": values}


def record_tensors():
    rows = []
    for dtype, shape, values in tensor_cases():
        proto = tf.make_tensor_proto(as_array(dtype, shape, values))
        row = case_row(dtype, shape, values)
        row["bytes"] = proto.SerializeToString().hex()
        rows.append(row)
    write_json(os.path.join(FORMAT_FIXTURES, "tensors.json"), rows)


def record_histograms():
    random = np.random.RandomState(3)
    cases = {
        "empty": [],
        "zero": [0.0],
        "one": [1.0],
        "limits": [1e-12, -1e-12, 1.1e-12, 1e20, -1e20, 1e30, -1e30, 0.0, -0.0],
        "normal": random.randn(300).tolist(),
        "tiny": (random.randn(50) * 1e-11).tolist(),
        "wide": (random.randn(50) * 10.0 ** random.randint(-14, 22, 50)).tolist(),
        "integers": [float(i) for i in range(-20, 60, 3)],
    }
    rows = []
    for dtype in ("float64", "float32"):
        for name, values in cases.items():
            with tf.Graph().as_default(), tf.Session() as session:
                data = session.run(tf.summary.histogram("h", tf.constant(values, dtype)))
            histogram = tf.Summary.FromString(data).value[0].histo
            rows.append(
                {
                    "name": name,
                    "dtype": dtype,
                    "values": np.array(values, dtype).astype(float).tolist(),
                    "bytes": histogram.SerializeToString().hex(),
                }
            )
    write_json(os.path.join(FORMAT_FIXTURES, "histograms.json"), rows)


def record_images():
    random = np.random.RandomState(5)
    inf, nan = float("inf"), float("nan")
    cases = [
        random.rand(2, 3, 4, 1),
        random.randn(1, 3, 4, 3),
        random.randn(1, 2, 2, 4) * 100,
        np.zeros((1, 2, 2, 3)),
        np.full((1, 2, 2, 1), -7.0),
        np.array([[[[1, 2, nan], [3, inf, 1], [0.5, 0, 0]]]]),
        np.full((1, 1, 2, 3), nan),
    ]
    rows = []
    for images in cases:
        images = images.astype(np.float32)
        with tf.Graph().as_default(), tf.Session() as session:
            summary = tf.Summary.FromString(session.run(tf.summary.image("i", images, 2)))
            pixels = [
                session.run(tf.image.decode_png(value.image.encoded_image_string)).tolist()
                for value in summary.value
            ]
        rows.append(
            {
                "images": images.astype(float).tolist(),
                "pixels": pixels,
                "tags": [value.tag for value in summary.value],
            }
        )
    write_json(os.path.join(FORMAT_FIXTURES, "images.json"), rows)


def record_files():
    records = [b"", b"one", b"\x00" * 100, b"last" * 1000]
    for name, compression in (("plain", ""), ("gzip", "GZIP"), ("zlib", "ZLIB")):
        path = os.path.join(FORMAT_FIXTURES, "records." + name)
        with tf.io.TFRecordWriter(path, compression) as writer:
            for record in records:
                writer.write(record)
    directory = os.path.join(FORMAT_FIXTURES, "logs")
    shutil.rmtree(directory, ignore_errors=True)
    with tf.Graph().as_default(), tf.summary.FileWriter(directory) as writer:
        writer.add_event(tf.Event(wall_time=1.0, step=1))
        summary = tf.Summary(value=[tf.Summary.Value(tag="loss", simple_value=0.25)])
        writer.add_event(tf.Event(wall_time=2.0, step=2, summary=summary))
    (written,) = os.listdir(directory)
    os.replace(os.path.join(directory, written), os.path.join(FORMAT_FIXTURES, "events"))
    os.rmdir(directory)


def record_checkpoints():
    rows = [
        dict(case_row(dtype, shape, values), name=f"{dtype}_{i}")
        for i, (dtype, shape, values) in enumerate(tensor_cases())
    ]
    tensors = [as_array(dtype, shape, values) for dtype, shape, values in tensor_cases()]
    names = [row["name"] for row in rows]
    specs = [""] * len(names)
    whole = np.arange(40, dtype=np.float32).reshape(4, 10)
    for spec, part in (("4 10 0,2:-", whole[:2]), ("4 10 2,2:-", whole[2:])):
        names.append("scope/partitioned")
        specs.append(spec)
        tensors.append(part)
    with tf.Graph().as_default(), tf.Session() as session:
        prefix = os.path.join(FORMAT_FIXTURES, "bundle")
        session.run(
            tf.raw_ops.SaveV2(
                prefix=prefix, tensor_names=names, shape_and_slices=specs, tensors=tensors
            )
        )
        halves = [os.path.join(FORMAT_FIXTURES, f"half{i}") for i in range(2)]
        for half, start in zip(halves, (0, 2)):
            session.run(
                tf.raw_ops.SaveV2(
                    prefix=half,
                    tensor_names=["w", f"only_in_{start}"],
                    shape_and_slices=[f"4 10 {start},2:-", ""],
                    tensors=[whole[start : start + 2], np.int64(start)],
                )
            )
        session.run(
            tf.raw_ops.MergeV2Checkpoints(
                checkpoint_prefixes=halves,
                destination_prefix=os.path.join(FORMAT_FIXTURES, "merged"),
                delete_old_dirs=False,
            )
        )
    write_json(os.path.join(FORMAT_FIXTURES, "bundle.json"), rows)


def write_json(path, rows):
    with open(path, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    tf.disable_v2_behavior()
    for folder in (PROTO_FIXTURES, FORMAT_FIXTURES):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
    record_fields()
    record_messages()
    record_tensors()
    record_histograms()
    record_images()
    record_files()
    record_checkpoints()
