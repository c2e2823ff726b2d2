"""Placement: every op gets one device, as TensorFlow's placer chooses it.

Rules, for each colocation group (see `colocation.py`)
  1. Candidates are the devices that match what the group asks for and for whose type all members have a kernel.
  2. Candidates are ordered: GPU before CPU, then devices of the default task, then by name. The first one is taken.
  3. Heuristics: an op without inputs and with one output goes where its consumers are, if they are all in one
     place; Shape, Size and Rank go where their input is. Both only to candidates.
  4. A loop is on one task (see `place_loops.py`).
  5. Without candidates: an error that names the op, what it asked for, what there is and the user's line; with
     `allow_soft_placement` device type and index are left out of what was asked for, and only then is it an error.
Precondition: `ops` are in topological order and each device is listed once.
Postcondition: every op is mapped to the full name of a listed device; a group has one device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from flowmesh.core import device_spec, errors
from flowmesh.core.device_spec import DeviceSpec
from flowmesh.core.dtypes import DType
from flowmesh.graph.operation import Operation
from flowmesh.passes.colocation import Colocation, Group
from flowmesh.passes.place_loops import keep_loops_whole

_METADATA = frozenset({"Shape", "ShapeN", "Size", "Rank"})
_PRIORITY = ("GPU", "CPU")


class DeviceLike(Protocol):
    """What placement needs to know of a device."""

    @property
    def name(self) -> str:
        """The full name."""

    @property
    def device_type(self) -> str:
        """'CPU', 'GPU' ..."""


def place(
    ops: Sequence[Operation],
    devices: Sequence[DeviceLike],
    *,
    default: str = "",
    allow_soft_placement: bool = False,
    log: Callable[[str], None] | None = None,
    assigned: Mapping[Operation, str] | None = None,
) -> dict[Operation, str]:
    """The full device name of each op.

    Args:
      ops: the ops to place, in topological order.
      devices: what there is.
      default: the task ('/job:worker/replica:0/task:0') whose devices are preferred where an op leaves it open.
      allow_soft_placement: whether an op may leave the device it asked for when that cannot run it.
      log: called with 'name: (Op): device' for each op, as `log_device_placement` asks for.
      assigned: placements that were made before and stay.

    Raises InvalidArgumentError when an op asks for a device that does not exist or has no kernel for it, or when
    colocation constraints contradict each other.
    """
    placer = _Placer(ops, devices, default, allow_soft_placement)
    placement = placer.run(ops, dict(assigned or {}))
    if log is not None:
        for op in ops:
            log(f"{op.name}: ({op.type}): {placement[op]}")
    return placement


def device_mapping(devices: Iterable[Any]) -> str:
    """The 'Device mapping:' text that TensorFlow prints with `log_device_placement`."""
    lines = [
        f"{device.name} -> {device.physical_device_desc}"
        for device in devices
        if getattr(device, "physical_device_desc", "")
    ]
    if not lines:
        return "Device mapping: no known devices."
    return "\n".join(["Device mapping:", *lines])


class _Placer:
    def __init__(
        self,
        ops: Sequence[Operation],
        devices: Sequence[DeviceLike],
        default: str,
        soft: bool,
    ) -> None:
        self._soft = soft
        kinds = sorted({d.device_type for d in devices}, key=_rank)
        self._devices = sorted(
            devices,
            key=lambda d: (
                _rank(d.device_type),
                not (default and device_spec.matches(default, d.name)),
                _natural(d.name),
            ),
        )
        self._colocation = Colocation(ops, kinds, soft)
        self._candidates: dict[int, list[str]] = {}

    def run(self, ops: Sequence[Operation], placed: dict[Operation, str]) -> dict[Operation, str]:
        for op, device in placed.items():
            if op in self._colocation:
                self._colocation.group(op).assigned = device
        later: list[Operation] = []
        for op in ops:
            if op in placed:
                continue
            group = self._colocation.group(op)
            candidates = self._devices_of(group, op)
            if group.assigned:
                placed[op] = group.assigned
            elif _is_generator(op):
                later.append(op)
            else:
                device = candidates[0]
                if op.type in _METADATA and placed.get(op.inputs[0].op) in candidates:
                    device = placed[op.inputs[0].op]
                placed[op] = group.assigned = device
        for op in later:
            group = self._colocation.group(op)
            if not group.assigned:
                candidates = self._devices_of(group, op)
                group.assigned = _consumers_device(op, placed, candidates) or candidates[0]
            placed[op] = group.assigned
        keep_loops_whole(ops, placed, self._colocation, [d.name for d in self._devices])
        return {op: placed[op] for op in ops}

    def _devices_of(self, group: Group, op: Operation) -> list[str]:
        known = self._candidates.get(id(group))
        if known is None:
            known = self._filter(group, group.spec)
            if not known and self._soft:
                known = self._filter(group, group.spec.replace(device_type=None, device_index=None))
            if not known and not group.assigned:
                self._fail(group, op)
            self._candidates[id(group)] = known
        return known

    def _filter(self, group: Group, spec: DeviceSpec) -> list[str]:
        text = spec.to_string()
        return [
            d.name
            for d in self._devices
            if d.device_type in group.types and device_spec.matches(text, d.name)
        ]

    def _fail(self, group: Group, op: Operation) -> NoReturn:
        # The member that asked for something is the one the user can change.
        culprit = op if op.device else next((m for m in group.members if m.device), op)
        asked = group.spec.to_string()
        place = f" (defined at {culprit.defined_at})" if culprit.defined_at else ""
        if asked and not any(device_spec.matches(asked, d.name) for d in self._devices):
            names = ", ".join(sorted((d.name for d in self._devices), key=_natural))
            message = (
                f"Cannot assign a device for operation {culprit.name}: node {culprit.name}{place} was explicitly "
                f"assigned to {asked} but available devices are [ {names} ]. Make sure the device specification "
                f"refers to a valid device.{self._hint(group.spec)}\n\t [[{culprit.name}]]"
            )
        else:
            culprit = next((m for m in group.members if not _runs_on(m, group.spec)), culprit)
            place = f" (defined at {culprit.defined_at})" if culprit.defined_at else ""
            message = self._no_kernel(group, culprit) + f"\n\t [[node {culprit.name}{place} ]]"
        raise errors.InvalidArgumentError(None, culprit, message)

    def _hint(self, spec: DeviceSpec) -> str:
        if spec.device_type != "GPU" or any(d.device_type == "GPU" for d in self._devices):
            return ""
        return (
            " The requested device appears to be a GPU, but no GPU is available: set allow_soft_placement=True in "
            "the session's ConfigProto, or ask for simulated GPUs (flowmesh run --simulate-gpus N)."
        )

    def _no_kernel(self, group: Group, op: Operation) -> str:
        asked = group.spec.to_string()
        if asked:
            kind = group.spec.device_type or "any of the matching"
            reason = (
                f"Could not satisfy explicit device specification '{asked}' because no supported kernel for "
                f"{kind} devices is available."
            )
        else:
            reason = f"No OpKernel was registered to support Op '{op.type}' used by node {op.name} on these devices."
        debug = ""
        if len(group.members) > 1 or asked:
            types = "\n".join(f"{m.type}: {' '.join(_supported(m))} " for m in group.members[:20])
            asked_by = "\n".join(f"  {m.name} ({m.type}) {m.device}" for m in group.members[:20])
            debug = (
                "\nColocation Debug Info:\nColocation group had the following types and supported devices: \n"
                f"{types}\n\nColocation members, user-requested devices, and framework assigned devices, if any:\n"
                f"{asked_by}\n"
            )
        return (
            f"Cannot assign a device for operation {op.name}: {reason}{debug}\nOp: {op.type}\n"
            f"Node attrs: {_attrs(op)}\nRegistered kernels:\n{_kernels(op)}"
        )


def _runs_on(op: Operation, spec: DeviceSpec) -> bool:
    return spec.device_type is None or op.definition.kernel_supported(spec.device_type)


def _supported(op: Operation) -> list[str]:
    return [t for t in ("CPU", "GPU") if op.definition.kernel_supported(t)]


def _rank(device_type: str) -> tuple[int, str]:
    known = _PRIORITY.index(device_type) if device_type in _PRIORITY else len(_PRIORITY)
    return known, device_type


def _natural(name: str) -> tuple[Any, ...]:
    spec = DeviceSpec.from_string(name)
    return (
        spec.job or "",
        spec.replica or 0,
        spec.task or 0,
        spec.device_type or "",
        spec.device_index or 0,
    )


def _is_generator(op: Operation) -> bool:
    return not op.inputs and len(op.outputs) == 1 and not op.outputs[0].dtype._is_ref_dtype


def _consumers_device(
    op: Operation, placed: Mapping[Operation, str], candidates: Sequence[str]
) -> str | None:
    """The one device that all consumers (and control successors) of `op` are on, if `op` may go there."""
    where = {placed.get(c) for c in op.outputs[0]._consumers}
    where |= {placed.get(c) for c in op._control_outputs}
    where.discard(None)
    if len(where) == 1:
        device = where.pop()
        if device in candidates:
            return device
    return None


def _attrs(op: Operation) -> str:
    return ", ".join(f"{name}={_attr_text(value)}" for name, value in op.definition.attrs.items())


def _attr_text(value: Any) -> str:
    if isinstance(value, DType):
        return _type_name(value)
    if isinstance(value, bytes):
        return f'"{value.decode(errors="replace")}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_attr_text(v) for v in value) + "]"
    if hasattr(value, "key") and hasattr(value, "as_list"):
        return (
            "<unknown>"
            if value.key is None
            else str(list(value.key)).replace("None", "?").replace(" ", "")
        )
    text = str(value).replace("\n", " ")
    return text if len(text) < 80 else text[:77] + "..."


def _type_name(dtype: DType) -> str:
    short = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}.get(dtype.name)
    return "DT_" + (short or dtype.name.upper())


def _kernels(op: Operation) -> str:
    definition = op.definition
    lines = []
    for kind in ("CPU", "GPU"):
        if definition.devices is not None and kind not in definition.devices:
            continue
        if (
            kind == "GPU"
            and definition.devices is None
            and (definition.host or definition.numpy_only)
        ):
            continue
        line = f"  device='{kind}'"
        if kind == "GPU" and definition.gpu_types is not None:
            name = "T" if "T" in definition.attr_defs else "dtype"
            kinds = sorted(_type_name(t) for t in definition.gpu_types)
            line += f"; {name} in [{', '.join(kinds)}]"
        elif kind == "GPU" and not definition.kernel_supported(kind):
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"
