"""A checkpoint is kept if any policy keeps it, and the newest and the best always are."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookcore import ParameterError, SavedCheckpoint, store
from hookcore.store.retention import Retention, ranked
from tests.hookcore.store.checkpoints import save, small

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    Mode = Literal["min", "max"]


def one(
    step: int, value: float | None = None, mode: Mode | None = "min", *, epoch: int = 0, metric: str = "loss"
) -> SavedCheckpoint:
    return SavedCheckpoint(Path(str(step)), epoch, step, metric, value, mode)


def reasons(retention: Retention, *checkpoints: SavedCheckpoint) -> dict[str, tuple[str, ...]]:
    return {str(path): why for path, why in retention.reasons(checkpoints).items()}


@given(values=st.lists(st.none() | st.floats()), mode=st.sampled_from(["min", "max"]))
def test_ranking_puts_the_best_first(values: list[float | None], mode: Any) -> None:
    """Ranking leaves out checkpoints without a value or with NaN, and puts the best first, and the earlier of equals."""
    checkpoints = [SavedCheckpoint(Path(str(i)), i, i, "loss", value, mode) for i, value in enumerate(values)]
    ranked = store.ranked(reversed(checkpoints))
    sign = 1 if mode == "min" else -1
    assert sorted(one.step for one in ranked) == [
        i for i, value in enumerate(values) if value is not None and not math.isnan(value)
    ]
    keys = [(sign * one.value, one.step) for one in ranked if one.value is not None]
    assert keys == sorted(keys)


def test_ranking_goes_by_the_metric_of_the_newest() -> None:
    """If the monitor was changed, values of different metrics are not compared."""
    before = [one(1, 0.5, metric="loss"), one(2, 0.25, metric="loss")]
    after = [one(3, 0.5, "max", metric="accuracy"), one(4, 0.75, "max", metric="accuracy")]
    assert [each.step for each in ranked([*after, *before])] == [4, 3]
    assert [each.step for each in ranked([*before, *after, one(5, math.nan, metric="loss")])] == [4, 3]
    assert [each.step for each in ranked([*before, one(6, 0.3, "max", metric="loss")])] == [6]
    assert [each.step for each in ranked([*before, *after, one(5, 0.3, metric="loss")])] == [2, 5, 1]
    assert ranked([one(1), one(2, 0.5, None)]) == []


@pytest.mark.parametrize(
    "given", [{"last": 0}, {"best": 0}, {"every": 0}, {"last": 1.0}, {"best": True}, {"every": "2"}, {"last": -1}]
)
def test_parameters_are_validated(given: dict[str, Any]) -> None:
    """A parameter below one is an error that names the parameter."""
    with pytest.raises(ParameterError, match=rf"Retention: {next(iter(given))} must be an integer of at least 1 or None"):
        Retention(**given)


@given(st.builds(Retention, *[st.none() | st.integers(1)] * 3))
def test_it_goes_through_json(retention: Retention) -> None:
    """A retention is written and read back as plain numbers."""
    assert Retention(**json.loads(json.dumps(attrs.asdict(retention)))) == retention


def test_the_reasons_are_said() -> None:
    """Each checkpoint that is kept has every reason that keeps it, and the oldest comes first."""
    there = [one(step, value, epoch=step) for step, value in enumerate([0.9, 0.1, 0.5, math.nan, 0.4, 0.6, 0.7])]
    assert reasons(Retention(last=3, best=2, every=2), *reversed(there)) == {
        "1": ("best loss", "every 2 epochs"),
        "3": ("every 2 epochs",),
        "4": ("one of the last 3", "one of the 2 best"),
        "5": ("one of the last 3", "every 2 epochs"),
        "6": ("newest",),
    }
    assert reasons(Retention(last=1, best=1), *there) == {"1": ("best loss",), "6": ("newest",)}
    assert reasons(Retention(last=1, best=1, every=1), one(0)) == {"0": ("newest", "every epoch")}
    assert reasons(Retention(last=1), one(0, 0.5)) == {"0": ("newest", "best loss")}
    assert reasons(Retention(last=None), *there)["0"] == ("all are kept",)
    assert reasons(Retention(last=1, best=None), *there[:4]) == {
        "0": ("has a loss",),
        "1": ("best loss",),
        "2": ("has a loss",),
        "3": ("newest",),
    }
    assert reasons(Retention()) == {}


def test_defaults_keep_three_and_the_best() -> None:
    """By default the three newest and the best are kept."""
    assert Retention() == Retention(last=3, best=1, every=None)


def test_of_an_epoch_the_last_counts() -> None:
    """`every` keeps the last checkpoint of an epoch, and not one in the middle."""
    there = [one(step, epoch=step // 3) for step in range(12)]
    assert list(reasons(Retention(last=1, every=2), *there)) == ["5", "11"]


def test_the_best_of_each_metric_stays() -> None:
    """If the monitor was changed, the best by the earlier metric is kept too."""
    there = [one(1, 0.1), one(2, 0.2), one(3, 0.3, "max", metric="accuracy"), one(4, 0.2, "max", metric="accuracy"), one(5)]
    assert reasons(Retention(last=1), *there) == {"1": ("best loss",), "3": ("best accuracy",), "5": ("newest",)}


def union(retention: Retention, written: Iterable[SavedCheckpoint]) -> set[int]:
    """Return the steps that must be kept, policy by policy."""
    by_step = sorted(written, key=lambda each: each.step)
    steps = [each.step for each in by_step]
    sign = -1 if by_step[0].mode == "max" else 1
    values = sorted((sign * each.value, each.step) for each in by_step if each.value is not None and not math.isnan(each.value))
    kept = {steps[-1], *(step for _, step in values[:1])}
    kept |= set(steps if retention.last is None else steps[-retention.last :])
    kept |= {step for _, step in (values if retention.best is None else values[: retention.best])}
    for each in by_step:
        later = [other for other in by_step if other.epoch == each.epoch and other.step > each.step]
        if retention.every is not None and (each.epoch + 1) % retention.every == 0 and not later:
            kept.add(each.step)
    return kept


FEW = st.none() | st.integers(1, 4)
WRITES = st.lists(
    st.tuples(st.booleans(), st.none() | st.sampled_from([0.0, -0.0, 1.0, 2.0]) | st.floats()), min_size=1, max_size=10
)


@given(retention=st.builds(Retention, FEW, FEW, FEW), writes=WRITES, mode=st.sampled_from(["min", "max"]))
def test_what_stays_is_the_union_of_the_policies(
    retention: Retention, writes: list[tuple[bool, float | None]], mode: Mode
) -> None:
    """Pruned after every save, the kept checkpoints are those that a policy keeps of all that were saved."""
    epoch, there, written = 0, list[SavedCheckpoint](), list[SavedCheckpoint]()
    for step, (next_epoch, value) in enumerate(writes):
        epoch += next_epoch
        saved = one(step, value, mode, epoch=epoch)
        written.append(saved)
        kept = retention.reasons([*there, saved])
        there = [each for each in [*there, saved] if each.path in kept]
        assert {each.step for each in there} == union(retention, written)
        assert "newest" in kept[saved.path]
        for best in ranked(written)[:1]:
            assert "best loss" in kept[best.path]


@given(retention=st.builds(Retention, FEW, FEW, FEW), writes=WRITES, mode=st.sampled_from(["min", "max"]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_stays_on_disk_is_the_union_of_the_policies(
    tmp_path: Path, retention: Retention, writes: list[tuple[bool, float | None]], mode: Mode
) -> None:
    """On disk the kept checkpoints verify, and are those that a policy keeps."""
    shutil.rmtree(tmp_path)
    epoch, written = 0, []
    for step, (next_epoch, value) in enumerate(writes):
        epoch += next_epoch
        written.append(save(tmp_path, step, value, small, mode, epoch=epoch, retention=retention))
        before = {each.step for each in store.available(tmp_path)}
        removed = store.prune(tmp_path, retention)
        assert {store.verify(path).step for path in store.named(tmp_path)} == union(retention, written)
        assert {each.step for each in removed} == before - union(retention, written)
        assert store.newest(tmp_path).step == step
        for best in ranked(written)[:1]:
            assert store.best(tmp_path) == best


def test_the_work_grows_as_the_checkpoints_do() -> None:
    """The work for ten times as many checkpoints is about ten times as much, counted in items of lists."""

    def items(count: int) -> int:
        checkpoints = [one(step, 1 / (step + 1), epoch=step) for step in range(count)]
        made: dict[int, Any] = {}

        def look(frame: FrameType, event: str, argument: object) -> Any:
            del event, argument
            if frame.f_code.co_filename != retention_file:
                return None
            for value in frame.f_locals.values():
                made.update((id(each), each) for each in [value, *(value.values() if isinstance(value, dict) else ())])
            return look

        before = sys.gettrace()
        sys.settrace(look)
        try:
            Retention(None, None).reasons(checkpoints)
        finally:
            sys.settrace(before)
        return sum(len(each) for each in made.values() if isinstance(each, list))

    retention_file = Retention.reasons.__code__.co_filename
    assert items(200) < 15 * items(20)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["save", "remove", "damage", "cut", "link"]), st.integers(0, 4)), max_size=12))
def test_what_is_known_is_what_is_there(changes: list[tuple[str, int]]) -> None:
    """If checkpoints are saved again or damaged between two calls, `known` gives the same list as a first call."""
    known: store.Known = {}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "runs")
        for number, (change, step) in enumerate(changes):
            manifest = root / f"step-{step:08d}" / store.MANIFEST
            if change == "save":
                save(root, step, float(number))
            elif not manifest.exists():
                continue
            elif change == "remove":
                store.remove(manifest.parent)
            elif change == "damage":
                manifest.write_bytes(manifest.read_bytes().swapcase())
                os.utime(manifest, ns=(number, number))  # the clock of a file system may tick every few milliseconds
            elif change == "cut":
                manifest.write_bytes(manifest.read_bytes()[:-1])
            else:
                moved = manifest.rename(Path(directory, f"moved-{number}"))
                manifest.symlink_to(moved)
            assert store.available(root, known) == store.available(root)
            assert known.keys() == {saved.path for saved in store.available(root)}
