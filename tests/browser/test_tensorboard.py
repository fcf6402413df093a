"""TensorBoard's tabs show the run that the plugin wrote, in a real browser."""

from __future__ import annotations

import io
import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import WORDS
from tests.browser.looking import fetch, wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore import Run
    from tests.browser.looking import Browser

    Tab = Callable[[str], Browser]

LAYERS = ["conv1d", "conv1d_1", "dense", "embed", "global_max_pooling1d", "max_pooling1d"]
WEIGHTS = [f"{layer}/{kind}" for layer in ("conv1d", "conv1d_1", "dense") for kind in ("bias", "kernel")] + ["embed/embeddings"]


@pytest.mark.parametrize("metric", ["loss", "acc"])
def test_time_series_shows_training_and_validation_in_one_chart(tab: Tab, run: Run, metric: str) -> None:
    """The Time Series tab draws both runs in one chart and lists their last values, which are those of the run."""
    browser = tab("timeseries")
    tags = 'input[placeholder="Filter tags (regex)"]'
    browser.type_into(tags, f"^epoch_{metric}$")
    last = len(run.history) - 1
    expected: Any = [
        ["train", pytest.approx(run.history[metric][-1], abs=1e-3), last],
        ["validation", pytest.approx(run.history[f"val_{metric}"][-1], abs=1e-3), last],
    ]
    browser.wait_for(
        "scalar-card",
        lambda cards: len(cards) == 1 and cards[0][0] == f"epoch_{metric}" and sorted(cards[0][1]) == expected,
        "[e.querySelector('.tag').title, deep('tb-data-table-content-row', e).map(row => row.innerText.trim().split(/\\s+/))"
        ".map(row => [row[0], Number(row[2].replace('\N{MINUS SIGN}', '-')), Number(row[3])])]",
    )
    browser.type_into(tags, Keys.ESCAPE)  # closes the list of suggestions

    def drawn() -> bool:
        colours = {parsed(style) for style in browser.ask(".run-color-swatch", "getComputedStyle(e).backgroundColor")}
        # The chart is a bitmap.
        bitmaps = [canvas.screenshot_as_png for canvas in browser.ask("scalar-card canvas", "e")]
        return len(colours) == 2 and any(colours <= colours_of(bitmap) for bitmap in bitmaps)

    wait(drawn, "both curves are drawn, each in its run's colour")
    browser.screenshot(f"timeseries-{metric}")


