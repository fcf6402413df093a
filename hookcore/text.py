"""Format numbers, durations, counts, sizes and names for messages and reports."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence


def format_count(number: int, singular: str, plural: str | None = None) -> str:
    """Format `number` with its noun: `"2 epochs"`. The plural is the singular with an `s` unless it is given."""
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"


def format_value(value: float) -> str:
    """Format a metric's value: four decimals from 0.001 to 1000, six significant digits above, and three below."""
    if value == 0 or 0.001 <= abs(value) < 1000:  # noqa: PLR2004 - the bounds that the docstring names
        return f"{value:.4f}"
    return f"{value:.6g}" if abs(value) >= 1 else f"{value:.3g}"


def format_duration(seconds: float, *, milliseconds: bool = False) -> str:
    """Format seconds as `12.3s`, `4m05s` or `2h07m`; with `milliseconds`, less than a second as `123 ms`."""
    minute, hour = 60, 3600
    if milliseconds and seconds < 0.95:  # noqa: PLR2004 - the most that does not round to a second
        return f"{1000 * seconds:.3g} ms"
    if seconds < minute:
        return f"{seconds:.1f}s"
    if seconds < hour:
        return f"{int(seconds) // minute}m{int(seconds) % minute:02d}s"
    return f"{int(seconds) // hour}h{int(seconds) % hour // minute:02d}m"


def format_size(nbytes: int) -> str:
    """Format a number of bytes: `"1.5 GB"`."""
    amount = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if round(amount, 1) < 1000:  # noqa: PLR2004 - what the units count by
            return f"{amount:.1f} {unit}" if unit != "B" else f"{nbytes} B"
        amount /= 1000
    return f"{amount:.1f} TB"


def printable(text: str, at_most: int = 500) -> str:
    """Return `text` in one line of at most `at_most` characters, without characters that control a terminal."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return line if len(line) <= at_most else line[: at_most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def join_some(parts: Sequence[str], at_most: int = 5) -> str:
    """Join `parts` with semicolons; if there are more than `at_most`, the first of them: `"a; b; and 3 more"`."""
    more = [f"and {len(parts) - at_most} more"] if len(parts) > at_most else []
    return "; ".join([*parts[:at_most], *more])


def unique_name(name: str, taken: Container[str]) -> str:
    """Return `name`, with the first free number from 2 appended if it is taken: `"dense_2"`."""
    candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def did_you_mean(name: str, options: Iterable[str], prefix: str = "") -> str:
    """Return `" Did you mean 'x'?"` with the option nearest to `name`, or an empty string if none is near.

    `prefix` is written before the option in the hint, and is not compared.
    """
    import difflib

    known = list(options)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    # For difflib, `accuracy` is too far from `acc`, which is the most common slip.
    longer_than_two = (option for option in known if min(len(option), len(name)) > 2)  # noqa: PLR2004
    close += [option for option in longer_than_two if option.startswith(name) or name.startswith(option)]
    return f" Did you mean {prefix + close[0]!r}?" if close else ""


def place_in_words(epoch: int | None, step: int | None, *, by_steps: bool) -> str:
    """Return the place of an observation: `step 200` if it was by steps, else `epoch 3`, counted from one; `none` for None."""
    if by_steps:
        return f"step {step}"
    return "none" if epoch is None else f"epoch {epoch + 1}"
