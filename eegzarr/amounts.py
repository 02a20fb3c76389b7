"""Amounts as text: the same words for numbers, bytes and times in every command and on every page."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: "1 window", "1,513 windows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(nbytes: float) -> str:
    """Return bytes of a file in the units of disks: "22.1 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit in ("B", "kB") else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} TB"


def memory(nbytes: float) -> str:
    """Return bytes of memory: "437 MiB"."""
    return f"{nbytes / 2**20:,.0f} MiB"


def duration(seconds: float) -> str:
    """Return a time: "4.7 s", "12 min 05 s", "3 h 20 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"
