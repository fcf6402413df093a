"""How the plugins write numbers, durations and counts."""

from __future__ import annotations


def count(number: int, one: str, several: str | None = None) -> str:
    """`number` with its noun; the plural has an `s` unless it is given."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def value(value: float) -> str:
    """A metric's value: four decimals where they say enough and no more."""
    if value == 0 or 0.001 <= abs(value) < 1000:  # noqa: PLR2004 - where they do
        return f"{value:.4f}"
    return f"{value:.6g}" if abs(value) >= 1 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as `12.3s`, `4m05s` or `2h07m`."""
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:.1f}s"
    if seconds < hour:
        return f"{int(seconds) // minute}m{int(seconds) % minute:02d}s"
    return f"{int(seconds) // hour}h{int(seconds) % hour // minute:02d}m"
