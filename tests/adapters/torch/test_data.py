"""Data that start in mid-epoch: their batches, what is read, and warnings for other data."""

from __future__ import annotations

import contextlib
import itertools
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler

from hookcore import ParameterError, Run, hookimpl, state, store
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import ResumableSampler, TorchTrainee
from hookcore_plugins import Checkpoint
from tests.adapters.torch.lives import Bar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EPOCHS = 3


class Numbers(Dataset):  # type: ignore[misc]  # Any if PyTorch is not installed
    """The numbers of the samples, recording those that are read."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index


class Endless(IterableDataset):  # type: ignore[misc]  # Any if PyTorch is not installed
    def __iter__(self) -> Any:
        return iter(range(7))


def resumable(length: int = 7, *, size: int | None = 2, **arguments: Any) -> Any:
    data = Numbers(length)
    return DataLoader(data, batch_size=size, sampler=ResumableSampler(data, seed=3), **arguments)


def trainee() -> TorchTrainee:
    model = nn.Linear(1, 1)
    return TorchTrainee(model, torch.optim.SGD(model.parameters()))


def batches(
    *data: Any, directory: Path, cut: int | None = None, resume: Any = None, accumulate: int = 1
) -> list[tuple[int, Any]]:
    """Train on `data`, one after the other in each epoch, and return the epoch and the samples of each batch."""
    seen: list[tuple[int, Any]] = []

    def interrupt(run: Run) -> None:
        if run.progress.step == cut:
            run.interrupt(KeyboardInterrupt())

    plugins = [
        SimpleNamespace(name="cut", on_batch_end=hookimpl(interrupt)),
        Checkpoint(directory, every_n_steps=1, keep_last=None),
    ]
    with Loop(plugins, epochs=EPOCHS, trainee=trainee(), resume=resume) as loop:
        for epoch in loop.epochs():
            for one in data:
                seen.extend((epoch, torch.as_tensor(batch).tolist()) for batch in loop.batches(one, accumulate=accumulate))
    return seen


KINDS: dict[str, Callable[[], Any]] = {
    "shuffled": resumable,
    "the last dropped": lambda: resumable(drop_last=True),
    "workers": lambda: resumable(num_workers=2),
    "workers that stay": lambda: resumable(num_workers=1, persistent_workers=True),
    "one by one": lambda: resumable(5, size=None),
    "a batch sampler": lambda: DataLoader(
        data := Numbers(7), batch_sampler=BatchSampler(ResumableSampler(data), batch_size=3, drop_last=False)
    ),
    "a bar": lambda: Bar(resumable()),
    "accelerated": lambda: Accelerator(cpu=True).prepare(resumable()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_epoch_continues_with_the_batches_that_are_left(tmp_path: Path, kind: str) -> None:
    """Resumed from any batch with a new loader, an epoch has the remaining batches; each epoch has all samples in a new order."""
    whole = batches(KINDS[kind](), directory=tmp_path / "whole")
    by_epoch = [[batch for epoch, batch in whole if epoch == wanted] for wanted in range(EPOCHS)]
    assert len({repr(epoch) for epoch in by_epoch}) == EPOCHS
    if kind not in {"the last dropped", "one by one"}:
        assert all(sorted(itertools.chain(*epoch)) == list(range(7)) for epoch in by_epoch)
    for saved in store.available(tmp_path / "whole"):
        again = batches(KINDS[kind](), directory=tmp_path / "again" / saved.path.name, resume=saved.path)
        assert again == whole[saved.step :], saved.path.name


@pytest.mark.parametrize("accumulate", [1, 2])
def test_several_loaders_in_one_epoch_continue_in_the_right_one(tmp_path: Path, accumulate: int) -> None:
    """Several loaders in one epoch each skip their trained batches."""
    whole = batches(resumable(5), resumable(8), directory=tmp_path / "whole", accumulate=accumulate)
    saved = store.available(tmp_path / "whole")
    assert len(saved) == EPOCHS * (7 if accumulate == 1 else 4)
    for number, one in enumerate(saved, 1):
        done = number if accumulate == 1 else (number // 4) * 7 + [0, 2, 3, 5][number % 4]
        directory = tmp_path / "again" / one.path.name
        again = batches(resumable(5), resumable(8), directory=directory, resume=one.path, accumulate=accumulate)
        assert again == whole[done:], one.path.name


@pytest.mark.parametrize("kind", ["shuffled", "a bar", "accelerated"])
def test_an_interrupted_epoch_continues_in_the_rhythm_of_its_accumulation(tmp_path: Path, kind: str) -> None:
    """Steps count after the same batches as in an uninterrupted run, also if the loader reads one batch again."""

    def steps(directory: Path, **arguments: Any) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        data = resumable(14, size=1)
        one = {"shuffled": data, "a bar": Bar(data), "accelerated": Accelerator(cpu=True).prepare(data)}[kind]
        with Loop([Checkpoint(directory, every_n_steps=1, keep_last=None)], epochs=1, trainee=trainee(), **arguments) as loop:
            for _ in loop.epochs():
                for _ in loop.batches(one, accumulate=3):
                    progress = loop.run.progress
                    found.append((progress.batch, progress.step))
        return found

    whole = steps(tmp_path / "whole")
    assert [step for _, step in whole] == [batch // 3 for batch in range(14)]
    for saved in store.available(tmp_path / "whole")[:-1]:
        assert steps(tmp_path / "again" / saved.path.name, resume=saved.path) == whole[saved.step * 3 :], saved.path.name


FAR, REST = 1_000_000, 5


@pytest.mark.parametrize("size", [1, 32])
def test_a_million_batches_are_skipped_unread(tmp_path: Path, size: int) -> None:
    """After a million skipped batches, only the samples of the remaining batches are read, in the right order."""
    begun = tmp_path / "begun"
    batches(resumable(6), directory=begun)
    record = state.loads((begun / "step-00000002" / "run.json").read_text())
    record["position"]["batch"] = FAR
    store.write(
        tmp_path, epoch=0, step=2, metric=None, value=None, record=state.dumps(record), files=lambda place: copy(begun, place)
    )
    loader = resumable((FAR + REST) * size, size=size)
    with Loop(epochs=1, trainee=trainee(), resume=tmp_path) as loop:
        left = [batch.tolist() for _ in loop.epochs() for batch in loop.batches(loader)]
    assert list(itertools.chain(*left)) == loader.dataset.read
    loader.sampler.begin_at(FAR * size)
    assert loader.dataset.read == list(loader.sampler)
    assert len(set(loader.dataset.read)) == REST * size


def copy(begun: Path, place: Path) -> None:
    one = trainee()
    one.write(one.read(begun / "step-00000002"), place)


# Orders


@given(length=st.integers(0, 200), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000), begin=st.integers(0, 250))
@settings(max_examples=60)
def test_an_order_has_each_sample_once_and_follows_from_seed_and_epoch(length: int, seed: int, epoch: int, begin: int) -> None:
    """An order has each sample once and depends on seed and epoch; a later start gives its rest, only once."""
    sampler = ResumableSampler(range(length), seed=seed)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(length))
    again = ResumableSampler(range(length), seed=seed)
    list(again)
    again.set_epoch(epoch)
    again.begin_at(begin)
    assert list(again) == order[begin:]
    assert list(again) == order
    assert len(again) == length


def test_neighbouring_seeds_share_no_order() -> None:
    """Neighbouring seeds share no order, which seed plus epoch would."""
    orders = set()
    for seed, epoch in itertools.product(range(5), range(5)):
        sampler = ResumableSampler(range(30), seed=seed)
        sampler.set_epoch(epoch)
        orders.add(tuple(sampler))
    assert len(orders) == 25


def test_an_order_draws_no_global_random_numbers() -> None:
    """An order does not depend on global random numbers, and does not draw any."""
    before = torch.get_rng_state()
    list(ResumableSampler(range(9)))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_shuffling_the_order_is_the_datas() -> None:
    """Without shuffling, the order is the data's, and can also start at any sample."""
    sampler = ResumableSampler(range(6), shuffle=False)
    sampler.begin_at(4)
    assert [list(sampler), list(sampler)] == [[4, 5], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 0.5}])
