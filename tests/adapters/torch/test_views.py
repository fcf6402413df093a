"""Views of a PyTorch model, which plugins show in the same way as for Keras."""

from __future__ import annotations

from collections import UserDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from hookcore import CapabilityError, HookcoreError
from hookcore.trainee import Node, reason_lacking
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import ResumableSampler, TorchTrainee
from hookcore_plugins import Activations, TensorBoard
from tests.adapters.torch.test_trainee import equal, state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORDS = torch.arange(30).reshape(10, 3) % 7
LABELS = torch.arange(10) % 2


class Block(nn.Module):  # type: ignore[misc]  # Any if PyTorch is not installed
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.act(self.dense(x)) + x


class Classifier(nn.Module):  # type: ignore[misc]  # Any if PyTorch is not installed
    """A model with an embedding, a residual block, a layer that is called twice, batch normalization and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.block = Block()
        self.shared = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.unused = nn.Linear(1, 1)
        self.unused.bias.requires_grad = False

    def forward(self, words: Any) -> Any:
        x = self.shared(self.shared(self.block(self.words(words)).mean(1)))
        return self.head(self.drop(self.norm(x)))


def made(model: Any = None, **arguments: Any) -> TorchTrainee:
    torch.manual_seed(1)
    model = Classifier() if model is None else model
    return TorchTrainee(model, torch.optim.SGD(model.parameters(), 0.1), **arguments)


def test_weights_have_the_names_of_their_layers() -> None:
    """Weights are copies of parameters and running statistics, tied ones once, without the prefix of torch.compile."""
    trainee = made()
    trainee.model.head.weight.data[:] = 3.0
    weights = trainee.weights()
    assert list(weights)[:4] == ["words/weight", "block/dense/weight", "block/dense/bias", "shared/weight"]
    assert weights.keys() >= {"norm/running_mean", "norm/running_var"}
    assert "norm/num_batches_tracked" not in weights
    weights["head/weight"][:] = 0
    assert bool((trainee.model.head.weight == 3).all())
    compiled = TorchTrainee(torch.compile(trainee.model, backend="eager"), trainee.optimizer)
    assert compiled.weights().keys() == weights.keys()


def test_bfloat16_is_shown_as_float32() -> None:
    """bfloat16 is shown as float32, because NumPy has no bfloat16."""
    trainee = made(nn.Linear(2, 1).bfloat16())
    assert {array.dtype.name for array in trainee.weights().values()} == {"float32"}


def test_activations_are_what_each_layer_returns_in_evaluation() -> None:
    """Activations are the layers' outputs in evaluation, before later layers write into them, and numbered for two calls."""
    trainee = made()
    model = trainee.model.eval()
    found = trainee.activations((WORDS, LABELS), 2)
    assert list(found) == ["words", "block/dense", "block/act", "shared/0", "shared/1", "norm", "drop", "head"]
    dense = model.block.dense(model.words(WORDS[:2]))
    np.testing.assert_array_equal(found["block/dense"], dense.detach().numpy())
    np.testing.assert_array_equal(found["block/act"], dense.relu().detach().numpy())
    np.testing.assert_array_equal(found["head"], model(WORDS[:2]).detach().numpy())


def test_gradients_are_of_the_loss_that_was_given() -> None:
    """Gradients are of the given loss and number of samples, zeros for unused parameters, and absent for frozen ones."""
    trainee = made(loss=nn.functional.cross_entropy)
    found = trainee.gradients((WORDS, LABELS), 4)
    assert "unused/weight" in found
    assert "unused/bias" not in found
    assert not found["unused/weight"].any()
    nn.functional.cross_entropy(trainee.model.eval()(WORDS[:4]), LABELS[:4]).backward()
    np.testing.assert_allclose(found["head/weight"], trainee.model.head.weight.grad.numpy())


def test_without_a_loss_there_are_no_gradients() -> None:
    """Without a loss, a plugin that needs gradients is refused with the advice to give one."""
    assert "given no loss" in str(made().lacks("gradients"))
    with pytest.raises(HookcoreError, match="given no loss"):
        made().gradients((WORDS, LABELS))


def test_looking_changes_nothing() -> None:
    """Views change no weight, statistic, waiting gradient, mode of a layer or random number."""
    trainee = made(loss=nn.functional.cross_entropy)
    trainee.model.drop.eval()
    nn.functional.cross_entropy(trainee.model(WORDS), LABELS).backward()
    before, modes = state_of(trainee), [module.training for module in trainee.model.modules()]
    shuffled = DataLoader(TensorDataset(WORDS, LABELS), batch_size=3, shuffle=True)
    for data in ((WORDS, LABELS), shuffled, DataLoader(Drawing(), batch_size=2)):
        trainee.activations(data, 2)
        trainee.gradients(data, 2)
    trainee.weights(), trainee.graph(), trainee.embeddings()
    assert equal(state_of(trainee), before)
    assert [module.training for module in trainee.model.modules()] == modes
    assert not any(module._forward_hooks for module in trainee.model.modules())


class Drawing(IterableDataset):  # type: ignore[misc]  # Any if PyTorch is not installed
    """Samples that are drawn at random when they are read."""

    def __iter__(self) -> Any:
        while True:
            yield torch.randint(0, 7, (3,)), torch.randint(0, 2, ())


class Drawn(torch.utils.data.Dataset):  # type: ignore[misc]  # Any if PyTorch is not installed
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return WORDS[index], LABELS[index]


def named(samples: Any) -> Any:
    """Return a batch in a mapping that is not a dict, like tokenizers."""
    return UserDict(words=torch.stack([words for words, _ in samples]))


