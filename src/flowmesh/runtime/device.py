"""The devices of a task: CPUs, GPUs through JAX, and simulated GPUs.

JAX is imported on first need and configured here, once per process: 64-bit types on, the CPU platform alone when there is no GPU, GPU memory
as the first session asks. A machine without a GPU never imports JAX to find that out.
"""

from __future__ import annotations

import glob
import importlib.util
import logging
import os
import re
import secrets
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

from flowmesh.core import device_spec, errors
from flowmesh.runtime import compile_cache

_log = logging.getLogger(__name__)

SIMULATE_VARIABLE = "FLOWMESH_SIMULATE_GPUS"
THREADS_VARIABLE = "PJRT_NPROC"
"""How many threads XLA's CPU client starts for the inside of programs; it reads this once."""
_GPU_PLUGINS = {
    "jax_cuda13_plugin": "cuda",
    "jax_cuda12_plugin": "cuda",
    "jax_rocm7_plugin": "rocm",
    "jax_rocm60_plugin": "rocm",
}
_DEFAULT_MEMORY = 256 << 20
_MAX_SIMULATED = 64


@dataclass(frozen=True)
class Locality:
    """Where a device sits in the machine (TensorFlow: `DeviceLocality`)."""

    bus_id: int = 0
    numa_node: int = 0


@dataclass(eq=False)
class Device:
    """One device of one task (TensorFlow: `DeviceAttributes`)."""

    name: str
    """The full name: '/job:worker/replica:0/task:1/device:GPU:0'."""
    device_type: str
    memory_limit: int
    incarnation: int = field(default_factory=lambda: secrets.randbits(63) | 1)
    physical_device_desc: str = ""
    locality: Locality = field(default_factory=Locality)
    simulated: bool = False
    jax_index: int = 0
    """Which of JAX's devices of its platform stands behind it."""

    @property
    def is_accelerator(self) -> bool:
        """Whether the device has a memory of its own."""
        return self.device_type != "CPU" and not self.simulated

    def jax_device(self) -> Any:
        """The JAX device that runs this device's programs (imports JAX)."""
        jax = load_jax()
        if self.is_accelerator:
            return jax.devices("gpu")[self.jax_index]
        cpus = jax.devices("cpu")
        return cpus[self.jax_index % len(cpus)]

    def __repr__(self) -> str:
        return f"<Device {self.name}{' simulated' if self.simulated else ''}>"


# -- JAX -------------------------------------------------------------------------------------------------


@dataclass
class _JaxSettings:
    """What the sessions made so far want of JAX; it counts until JAX starts."""

    cpu_devices: int = 1
    visible: str = ""
    memory_fraction: float = 0.0
    allow_growth: bool = False
    threads: int = 0


_settings = _JaxSettings()
_lock = threading.RLock()
_jax: Any = None


def load_jax() -> Any:
    """The module `jax`, configured."""
    global _jax
    if _jax is not None:
        return _jax
    with _lock:
        if _jax is None:
            _set_memory_variables()
            import jax

            jax.config.update("jax_enable_x64", True)
            _configure_platforms(jax)
            compile_cache.configure(jax)
            _jax = jax
    return _jax


def jax_is_loaded() -> bool:
    """Whether `load_jax` was called."""
    return _jax is not None


def _set_memory_variables() -> None:
    if _settings.memory_fraction > 0:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{_settings.memory_fraction:g}")
    if _settings.threads > 0:
        os.environ.setdefault(THREADS_VARIABLE, str(_settings.threads))
    if _settings.allow_growth:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _configure_platforms(jax: Any) -> None:
    """Chooses platforms and numbers of devices; without effect on a JAX that the program itself has started already."""
    if jax.config.jax_platforms is None:
        jax.config.update("jax_platforms", f"{_gpu_platform()},cpu" if gpu_present() else "cpu")
    try:
        if _settings.cpu_devices > 1:
            jax.config.update("jax_num_cpu_devices", _settings.cpu_devices)
        if _settings.visible and gpu_present():
            jax.config.update("jax_cuda_visible_devices", _settings.visible)
    except RuntimeError:
        _log.info("JAX was started by the program: simulated GPUs share its CPU devices")


