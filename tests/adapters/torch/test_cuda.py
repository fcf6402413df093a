"""On a GPU: pinned copies, CUDA's generators, a scaler, and no waiting. Skipped on a machine without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hookcore import store
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import TorchTrainee
from hookcore_plugins import Checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

STEPS = 6

torch.set_num_threads(1)


def train(directory: Path, resume: Any = None, *, capturable: bool = False, seed: int = 0) -> list[str]:
    """Train with dropout in half precision, and return the results as text."""
    torch.manual_seed(seed)
    torch.backends.cuda.matmul.allow_tf32 = False
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 1)).cuda()
    rate = torch.tensor(0.01, device="cuda") if capturable else 0.01
    optimizer = torch.optim.Adam(model.parameters(), rate, capturable=capturable)
    scheduler = None if capturable else torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3 * STEPS)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**4, growth_interval=2)
    x = torch.randn(STEPS, 32, 8, generator=torch.Generator().manual_seed(1)).cuda()
    trainee = TorchTrainee(model, optimizer, scheduler, scaler)
    plugins = [Checkpoint(directory, every_n_epochs=None, every_n_steps=1, keep_last=None)]
    with Loop(plugins, epochs=2, trainee=trainee, resume=resume) as loop:
        for _ in loop.epochs():
            for number in loop.batches(range(STEPS)):
                optimizer.zero_grad()
                with torch.autocast("cuda", torch.float16):
                    loss = (model(x[number]) - x[number].sum(1, keepdim=True) + torch.randn((), device="cuda")).square().mean()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                if scheduler is not None:
                    scheduler.step()
                loop.log(loss=loss)
    snapshot = trainee.snapshot()
    assert snapshot.random is not None
    assert "cuda:0" in snapshot.random.torch
    tensors = [*snapshot.weights["model"].values(), *snapshot.rest.tensors]
    return [repr(loop.run.history["loss"]), *(repr(tensor.tolist()) for tensor in tensors), repr(snapshot.random.torch["cuda:0"])]


def resume_each(directory: str) -> None:
    """Resume from each checkpoint, in a separate process, and print the results of each."""
    for capturable in (False, True):
        saved = store.available(Path(directory, str(capturable)))
        again = Path(directory, "again", str(capturable))
        print(json.dumps([train(again / one.path.name, one.path, capturable=capturable, seed=9) for one in saved]))  # noqa: T201


def test_a_new_process_resumes_from_every_step(tmp_path: Path) -> None:
    """On a GPU, a run resumes exactly: weights, state on device and host, the scaler's scale and CUDA's random numbers."""
    whole = [train(tmp_path / str(capturable), capturable=capturable) for capturable in (False, True)]
    code = "import sys; from tests.adapters.torch.test_cuda import resume_each; resume_each(sys.argv[1])"
    path = os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[3])])
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for expected, line in zip(whole, done.stdout.splitlines(), strict=True):
        resumed = json.loads(line)
        assert len(resumed) == 2 * STEPS
        assert [one == expected for one in resumed] == [True] * len(resumed)


def test_training_does_not_change_a_snapshot_and_it_is_pinned() -> None:
    """The copies are complete when `snapshot` returns, so later writes to the tensors do not change them."""
    model = nn.Linear(4096, 4096).cuda()
    trainee = TorchTrainee(model, torch.optim.SGD(model.parameters(), 0.1))
    for value in (1.0, 2.0):
        with torch.no_grad():
            model.weight.fill_(value)
        snapshot = trainee.snapshot()
        with torch.no_grad():
            model.weight.fill_(0.0)
        copied = snapshot.weights["model"]["weight"]
        assert copied.is_pinned()
        assert bool((copied == value).all())
        trainee.restore(snapshot)
        assert bool((model.weight == value).all())


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
def test_batches_do_not_wait_for_the_device() -> None:
    """If no plugin reads metrics, nothing synchronizes within an epoch, which PyTorch would report as an error."""
    model = nn.Linear(64, 1).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(STEPS, 32, 64, device="cuda")
    with Loop(epochs=1, trainee=TorchTrainee(model, optimizer)) as loop:
        for _ in loop.epochs():
            for number in loop.batches(range(STEPS)):
                torch.cuda.set_sync_debug_mode("error")
                optimizer.zero_grad()
                loss = model(x[number]).square().mean()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
            torch.cuda.set_sync_debug_mode("default")
    assert len(loop.run.history["loss"]) == 1
