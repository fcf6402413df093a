"""The time that is left, from the times that epochs and batches took."""

from __future__ import annotations

from hookcore_plugins.console.pace import Pace


def after(pace: Pace, *batches: int, seconds: float = 1.0) -> float:
    """Return the time after `batches`, which took `seconds` each."""
    for batch in batches:
        pace.batch_end(batch)
    return pace.epoch_began + seconds * len(batches)


def test_the_first_epoch_tells_of_the_run_by_its_batches() -> None:
    """Nothing is known before its first batch, nor without a number of batches or of epochs."""
    pace = Pace(0.0)
    pace.epoch_begin(0.0)
    assert pace.left(0.0, 4, 0, 3) == (None, None)
    now = after(pace, 0)
    assert pace.left(now, 4, 0, 3) == (3.0, 11.0)
    assert pace.left(now, None, 0, 3) == (None, None)
    assert pace.left(now, 4, 0, None) == (3.0, None)


def test_an_epoch_that_is_over_counts_with_its_evaluation() -> None:
    """The batches of the next one tell of that epoch alone."""
    pace = Pace(0.0)
    pace.epoch_begin(0.0)
    after(pace, 0, 1)
    pace.epoch_begin(10.0)
    now = after(pace, 0)
    assert pace.left(now, 2, 1, 4) == (1.0, 21.0)
    assert pace.left(now, None, 1, 4) == (None, 29.0)
    assert pace.left(now, 2, 3, 4) == (1.0, None)
    assert pace.left(now, None, 3, 4) == (None, 9.0)


def test_a_run_that_is_resumed_within_an_epoch_counts_only_what_it_trains() -> None:
    """Batches before the cut took no time here, and the rest of that epoch is not an epoch."""
    pace = Pace(0.0)
    now = after(pace, 6, 7)
    assert pace.left(now, 10, 0, 2) == (2.0, 12.0)
    pace.epoch_begin(5.0)
    assert pace.left(after(pace, 0), 10, 1, 3) == (9.0, 19.0)