def test_a_seed_is_a_whole_number(arguments: dict[str, Any]) -> None:
    """A seed that is not a non-negative integer is an error that names it."""
    with pytest.raises(ParameterError, match="ResumableSampler: seed must be"):
        ResumableSampler(range(2), **arguments)


# What the log says


def test_a_sampler_without_epochs_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    """A sampler that does not get the epoch, as within enumerate, warns once."""
    loader = resumable()
    with caplog.at_level(logging.WARNING), Loop(epochs=3, trainee=trainee()) as loop:
        for _ in loop.epochs():
            list(loop.batches(enumerate(loader)))
    assert ["does not know the epoch" in record.message for record in caplog.records] == [True]


def warnings_of(data: Any, directory: Path, caplog: pytest.LogCaptureFixture, **arguments: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING), contextlib.suppress(KeyboardInterrupt):
        batches(data, directory=directory, **arguments)
    return [record.message for record in caplog.records if "ResumableSampler" in record.message]


class Pairs:
    """A batch sampler that is not PyTorch's."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __iter__(self) -> Any:
        return iter(BatchSampler(self.sampler, batch_size=2, drop_last=True))


@pytest.mark.parametrize("sampler", [{"shuffle": True}, {"batch_sampler": Pairs(RandomSampler(range(6)))}])
def test_a_shuffling_loader_gives_one_warning_per_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sampler: dict[str, Any]
) -> None:
    """The log warns of a shuffling loader once at the beginning of a run that saves, and when it is resumed within an epoch."""
    loader = DataLoader(range(6), **sampler)
    (told,) = warnings_of(loader, tmp_path / "begun", caplog, cut=2)
    assert told.startswith("the DataLoader shuffles by RandomSampler, whose order cannot be repeated")
    assert len(warnings_of(loader, tmp_path / "begun", caplog, resume="auto")) == 1


def test_a_run_that_saves_nothing_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """A run that saves nothing gets no warning, because it cannot be resumed."""
    with caplog.at_level(logging.WARNING), Loop(epochs=1, trainee=trainee()) as loop:
        for _ in loop.epochs():
            assert len(list(loop.batches(DataLoader(range(6), shuffle=True)))) == 6
    assert caplog.records == []


@pytest.mark.parametrize("wrap", [enumerate, lambda loader: zip(loader, "abc", strict=True), lambda loader: Bar(iter(loader))])
def test_data_that_may_hide_a_shuffling_loader_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrap: Callable[[Any], Any]
) -> None:
    """The log warns once of data that may hide a shuffling loader, in a run that saves."""
    for plugins in [], [Checkpoint(tmp_path)]:
        caplog.clear()
        with Loop(plugins, epochs=2, trainee=trainee()) as loop:
            for _ in loop.epochs():
                assert len(list(loop.batches(wrap(DataLoader(range(6), 2, shuffle=True))))) == 3
        told = [record.message for record in caplog.records if "TorchTrainee cannot find out" in record.message]
        assert len(told) == len(plugins)


def seedable() -> Any:
    """Return Accelerate's loader, which shuffles by the epoch that is set."""
    configuration = DataLoaderConfiguration(use_seedable_sampler=True)
    return Accelerator(cpu=True, dataloader_config=configuration).prepare(DataLoader(Numbers(6), shuffle=True))