DATA: dict[str, Callable[[], Any]] = {
    "tensors": lambda: (WORDS, LABELS),
    "arrays": lambda: (WORDS.numpy(), LABELS.numpy()),
    "inputs alone": lambda: WORDS,
    "inputs by name": lambda: {"words": WORDS},
    "inputs in another mapping": lambda: UserDict(words=WORDS),
    "a loader of other mappings": lambda: DataLoader(Drawn(), batch_size=2, collate_fn=named),
    "a stream of other mappings": lambda: [(UserDict(words=WORDS[start : start + 2]), LABELS) for start in range(0, 10, 2)],
    "several loaders": lambda: [DataLoader(Drawn(), batch_size=2), DataLoader(range(3))],
    "a data set": Drawn,
    "a loader": lambda: DataLoader(Drawn(), batch_size=2),
    "a resumable loader": lambda: DataLoader(Drawn(), batch_size=2, sampler=ResumableSampler(range(10))),
    "a list of batches": lambda: [(WORDS[start : start + 2], LABELS[start : start + 2]) for start in range(0, 10, 2)],
    "a loader of a stream": lambda: DataLoader(list(zip(WORDS, LABELS, strict=True)), batch_size=2),
}


@pytest.mark.parametrize("kind", DATA)
def test_samples_are_the_first_of_any_validation_data(kind: str) -> None:
    """The first five samples come from any kind of validation data, over several batches if needed."""
    trainee = made()
    found = trainee.activations(DATA[kind](), 5)
    np.testing.assert_allclose(found["head"], trainee.model.eval()(WORDS[:5]).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "There is no validation data"),
        (iter([WORDS]), "would use them up"),
        (3, "of type int"),
        ([], "no batch"),
        (torch.zeros(2, 3), "Classifier could not be called on the first samples"),
    ],
)
def test_data_without_samples_is_an_error_that_says_why(data: Any, message: str) -> None:
    """Data without samples are an error that says why, and what to give instead."""
    with pytest.raises(HookcoreError, match=message):
        made().activations(data)


def test_the_graph_has_layers_and_functions_with_their_inputs() -> None:
    """The graph has the layers and functions that torch.fx traces, with inputs, and parameters counted once."""
    trainee = made()
    nodes = trainee.graph()
    assert nodes[:6] == [
        Node("words", "Input"),
        Node("words_2", "Embedding", ("words",), (), 28),
        Node("block/dense", "Linear", ("words_2",), (), 20),
        Node("block/act", "ReLU", ("block/dense",)),
        Node("block/add", "add", ("block/act", "words_2")),
        Node("mean", "mean", ("block/add",)),
    ]
    assert [(node.name, node.parameters) for node in nodes if "shared" in node.name] == [("shared", 20), ("shared_2", 0)]
    seen: set[str] = set()
    for node in nodes:
        assert seen.issuperset(node.inputs)
        seen.add(node.name)


class Branching(nn.Module):  # type: ignore[misc]  # Any if PyTorch is not installed
    """A model whose control flow depends on the data, and which stores and counts its results."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.latest: Any = None
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.latest = self.layer(x)
        return self.latest if self.latest.sum() > 0 else x


def test_a_model_that_cannot_be_traced_has_its_layers() -> None:
    """A model that cannot be traced has its layers without edges, and tracing does not change it."""
    trainee = made(Branching())
    assert trainee.graph() == [Node("layer", "Linear", (), (), 6)]
    assert trainee.model.latest is None
    assert trainee.model.calls == 0


def test_embeddings_are_by_layer() -> None:
    """Embeddings are shown by layer, and a model without such a layer lacks the view."""
    assert {name: array.shape for name, array in made().embeddings().items()} == {"words": (7, 4)}
    assert made(nn.Linear(1, 1)).lacks("embeddings") == "Linear has no Embedding layer"
    assert reason_lacking(made(), "picture") == "a torch trainee does not provide picture"


def test_tensorboard_shows_what_it_shows_for_keras(tmp_path: Path) -> None:
    """TensorBoard writes histograms, graph and embeddings of a PyTorch model, and Activations its files."""
    trainee = made(loss=nn.functional.cross_entropy)
    board = TensorBoard(tmp_path / "board", histogram_freq=1, activations=True, gradients=True, embeddings_freq=1)
    plugins = [board, Activations(tmp_path / "activations")]
    with Loop(plugins, epochs=1, trainee=trainee, validation_data=(WORDS, LABELS)) as loop:
        for _ in loop.epochs():
            for start in loop.batches(range(0, 10, 5)):
                loss = nn.functional.cross_entropy(trainee.model(WORDS[start : start + 5]), LABELS[start : start + 5])
                loss.backward()
                loop.log(loss=loss)
    assert loop.run.failures == []
    tags = set()
    for path in (tmp_path / "board").rglob("events.out.tfevents*"):
        events = EventAccumulator(str(path))
        events.Reload()
        tags |= {*events.Tags()["histograms"], *events.Tags()["tensors"], *events.Tags()["scalars"]}
    assert {"block/dense/weight/histogram", "gradients/head/weight", "activations/shared/1"} <= tags
    with np.load(tmp_path / "activations" / "activations-epoch-0001.npz") as saved:
        assert saved["block/dense"].shape == (1, 3, 4)
    with (
        pytest.raises(CapabilityError, match="given no loss"),
        Loop(
            [TensorBoard(tmp_path / "other", gradients=True, histogram_freq=1)], trainee=made(), validation_data=(WORDS, LABELS)
        ),
    ):
        pass
