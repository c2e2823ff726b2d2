"""Reserved ports: different, ours until released, free for the task then."""

import socket
from pathlib import Path

import pytest

from flowmesh.distributed import ports


def close(reserved: list[ports.ReservedPort]) -> None:
    for port in reserved:
        port.close()


def test_ports_are_different_and_outside_the_automatic_range() -> None:
    first, second = ports.reserve("127.0.0.1", 8), ports.reserve("127.0.0.1", 8)
    numbers = [port.number for port in first + second]
    assert len(set(numbers)) == 16
    low, high = ports._automatic_range()
    assert not [number for number in numbers if low <= number <= high]
    close(first + second)


def test_a_port_is_held_until_released_and_then_free_at_once() -> None:
    (port,) = ports.reserve("127.0.0.1", 1)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port.number))
        port.release()
        other.bind(("127.0.0.1", port.number))
        other.listen()
    port.close()
    port.close()


@pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="needs Linux")
def test_a_released_port_is_still_ours_for_other_launchers() -> None:
    (port,) = ports.reserve("127.0.0.1", 1)
    port.release()
    with pytest.raises(OSError, match="in use"):
        ports.ReservedPort("127.0.0.1", port.number)
    port.close()
    again = ports.ReservedPort("127.0.0.1", port.number)
    assert again.address == f"127.0.0.1:{port.number}"
    again.close()


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_candidates", lambda: iter([number, 0]))
        (port,) = ports.reserve("127.0.0.1", 1)
        assert port.number != number
        port.close()
        monkeypatch.setattr(ports, "_candidates", lambda: iter([number]))
        with pytest.raises(OSError, match=r"found only 0 of 1 free ports on 127\.0\.0\.1"):
            ports.reserve("127.0.0.1", 1)


def test_without_a_range_of_its_own_the_kernel_chooses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = tmp_path / "range"
    whole.write_text("1024\t65535\n")
    monkeypatch.setattr(ports, "_RANGE_FILE", whole)
    reserved = ports.reserve("127.0.0.1", 3)
    assert len({port.number for port in reserved}) == 3
    close(reserved)