@pytest.mark.parametrize(
    "kind",
    [resumable, lambda: DataLoader(range(6)), lambda: DataLoader(Endless()), lambda: [1, 2], lambda: Bar(range(3)), seedable],
)
def test_data_in_the_same_order_give_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Callable[[], Any]
) -> None:
    """Data in a fixed order give no warning."""
    assert warnings_of(kind(), tmp_path, caplog) == []


def test_an_unknown_batch_sampler_is_read_again_in_the_right_order(tmp_path: Path) -> None:
    """The batches of an unknown batch sampler over a ResumableSampler are read again, in the right order."""

    class Growing(BatchSampler):  # type: ignore[misc]  # Any if PyTorch is not installed
        def __iter__(self) -> Any:
            samples = iter(self.sampler)
            for size in (1, 2, 3):
                yield list(itertools.islice(samples, size))

        def __len__(self) -> int:
            return 3

    def made() -> Any:
        data = Numbers(6)
        return DataLoader(data, batch_sampler=Growing(ResumableSampler(data, seed=1), batch_size=1, drop_last=False))

    whole = batches(made(), directory=tmp_path / "whole")
    for saved in store.available(tmp_path / "whole"):
        assert batches(made(), directory=tmp_path / "again" / saved.path.name, resume=saved.path) == whole[saved.step :]
