"""Print and PrintV2: values written to standard error while a step runs."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from flowmesh.core.dtypes import string
from flowmesh.core.file_policy import check_path
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import with_rank
from flowmesh.ops.naming import is_dense, name_scope
from flowmesh.ops.structure import flatten, map_leaves
from flowmesh.ops.summarize import summary, summary_v2


def _write(text: str) -> None:
    print(text, file=sys.stderr, flush=True, end="")


class PrintOp(OpDef):
    """Passes `input` on and prints `data`."""

    op_type = "Print"

    input = Input("T")
    data = Input(types="U")
    output = Output("T")
    T = type_attr()
    U = Attr("list(type)", minimum=0)
    message = Attr("string", b"")
    first_n = Attr("int", -1)
    summarize = Attr("int", 3)
    stateful = True

    def infer(self, ctx: Any, input: TensorShape, data: Any) -> TensorShape:
        return input

    def run(self, ctx: Any, input: Any, data: Any) -> Any:
        """Writes `message[value][value]` to standard error, for the first `first_n` runs."""
        first, done = self.attrs["first_n"], ctx.state.get("printed", 0)
        if first < 0 or done < first:
            ctx.state["printed"] = done + 1
            shown = "".join(f"[{summary(v, self.attrs['summarize'])}]" for v in data)
            _write(self.attrs["message"].decode("utf-8", "replace") + shown + "\n")
        return input

    def gradient(self, op: Any, grad: Any, *_: Any) -> Any:
        return [grad] + [None] * (len(op.inputs) - 1)


class StringFormat(OpDef):
    """`template` with each placeholder replaced by a tensor's text."""

    inputs = Input(types="T")
    output = Output(string)
    T = Attr("list(type)", minimum=0)
    template = Attr("string", b"%s")
    placeholder = Attr("string", b"%s")
    summarize = Attr("int", 3)
    numpy_only = True

    def infer(self, ctx: Any, inputs: Any) -> TensorShape:
        return TensorShape([])

    def compute(self, xp: Any, inputs: Any) -> Any:
        pieces = self.attrs["template"].split(self.attrs["placeholder"])
        text = pieces[0]
        for piece, value in zip(pieces[1:], inputs):
            text += summary_v2(value, self.attrs["summarize"]).encode() + piece
        out = np.empty((), object)
        out[()] = text
        return out


class PrintV2(OpDef):
    """Prints a string."""

    input = Input(string)
    output_stream = Attr("string", b"stderr")
    end = Attr("string", b"\n")
    stateful = True

    def infer(self, ctx: Any, input: TensorShape) -> Any:
        with_rank(input, 0)
        return ()

    def run(self, ctx: Any, input: Any) -> Any:
        """Writes to the stream: stdout, stderr, a log level, or a file:// path."""
        text = (np.asarray(input).item() + self.attrs["end"]).decode("utf-8", "replace")
        stream = self.attrs["output_stream"].decode()
        if stream == "stdout":
            print(text, end="", flush=True)
        elif stream.startswith("file://"):
            check_path(ctx.files, stream[len("file://") :])
            with open(stream[len("file://") :], "a", encoding="utf-8") as file:
                file.write(text)
        else:
            _write(text)
        return ()


def Print(
    input_: Any,
    data: Any,
    message: str | None = None,
    first_n: int | None = None,
    summarize: int | None = None,
    name: str | None = None,
) -> Tensor:
    """`input_`, printing `message` and the tensors `data` to standard error when run (tf.Print).

    Args:
      first_n: print only so many times (default: always).
      summarize: print at most so many entries of each tensor (default 3; negative: all).
    """
    return raw.Print(
        input_,
        list(data),
        message=message or "",
        first_n=-1 if first_n is None else first_n,
        summarize=3 if summarize is None else summarize,
        name=name,
    )


_STREAMS = {"log(info)", "log(warning)", "log(error)", "stderr", "stdout"}


def _stream(output_stream: Any) -> str:
    if output_stream is None or output_stream is sys.stderr:
        return "stderr"
    if output_stream is sys.stdout:
        return "stdout"
    if isinstance(output_stream, str) and (
        output_stream in _STREAMS or output_stream.startswith("file://")
    ):
        return output_stream
    raise ValueError(
        f"Unsupported output stream, logging level, or file.{output_stream}. Supported streams are "
        "stderr, stdout, log levels log(info), log(warning), log(error), and file://path."
    )


def print_v2(*inputs: Any, **kwargs: Any) -> Operation:
    """An Operation that prints its arguments, tensors among them by value (tf.print).

    Keywords: `output_stream` (sys.stderr by default, sys.stdout, "file://..."), `summarize` (3; -1: all), `sep`, `end`, `name`.
    Raises ValueError for other keywords or streams.
    """
    stream = _stream(kwargs.pop("output_stream", None))
    name = kwargs.pop("name", None)
    summarize = kwargs.pop("summarize", 3)
    sep = kwargs.pop("sep", " ")
    end = kwargs.pop("end", "\n")
    if kwargs:
        raise ValueError("Unrecognized keyword arguments for tf.print: " + ", ".join(kwargs))
    if summarize is None:
        summarize = 3
    with name_scope(name, "PrintV2", [v for v in flatten(list(inputs)) if is_dense(v)]):
        if len(inputs) == 1 and is_dense(inputs[0]):
            only = convert_to_tensor(inputs[0])
            if only.dtype == string and only.shape.ndims == 0:
                return raw.PrintV2(only, output_stream=stream, end=end)
        tensors: list[Any] = []
        texts = [_template(value, tensors) for value in inputs]
        text = raw.StringFormat(
            tensors, template=sep.join(texts), placeholder=_MARK, summarize=summarize
        )
        return raw.PrintV2(text, output_stream=stream, end=end)


_MARK = "{{flowmesh-value}}"


class _Mark:
    """Stands for a tensor inside the text of a structure."""

    def __repr__(self) -> str:
        return _MARK


def _template(value: Any, tensors: list[Any]) -> str:
    """The text of an argument with a mark for each tensor, which is appended to `tensors`."""

    def leaf(item: Any) -> Any:
        if is_dense(item):
            tensors.append(item)
            return _Mark()
        return item

    marked = map_leaves(leaf, value)
    return marked if isinstance(marked, str) else str(marked)
