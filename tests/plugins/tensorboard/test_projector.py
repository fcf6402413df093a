"""Embeddings in TensorBoard's projector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin

from hookcore import Engine, ParameterError, Run
from hookcore_plugins import TensorBoard
from tests.plugins.tensorboard.event_files import Visible, read, scalars, tables, train

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.trainee import Node


def test_embeddings_with_their_words(tmp_path: Path) -> None:
    """Embeddings are written before training, every N epochs and after training, exactly; the latest is listed first."""
    words = ["the", "of", "", "a\tb"]
    train([TensorBoard(tmp_path, embeddings_freq=2, embeddings_metadata={"words": words})], [1.0] * 3)
    config = text_format.Parse((tmp_path / "train/projector_config.pbtxt").read_text(), ProjectorConfig())
    whens = ["after training", "epoch 0002", "epoch 0000", "before training"]
    assert [entry.tensor_name for entry in config.embeddings] == [f"words, {when}" for when in whens]
    for entry, step in zip(config.embeddings, (6, 6, 2, 0), strict=True):
        found = np.loadtxt(tmp_path / "train" / entry.tensor_path, delimiter="\t", dtype="float32")
        assert np.array_equal(found, (np.arange(12, dtype="float32") / 7 + step).astype("float32").reshape(4, 3))
        assert (tmp_path / "train" / entry.metadata_path).read_text() == "the\nof\n''\na\\tb\n"
    assert (tmp_path / "train" / "embeddings" / "words-epoch-0002.tsv").exists()
    assert words == ["the", "of", "", "a\tb"]


@pytest.mark.parametrize("parent", [False, True])
def test_the_projector_finds_them(tmp_path: Path, *, parent: bool) -> None:
    """The projector finds the embeddings if TensorBoard is started in the log directory or above it."""
    train([TensorBoard(tmp_path / "logs", embeddings_freq=1)], [1.0])
    root = tmp_path if parent else tmp_path / "logs"
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(root)).Reload()
    context = TBContext(logdir=str(root), data_provider=MultiplexerDataProvider(multiplexer, str(root)))
    plugin = ProjectorPlugin(context)
    plugin._update_configs()
    assert list(plugin._configs) == ["logs/train" if parent else "train"]
    ((_, config),) = plugin._configs.items()
    assert [list(entry.tensor_shape) for entry in config.embeddings] == [[4, 3]] * 3


@pytest.mark.parametrize("content", ["the\nof\nand\na\n", "the\nof\nand\na", "word\tcount\nthe\t4\nof\t3\nand\t2\na\t1\n"])
@pytest.mark.parametrize("mapped", [False, True])
def test_words_from_a_file(tmp_path: Path, content: str, *, mapped: bool) -> None:
    """A file has a word per line, or columns beneath a header."""
    (tmp_path / "words.tsv").write_text(content)
    given: Any = {"words": str(tmp_path / "words.tsv")} if mapped else tmp_path / "words.tsv"
    assert not train([TensorBoard(tmp_path / "logs", embeddings_freq=1, embeddings_metadata=given)], [1.0]).failures
    assert (tmp_path / "logs/train/embeddings/words-labels.tsv").read_text().split() == content.split()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (["the"] * 3, "has 3 labels for 'words', which has 4 rows"),
        (["the"] * 5, "has 5 labels for 'words', which has 4 rows"),
        ({"word": ["the"] * 4}, "names 'word', and the embeddings are: words. Did you mean 'words'"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, metadata: Any, message: str) -> None:
    """Labels that do not fit are refused before anything is trained, moved or written."""
    train([TensorBoard(tmp_path / "logs")], [7.0])
    board = TensorBoard(tmp_path / "logs", embeddings_freq=1, embeddings_metadata=metadata)
    with pytest.raises(ParameterError, match=message):
        Engine([board], on_error={"tensorboard": "raise"}).start(Run.of(Visible())).train_begin()
    assert scalars(tmp_path / "logs" / "validation")["epoch_loss"] == [(0, 7.0)]


def test_an_embedding_with_values_that_are_not_finite(tmp_path: Path) -> None:
    """Such a value becomes 0: the projector would draw no vector at all."""

    class Diverged(Visible):
        def embeddings(self) -> dict[str, Any]:
            return {"inner/words": np.array([[1.5, np.nan], [-np.inf, 2.0]])}

    train([TensorBoard(tmp_path, embeddings_freq=1)], [1.0], trainee=Diverged())
    assert (tmp_path / "train/embeddings/inner-words-epoch-0000.tsv").read_text() == "1.5\t0\n0\t2\n"


def test_a_model_that_is_built_by_its_first_batch(tmp_path: Path) -> None:
    """Labels are checked when the model has embeddings, and the graph is that of the built model."""

    class Lazy(Visible):
        def embeddings(self) -> dict[str, Any]:
            return super().embeddings() if self.step else {}

        def graph(self) -> list[Node]:
            return super().graph() if self.step else []

    board = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"words": ["the", "of", "and", "a"]})
    assert not train([board], [1.0], trainee=Lazy()).failures
    found = tables(tmp_path / "train")
    assert "embeddings/words-labels.tsv" in found
    assert "embeddings/words-before-training.tsv" not in found
    assert len(read(tmp_path / "train")["__run_graph__"][0][1].node) == 2
