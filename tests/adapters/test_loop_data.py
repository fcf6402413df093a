"""`Loop` starts the data of an interrupted epoch at the next batch, with the help of the trainee."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookcore import store
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore.trainee import DataBegin, begin_data, restore_random
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookcore import Resume

EPOCHS = 2


@attrs.define(eq=False)
class Data:
    """Batches that record which are read, and that may be able to start at a later one."""

    length: int
    passes: bool
    """Whether they can start at a later batch."""
    begin: int = 0
    read: list[int] = attrs.field(factory=list)

    def __iter__(self) -> Iterator[int]:
        begin, self.begin = self.begin, 0
        for number in range(begin, self.length):
            self.read.append(number)
            yield number


@attrs.define(eq=False)
class Knowing(ScriptedTrainee):
    """A trainee that supports such data, and records its calls."""

    asked: list[Any] = attrs.field(factory=list)
    warning: str | None = None

    def begin_data(self, data: Data, epoch: int, batch: int) -> DataBegin:
        data.begin = min(batch, data.length) if data.passes else 0
        self.asked.append((epoch, batch))
        return DataBegin(data.begin, self.warning)

    def restore_random(self) -> None:
        self.asked.append("random")


def train(
    data: list[Data], directory: Path, *, accumulate: int = 1, resume: Resume = None, trainee: Any = None
) -> tuple[list[tuple[int, int]], list[str]]:
    """Train, and return the data's and the batch's number for each body, and the events."""
    seen, recording = [], RecordingPlugin()
    plugins = [recording, Checkpoint(directory, every_n_epochs=None, every_n_steps=1, keep_last=None)]
    with Loop(plugins, epochs=EPOCHS, trainee=trainee or Knowing(), resume=resume) as loop:
        for _ in loop.epochs():
            for number, one in enumerate(data):
                seen += [(number, batch) for batch in loop.batches(one, accumulate=accumulate)]
    left_out = {"on_train_begin", "on_train_end", "on_checkpoint"}
    return seen, [repr(event) for event in recording.events if event[0] not in left_out]


@settings(max_examples=40)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=3),
    accumulate=st.integers(1, 3),
)
def test_data_that_skip_batches_resume_exactly(lengths: list[tuple[int, bool]], accumulate: int) -> None:
    """Resumed from each step, data that start there or are skipped give the same batches and events."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        whole, events = train([Data(*one) for one in lengths], directory / "whole", accumulate=accumulate)
        for number, saved in enumerate(store.available(directory / "whole")):
            data, trainee = [Data(*one) for one in lengths], Knowing()
            again, rest = train(data, directory / str(number), accumulate=accumulate, resume=saved.path, trainee=trainee)
            assert again == whole[len(whole) - len(again) :]
            assert rest == events[len(events) - len(rest) :]
            assert len(again) + sum(length for length, _ in lengths) * saved.epoch + trainee.asked[0][1] == len(whole)
            assert trainee.asked.count("random") == 1
            assert sum(len(one.read) for one in data if one.passes) == sum(data[one].passes for one, _ in again)


def test_the_data_get_each_epoch(tmp_path: Path) -> None:
    """The data get the number of each epoch, for shuffling, and the first batch."""
    trainee = Knowing()
    train([Data(2, passes=True)], tmp_path, trainee=trainee)
    assert trainee.asked == [(0, 0), (1, 0)]


@pytest.mark.parametrize("saves", [True, False])
def test_a_warning_of_the_data_is_logged_once_in_a_run_that_saves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, saves: bool
) -> None:
    """The warning of the data is logged once, and only in a run that saves."""
    trainee = Knowing(warning="the data are shuffled")
    plugins = [Checkpoint(tmp_path)] if saves else []
    with caplog.at_level(logging.WARNING), Loop(plugins, epochs=3, trainee=trainee) as loop:
        for _ in loop.epochs():
            list(loop.batches(Data(2, passes=False)))
    assert [record.message for record in caplog.records] == ["the data are shuffled"] * saves


def test_evaluations_are_read_from_the_beginning(tmp_path: Path) -> None:
    """Evaluations always read their data from the first batch."""
    trainee = Knowing()
    with Loop([Checkpoint(tmp_path)], epochs=1, trainee=trainee) as loop:
        for _ in loop.epochs():
            with loop.evaluation():
                assert list(loop.batches(Data(2, passes=True))) == [0, 1]
            assert trainee.asked == []


def test_a_trainee_that_knows_no_data_is_asked_nothing() -> None:
    """With a trainee without `begin_data`, data start at their first batch, and no random state is restored."""
    assert begin_data(SimpleNamespace(), [], 0, 3) == DataBegin(0, None)
    restore_random(SimpleNamespace())