def gpu_present() -> bool:
    """Whether there is a GPU that JAX could use, found without importing JAX."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return False
    if os.environ.get("JAX_PLATFORMS", "").strip() == "cpu":
        return False
    if not glob.glob("/dev/nvidia[0-9]*") and not os.path.exists("/dev/kfd"):
        return False
    if _gpu_platform():
        return True
    _note_missing_plugin()
    return False


def _gpu_platform() -> str:
    """What JAX calls the GPUs that it is installed for, or ""."""
    found = (platform for name, platform in _GPU_PLUGINS.items() if importlib.util.find_spec(name))
    return next(found, "")


_noted = False


def _note_missing_plugin() -> None:
    global _noted
    if not _noted:
        _noted = True
        _log.warning(
            "This machine has a GPU but JAX has no GPU support: install it with pip install 'flowmesh[gpu]'"
        )


# -- the devices of a task -----------------------------------------------------------------------------------


def make_devices(job: str, replica: int, task: int, config: Any = None) -> list[Device]:
    """The devices of a task: CPUs, then GPUs.

    `config` is a ConfigProto: `device_count`, `intra_op_parallelism_threads` (the threads of XLA in this process, until JAX starts), `gpu_options` (visible_device_list, per_process_gpu_memory_fraction,
    allow_growth) and `experimental.flowmesh.simulate_gpus` count. Raises InvalidArgumentError when the list of visible
    devices names one that is not there.
    """
    _note_threads(config)
    counts = dict(config.device_count) if config is not None else {}
    prefix = (job, replica, task)
    cpus = max(1, counts.get("CPU", 1))
    memory = _host_memory()
    devices = [
        Device(_name(prefix, "CPU", i), "CPU", memory, locality=Locality()) for i in range(cpus)
    ]
    limit = counts.get("GPU")
    simulated = simulated_gpu_count(config)
    if simulated:
        devices += _simulated_gpus(prefix, simulated, limit, memory)
    elif limit != 0:
        devices += _real_gpus(prefix, limit, config)
    return devices


def _note_threads(config: Any) -> None:
    """XLA's threads are the process's: the most that a session wants, as long as JAX has not started."""
    wanted = int(config.intra_op_parallelism_threads) if config is not None else 0
    if wanted <= 0:
        return
    with _lock:
        if _jax is None:
            _settings.threads = max(_settings.threads, wanted)
        elif wanted != _settings.threads:
            _log.info(
                "intra_op_parallelism_threads=%d comes too late: XLA runs with %s threads in this process",
                wanted,
                os.environ.get(THREADS_VARIABLE, "as many as cores"),
            )


def list_local_devices(config: Any = None) -> list[Device]:
    """The devices of this machine, with names like '/device:GPU:0'."""
    devices = make_devices("localhost", 0, 0, config)
    for device in devices:
        spec = device_spec.DeviceSpec.from_string(device.name)
        device.name = f"/device:{spec.device_type}:{spec.device_index}"
    return devices


def simulated_gpu_count(config: Any = None) -> int:
    """How many simulated GPUs were asked for, by the config or by the environment. Raises ValueError for nonsense."""
    count = 0
    if config is not None:
        count = int(config.experimental.flowmesh.simulate_gpus)
    if not count:
        text = os.environ.get(SIMULATE_VARIABLE, "").strip()
        if text and not text.isdigit():
            raise ValueError(f"{SIMULATE_VARIABLE}={text!r} is not a number of GPUs")
        count = int(text or 0)
    if not 0 <= count <= _MAX_SIMULATED:
        raise ValueError(f"Cannot simulate {count} GPUs: between 0 and {_MAX_SIMULATED}")
    return count


def _name(prefix: tuple[str, int, int], kind: str, index: int) -> str:
    job, replica, task = prefix
    return device_spec.full_name(job, task, kind, index, replica)


def _simulated_gpus(
    prefix: tuple[str, int, int], count: int, limit: int | None, memory: int
) -> list[Device]:
    with _lock:
        _settings.cpu_devices = max(_settings.cpu_devices, count)
    if limit is not None:
        count = min(count, limit)
    return [
        Device(
            _name(prefix, "GPU", i),
            "GPU",
            memory // max(1, count),
            physical_device_desc=(
                f"device: {i}, name: Simulated GPU, pci bus id: simulated, compute capability: 0.0"
            ),
            locality=Locality(1),
            simulated=True,
            jax_index=i,
        )
        for i in range(count)
    ]


def _real_gpus(prefix: tuple[str, int, int], limit: int | None, config: Any) -> list[Device]:
    if not gpu_present():
        return []
    options = config.gpu_options if config is not None else None
    wanted = options.visible_device_list if options is not None else ""
    with _lock:
        if _jax is None and options is not None:
            _settings.visible = wanted
            _settings.memory_fraction = options.per_process_gpu_memory_fraction
            _settings.allow_growth = options.allow_growth
        started_with = _settings.visible
    jax = load_jax()
    try:
        found = jax.devices("gpu")
    except RuntimeError as error:
        _log.warning("The GPU of this machine cannot be used: %s", error)
        jax.config.update("jax_platforms", "cpu")
        return []
    indices = list(range(len(found)))
    if wanted and wanted != started_with:
        indices = [_check_visible(text, len(found)) for text in wanted.split(",")]
    if limit is not None:
        indices = indices[:limit]
    return [_gpu(prefix, i, index, found[index]) for i, index in enumerate(indices)]


def _check_visible(text: str, count: int) -> int:
    if not text.strip().isdigit():
        raise errors.InvalidArgumentError(
            None, None, f"Could not parse entry in 'visible_device_list': '{text}'."
        )
    index = int(text)
    if index >= count:
        raise errors.InvalidArgumentError(
            None,
            None,
            f"'visible_device_list' listed an invalid GPU id '{index}' but visible device count is {count}",
        )
    return index


def _gpu(prefix: tuple[str, int, int], number: int, index: int, jax_device: Any) -> Device:
    stats = jax_device.memory_stats() or {}
    capability = getattr(jax_device, "compute_capability", "0.0")
    return Device(
        _name(prefix, "GPU", number),
        "GPU",
        int(stats.get("bytes_limit", _DEFAULT_MEMORY)),
        physical_device_desc=(
            f"device: {number}, name: {jax_device.device_kind}, pci bus id: {_bus_id(index)}, "
            f"compute capability: {capability}"
        ),
        locality=Locality(1),
        jax_index=index,
    )


def _bus_id(index: int) -> str:
    """The PCI address that the driver lists for the GPU with this index, if it can be read."""
    listed = sorted(glob.glob("/proc/driver/nvidia/gpus/*"))
    return os.path.basename(listed[index]) if index < len(listed) else "unknown"


def _host_memory() -> int:
    """The memory of this machine in bytes."""
    if sys.platform.startswith("linux"):
        try:
            with open("/proc/meminfo") as file:
                found = re.search(r"MemTotal:\s+(\d+) kB", file.read())
            if found:
                return int(found.group(1)) * 1024
        except OSError:
            pass
    return _DEFAULT_MEMORY
