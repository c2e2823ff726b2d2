"""Regular expressions on strings."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from flowmesh.core.dtypes import bool, string
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import invalid, with_rank
from flowmesh.ops.string_support import as_bytes, decoded, encoded, map_strings

_REFERENCE = re.compile(r"\\(\\|[0-9])")


def _compiled(pattern: bytes) -> re.Pattern[str]:
    text = decoded(pattern)
    try:
        return re.compile(text)
    except re.error as error:
        raise invalid(f"Invalid pattern: {text}, error: {error}") from None


def _replaced(tensor: Any, pattern: bytes, rewrite: bytes, every: Any) -> Any:
    """Each string with the matches of `pattern` rewritten; `\\1` in `rewrite` is a group, `\\0` the match.

    As in TensorFlow, a rewrite that names a group that there is not gives empty strings.
    """
    compiled, template = _compiled(pattern), decoded(rewrite)
    groups = [int(g) for g in _REFERENCE.findall(template) if g.isdigit()]
    known = max(groups, default=0) <= compiled.groups

    def expand(match: re.Match[str]) -> str:
        def reference(found: re.Match[str]) -> str:
            what = found.group(1)
            return "\\" if what == "\\" else match.group(int(what)) or ""

        return _REFERENCE.sub(reference, template)

    def replace(value: bytes) -> bytes:
        if not known:
            return b""
        return encoded(compiled.sub(expand, decoded(value), count=0 if every else 1))

    return map_strings(replace, tensor)


class RegexReplace(OpDef):
    """Each string with the matches of a pattern replaced."""

    input, pattern, rewrite = Input(string), Input(string), Input(string)
    output = Output(string)
    replace_global = Attr("bool", True)
    numpy_only = True
    NotDifferentiable = True

    def infer(
        self, ctx: Any, input: TensorShape, pattern: TensorShape, rewrite: TensorShape
    ) -> TensorShape:
        with_rank(pattern, 0)
        with_rank(rewrite, 0)
        return input

    def compute(self, xp: Any, input: Any, pattern: Any, rewrite: Any) -> Any:
        return _replaced(
            input,
            as_bytes(np.asarray(pattern, object).item()),
            as_bytes(np.asarray(rewrite, object).item()),
            self.attrs["replace_global"],
        )


class StaticRegexReplace(OpDef):
    """Each string with the matches of a fixed pattern replaced."""

    input = Input(string)
    output = Output(string)
    pattern = Attr("string")
    rewrite = Attr("string")
    replace_global = Attr("bool", True)
    numpy_only = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        a = self.attrs
        return _replaced(input, a["pattern"], a["rewrite"], a["replace_global"])


def _matches(tensor: Any, pattern: bytes) -> Any:
    compiled = _compiled(pattern)
    array = np.asarray(tensor, object)
    found = [compiled.fullmatch(decoded(as_bytes(v))) is not None for v in array.reshape(-1)]
    return np.array(found, np.bool_).reshape(array.shape)


class RegexFullMatch(OpDef):
    """Whether a pattern matches the whole of each string."""

    input, pattern = Input(string), Input(string)
    output = Output(bool)
    numpy_only = True

    def infer(self, ctx: Any, input: TensorShape, pattern: TensorShape) -> TensorShape:
        with_rank(pattern, 0)
        return input

    def compute(self, xp: Any, input: Any, pattern: Any) -> Any:
        return _matches(input, as_bytes(np.asarray(pattern, object).item()))


class StaticRegexFullMatch(OpDef):
    """Whether a fixed pattern matches the whole of each string."""

    input = Input(string)
    output = Output(bool)
    pattern = Attr("string")
    numpy_only = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        return _matches(input, self.attrs["pattern"])


def _is_text(value: Any) -> Any:
    return isinstance(value, (str, bytes))


def regex_replace(
    input: Any, pattern: Any, rewrite: Any, replace_global: Any = True, name: str | None = None
) -> Tensor:
    """Each string with the matches (all, or the first) of `pattern` replaced by `rewrite`, where `\\1` is a group
    (tf.regex_replace, tf.strings.regex_replace). A bad pattern raises InvalidArgumentError when run."""
    if _is_text(pattern) and _is_text(rewrite):
        return raw.StaticRegexReplace(
            input, pattern=pattern, rewrite=rewrite, replace_global=replace_global, name=name
        )
    return raw.RegexReplace(input, pattern, rewrite, replace_global=replace_global, name=name)


def regex_full_match(input: Any, pattern: Any, name: str | None = None) -> Tensor:
    """Whether `pattern` matches the whole of each string (tf.strings.regex_full_match)."""
    if _is_text(pattern):
        return raw.StaticRegexFullMatch(input, pattern=pattern, name=name)
    return raw.RegexFullMatch(input, pattern, name=name)
