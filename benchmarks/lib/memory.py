"""Memory of this process, from Linux's own counters."""

from __future__ import annotations

from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory() -> int:
    """Bytes the process holds now."""
    return _entry("VmRSS")


def peak() -> int:
    """Most bytes the process has held since :func:`reset_peak`, or since it began."""
    return _entry("VmHWM")


def reset_peak() -> None:
    """Count the peak from now on, so that an earlier one hides nothing."""
    CLEAR.write_text("5", encoding="ascii")


def _entry(name: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