def parsed(style: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", style)[:3]))


def colours_of(png: bytes) -> set[Any]:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        pixels: Any = image.convert("RGB").getcolors(1 << 24)
    return {colour for _, colour in pixels}


def curves(browser: Browser, tags: set[str], points: dict[str, int]) -> None:
    """Wait until the charts of `tags` show the runs in `points`, each with its number of points."""

    def drawn(cards: list[Any]) -> bool:
        browser.ask("#ignore-y-outlier", "e.checked && e.click()")  # points outside are not drawn
        return {tag for tag, _ in cards} >= tags and all(curves == points for tag, curves in cards if tag in tags)

    run = (
        "deep('tf-scalar-dashboard >> paper-checkbox[id^=checkbox-]').find(box => path.getAttribute('stroke') === "
        "getComputedStyle(box).getPropertyValue('--paper-checkbox-checked-color').trim())?.id.replace('checkbox-', '')"
    )
    browser.wait_for(
        "tf-scalar-card",
        drawn,
        "[e.tag, Object.fromEntries(deep('path.line', e).filter(path => path.getAttribute('d'))"
        f".map(path => [{run}, path.getAttribute('d').split(',').length - 1]))]",
    )


def test_scalars_has_a_curve_for_each_run(tab: Tab, run: Run) -> None:
    """The Scalars tab draws loss and accuracy in one chart each, with a curve for each run and a point for each epoch."""
    browser = tab("scalars&tagFilter=^epoch_(loss%7Cacc)$&_smoothingWeight=0")
    curves(browser, {"epoch_loss", "epoch_acc"}, {"train": len(run.history), "validation": len(run.history)})
    browser.screenshot("scalars")


@pytest.mark.parametrize("tag", ["epoch_learning_rate", "batch_loss", "epoch_steps_per_second"])
def test_scalars_shows_rate_and_batches(tab: Tab, tensorboard: str, run: Run, tag: str) -> None:
    """The Scalars tab has the learning rate and the speed by epoch and the loss by batch, of training alone."""
    browser = tab(f"scalars&tagFilter=^{tag}$&_smoothingWeight=0")
    curves(browser, {tag}, {"train": run.progress.step if tag.startswith("batch_") else len(run.history)})
    if tag == "epoch_learning_rate":
        values = [value for _, _, value in fetch(f"{tensorboard}data/plugin/scalars/scalars?tag={tag}&run=train")]
        assert len(set(values)) > 2
        assert values == sorted(values, reverse=True)


def test_graphs_shows_the_layers_in_order(tab: Tab) -> None:
    """The Graphs tab draws a node for each layer, and an edge from each to the next."""
    browser = tab("graphs&run=train")
    layers = ["review", "embed", "conv1d", "max_pooling1d", "conv1d_1", "global_max_pooling1d", "dense"]
    browser.wait_for("tf-graph-scene >> g.node", lambda names: names == layers, "e.getAttribute('data-name')")
    edges = sorted(f"{layer}--{following}" for layer, following in itertools.pairwise(layers))
    browser.wait_for("tf-graph-scene >> g.edge", lambda found: sorted(found) == edges, "e.getAttribute('data-edge')")
    shape = "24\N{MULTIPLICATION SIGN}8"
    browser.wait_for("tf-graph-scene >> g.edge", lambda shapes: any(shape in found for found in shapes), "e.textContent")
    browser.screenshot("graphs")


@pytest.mark.parametrize("dashboard", ["histograms", "distributions"])
@pytest.mark.parametrize("of", ["weights", "activations"])
def test_histograms_and_distributions_show_each_layer(tab: Tab, run: Run, dashboard: str, of: str) -> None:
    """The Histograms and Distributions tabs have a card for each weight and each layer's activations, with every epoch."""
    tags = [f"{name}/histogram" for name in WEIGHTS] if of == "weights" else [f"activations/{name}" for name in LAYERS]
    pattern = "/histogram$" if of == "weights" else "^activations/"
    loader, epochs = {
        "histograms": (
            "tf-histogram-loader",
            "deep('.histogram path', e).filter(path => path.getAttribute('d').length > 200).length",
        ),
        "distributions": (
            "tf-distribution-loader",
            "Math.min(...deep('path.line, path.area', e).map(path => path.getAttribute('d').match(/L/g).length + 1))",
        ),
    }[dashboard]
    browser = tab(f"{dashboard}&tagFilter={pattern}")
    expected = {(tag, len(run.history)) for tag in tags}
    # There are cards of other tags too, and some of these tags have another one in a group of their own.
    browser.wait_for(
        loader,
        lambda cards: {(tag, drawn) for tag, drawn in cards if re.search(pattern, tag)} == expected,
        f"[e.tag, {epochs}]",
    )
    browser.screenshot(f"{dashboard}-{of}")


def test_projector_knows_the_words(tab: Tab, run: Run) -> None:
    """The Projector lists the embedding at each epoch, and a word is found by its name, with other words beside it."""
    browser = tab("projector")
    browser.enter_frames()
    browser.wait_for(".numDataPoints", lambda found: found == [str(len(WORDS))], "e.textContent.trim()")
    epochs = [f"epoch {epoch:04d}" for epoch in range(len(run.history))]
    tensors = sorted([f"embed, {when}", f"{len(WORDS)}x8"] for when in [*epochs, "before training", "after training"])
    browser.wait_for(
        "vz-projector-data-panel >> paper-item",
        lambda items: sorted(item for item in items if len(item) > 1) == tensors,  # the others are columns and colours
        "e.textContent.trim().split(/\\s{2,}/)",
    )
    browser.type_into("#search-box >> input", "wonderful")
    browser.wait_for(
        "vz-projector-metadata-card", lambda found: any("wonderful" in card for card in found), "e.shadowRoot.textContent"
    )
    others = sorted({*WORDS} - {"wonderful"})
    neighbours = "vz-projector-inspector-panel >> .nn-list .neighbor"
    browser.wait_for(neighbours, lambda found: sorted(found) == others, "e.innerText.trim().split(/\\s+/)[0]")
    browser.screenshot("projector")


def test_hparams_has_parameters_and_the_outcome(tab: Tab, run: Run) -> None:
    """The HParams tab has the plugins' parameters, the last metrics, and how the run ended."""
    browser = tab("hparams")
    boxes, cells = "tf-hparams-query-pane >> paper-checkbox", "vaadin-grid-cell-content"
    text = "e.offsetHeight ? e.innerText.trim() : ''"  # the grid keeps cells that it does not show
    last = f"{run.history['val_loss'][-1]:.5f}"[:6]
    shown = ["learning_rate", "early_stopping.patience", "reduce_lr_on_plateau.factor", "hparams/val_loss"]
    browser.wait_for(boxes, lambda names: {*shown, "hparams/val_acc"} <= set(names), "e.innerText.trim()")
    expected = {"0.010000", "5.0000", "0.50000"}

    def chosen(found: list[str]) -> bool:
        # At first there are columns for the first few of each kind.
        others = r"/^\w+[./]\w+$|^\w+_rate$|^(batch|epoch)_/.test(e.innerText.trim()) && e.checked"
        browser.ask(boxes, rf"{others} !== {shown}.includes(e.innerText.trim()) && e.click()")
        return expected <= set(found) and any(cell.startswith(last) for cell in found)

    browser.wait_for(cells, chosen, text)
    browser.screenshot("hparams")
    browser.ask(boxes, "e.innerText.trim() === 'Success' && e.click()")
    browser.wait_for(cells, lambda found: not expected & set(found), text)


def test_text_has_the_decisions(tab: Tab, run: Run) -> None:
    """The Text tab has each decision with the plugin that took it, and how the run ended."""
    browser = tab("text")
    expected = [part for decision in run.decisions for part in (decision.message, decision.plugin)]
    expected.append("the run ended: stopped")
    browser.wait_for(
        "tf-text-loader >> tf-markdown-view",
        lambda texts: all(any(part in text for text in texts) for part in expected),
        "e.shadowRoot.textContent",
    )
    assert {decision.kind for decision in run.decisions} == {"checkpoint", "learning_rate", "stop"}
    browser.screenshot("text")
