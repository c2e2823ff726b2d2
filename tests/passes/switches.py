"""Switch and Merge as the executor knows them, for tests, where the package does not define them."""

from __future__ import annotations

from typing import Any

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core import dtypes
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.registry import is_registered

if not is_registered("Switch"):

    class Switch(OpDef):
        """Passes `data` to one of two outputs."""

        data, pred = Input("T"), Input(dtypes.bool)
        output_false, output_true = Output("T"), Output("T")
        T = type_attr()
        control_flow = True
        devices = ("CPU", "GPU")

        def infer(self, ctx: Any, data: Any, pred: Any) -> Any:
            return data, data


if not is_registered("Merge"):

    class Merge(OpDef):
        """The live one of its inputs, and its number."""

        inputs = Input("T", number="N")
        output, value_index = Output("T"), Output(dtypes.int32)
        T = type_attr()
        N = Attr("int", minimum=1)
        control_flow = True
        devices = ("CPU", "GPU")
