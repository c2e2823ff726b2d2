"""What a Saver saves: objects that name tensors of a checkpoint and know how to restore them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flowmesh.core.device_spec import DeviceSpec, canonical_name
from flowmesh.core.dtypes import DType
from flowmesh.frontend.partitioned_variable import PartitionedVariable
from flowmesh.frontend.resource_variable import ResourceVariable
from flowmesh.frontend.variables import Variable
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor

_VARIABLE_OPS = ("Variable", "VariableV2", "AutoReloadVariable", "VarHandleOp", "ReadVariableOp")


class SaveSpec:
    """One tensor of a checkpoint: a tensor (or function that makes it), its slice, name, dtype and device."""

    def __init__(
        self,
        tensor: Any,
        slice_spec: str,
        name: str,
        dtype: DType | None = None,
        device: str | None = None,
    ) -> None:
        self._tensor = tensor
        self.slice_spec = slice_spec
        self.name = name
        if (
            callable(tensor)
            and not isinstance(tensor, Tensor)
            and (dtype is None or device is None)
        ):
            raise AssertionError(
                "When passing a callable `tensor` to a SaveSpec, an explicit dtype and device must be provided."
            )
        self.dtype = dtype if dtype is not None else tensor.dtype
        self.device = device if device is not None else tensor.device

    @property
    def tensor(self) -> Tensor:
        """The tensor to save."""
        return self._tensor() if callable(self._tensor) else self._tensor


class SaveableObject:
    """Base of what a Saver saves; subclasses define `restore`."""

    def __init__(self, op: Any, specs: Sequence[SaveSpec], name: str) -> None:
        self.op = op
        self.specs = list(specs)
        self.name = name

    @property
    def optional_restore(self) -> bool:
        """Whether it may be missing in a checkpoint."""
        return False

    @property
    def device(self) -> str:
        """The device of the tensors."""
        return self.specs[0].device

    def restore(self, restored_tensors: Sequence[Tensor], restored_shapes: Any) -> Any:
        """The operation that puts the tensors read from a checkpoint into the object."""
        raise NotImplementedError(f"{type(self).__name__} cannot be restored")


class VariableSaveable(SaveableObject):
    """A ref variable, or a slice of one that is partitioned."""

    def __init__(
        self, var: Tensor, slice_spec: str, name: str, saved: Tensor | None = None
    ) -> None:
        spec = SaveSpec(var if saved is None else saved, slice_spec, name, dtype=var.dtype)
        super().__init__(var, [spec], name)

    def restore(self, restored_tensors: Sequence[Tensor], restored_shapes: Any) -> Any:
        """See SaveableObject."""
        value = restored_tensors[0]
        if restored_shapes is not None:
            value = raw.Reshape(value, restored_shapes[0])
        validate = restored_shapes is None and self.op.shape.is_fully_defined()
        return raw.Assign(self.op, value, validate_shape=validate)


class ResourceVariableSaveable(SaveableObject):
    """A resource variable, or a slice of one that is partitioned."""

    def __init__(self, var: ResourceVariable, slice_spec: str, name: str) -> None:
        self._variable = var
        self._var_device = var.device
        saved: Any = self._read if slice_spec else var._as_graph_element()
        spec = SaveSpec(saved, slice_spec, name, dtype=var.dtype, device=var.device)
        super().__init__(var, [spec], name)

    def restore(self, restored_tensors: Sequence[Tensor], restored_shapes: Any) -> Any:
        """See SaveableObject."""
        value = restored_tensors[0]
        if restored_shapes is not None:
            value = raw.Reshape(value, restored_shapes[0])
        with get_default_graph().device(self._var_device):
            value = raw.Identity(value)
            self._variable.shape.assert_is_compatible_with(value.shape)
            return raw.AssignVariableOp(self._variable.handle, value)

    def _read(self) -> Tensor:
        """A read of one slice, copied to the CPU of its task."""
        graph = get_default_graph()
        with graph.device(self._var_device):
            value = self._variable.read_value()
            with graph.device("/device:CPU:0"):
                return raw.Identity(value)


def _saveable(variable: Any, name: str) -> SaveableObject:
    info = variable._get_save_slice_info() if isinstance(variable, Variable) else None
    spec = info.spec if info is not None else ""
    if isinstance(variable, ResourceVariable):
        return ResourceVariableSaveable(variable, spec, name)
    if isinstance(variable, Variable):
        saved = variable.value() if info is not None else None
        return VariableSaveable(variable._ref(), spec, name, saved)
    return VariableSaveable(variable, spec, name)


def _is_saveable_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.op.type in _VARIABLE_OPS


def validate_and_slice_inputs(var_list: Any) -> list[SaveableObject]:
    """The objects to save for a list of variables, or a dict of names to variables (or lists of their slices), by name.

    Raises ValueError for equal names or a variable with two names, TypeError for what is no variable.
    """
    named = _names(var_list) if not isinstance(var_list, dict) else dict(var_list)
    saveables: list[SaveableObject] = []
    seen: set[Any] = set()
    for name in sorted(named):
        if not isinstance(name, str):
            raise TypeError(
                f"names_to_saveables must be a dict mapping string names to checkpointable operations. Name is not a string: {name}"
            )
        value = named[name]
        slices = isinstance(value, (list, tuple, PartitionedVariable))
        if slices:
            _check_slices(value)
        for item in value if slices else [value]:
            if isinstance(item, SaveableObject):
                made = item
            elif isinstance(item, Variable) or _is_saveable_tensor(item):
                made = _saveable(item, name)
            else:
                raise TypeError(
                    "names_to_saveables must be a dict mapping string names to Tensors/Variables. Not a variable: "
                    f"{item}"
                )
            key = made.op if not isinstance(made.op, Variable) else made.op.op
            key = key.op if isinstance(key, Tensor) else key
            if key in seen:
                raise ValueError(f"The same saveable will be restored with two names: {name}")
            seen.add(key)
            saveables.append(made)
    return saveables


def _check_slices(parts: Iterable[Any]) -> None:
    """Raises ValueError unless all are slices of one variable."""
    whole = None
    for part in parts:
        if not isinstance(part, Variable):
            raise ValueError(f"Slices must all be Variables: {part}")
        info = part._get_save_slice_info()
        if info is None:
            raise ValueError(f"Slices must all be slices: {part}")
        if whole is None:
            whole = info.full_name
        elif whole != info.full_name:
            raise ValueError(
                f"Slices must all be from the same tensor: {whole} != {info.full_name}"
            )


def _names(op_list: Any) -> dict[str, Any]:
    if not isinstance(op_list, (list, tuple, set)):
        raise TypeError(f"Variables to save should be passed in a dict or a list: {op_list}")
    named: dict[str, Any] = {}
    for item in sorted(op_list, key=lambda v: str(getattr(v, "name", ""))):
        if isinstance(item, SaveableObject):
            named[item.name] = item
            continue
        if isinstance(item, PartitionedVariable):
            if item.name in named:
                raise ValueError(f"At least two variables have the same name: {item.name}")
            named[item.name] = item
            continue
        if not (isinstance(item, Variable) or _is_saveable_tensor(item)):
            raise TypeError(f"Variable to save is not a Variable: {item}")
        info = item._get_save_slice_info() if isinstance(item, Variable) else None
        if info is not None:
            slices = named.setdefault(info.full_name, [])
            if not isinstance(slices, list):
                raise ValueError(
                    f"Mixing slices and non-slices with the same name: {info.full_name}"
                )
            slices.append(item)
            continue
        name = item.op.name
        if name in named:
            raise ValueError(f"At least two variables have the same name: {name}")
        named[name] = item
    return named


def group_by_devices(saveables: Sequence[SaveableObject]) -> list[tuple[str, list[SaveableObject]]]:
    """The saveables of each device, by device; ValueError when one spreads over several."""
    groups: dict[str, list[SaveableObject]] = {}
    for saveable in saveables:
        devices = {canonical_name(spec.tensor.device) for spec in saveable.specs}
        if len(devices) != 1:
            raise ValueError(
                f"All tensors of a saveable object must be on the same device: {saveable.name}"
            )
        groups.setdefault(devices.pop(), []).append(saveable)
    return sorted(groups.items())


def cpu0_of(device: str) -> str:
    """The first CPU of the task of `device`."""
    return DeviceSpec.from_string(device).replace(device_type="CPU", device_index=0).to_string()
