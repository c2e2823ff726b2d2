"""Which part of a larger variable a variable is, and names inside and outside of import scopes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmesh.proto import variable_pb2


class SaveSliceInfo:
    """Which slice of a larger logical variable this one is."""

    def __init__(
        self,
        full_name: str | None = None,
        full_shape: Sequence[int] | None = None,
        var_offset: Sequence[int] | None = None,
        var_shape: Sequence[int] | None = None,
        save_slice_info_def: Any = None,
        import_scope: str | None = None,
    ) -> None:
        if save_slice_info_def is not None:
            message = save_slice_info_def
            self.full_name = add_scope(message.full_name, import_scope)
            self.full_shape = list(message.full_shape)
            self.var_offset = list(message.var_offset)
            self.var_shape = list(message.var_shape)
        else:
            self.full_name = full_name or ""
            self.full_shape = list(full_shape or ())
            self.var_offset = list(var_offset or ())
            self.var_shape = list(var_shape or ())

    @property
    def spec(self) -> str:
        """The slice as checkpoints spell it: `4 5 0,2:0,5`."""
        shape = " ".join(str(d) for d in self.full_shape)
        slices = ":".join(f"{o},{s}" for o, s in zip(self.var_offset, self.var_shape))
        return f"{shape} {slices}"

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The SaveSliceInfoDef message."""
        return variable_pb2.SaveSliceInfoDef(
            full_name=strip_scope(self.full_name, export_scope),
            full_shape=self.full_shape,
            var_offset=self.var_offset,
            var_shape=self.var_shape,
        )


def strip_scope(name: str, scope: str | None) -> str:
    """`name` as it is called inside of `scope`."""
    return name.removeprefix(scope.rstrip("/") + "/") if scope else name


def add_scope(name: str, scope: str | None) -> str:
    """`name` as it is called from outside of `scope`."""
    return f"{scope.rstrip('/')}/{name}" if scope else name
