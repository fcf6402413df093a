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


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


@pytest.mark.parametrize("metric", ["loss", "acc"])
def test_time_series_shows_training_and_validation_in_one_chart(tab: Tab, run: Run, metric: str) -> None:
    """The Time Series tab draws both runs in one chart and lists their last values, which are those of the run."""
    browser = tab("timeseries")
    tags = 'input[placeholder="Filter tags (regex)"]'
    browser.type_into(tags, f"^epoch_{metric}$")
    browser.wait_for("scalar-card", lambda cards: len(cards) == 1 and "validation" in cards[0])
    rows = browser.ask("scalar-card tb-data-table-content-row", "e.innerText.trim().split(/\\s+/)")
    values: Any = {row[0]: (number(row[2]), int(row[3])) for row in rows}
    last = len(run.history) - 1
    assert values == {
        "train": (pytest.approx(run.history[metric][-1], abs=1e-3), last),
        "validation": (pytest.approx(run.history[f"val_{metric}"][-1], abs=1e-3), last),
    }
    colours = [parsed(style) for style in browser.ask(".run-color-swatch", "getComputedStyle(e).backgroundColor")]
    assert len(set(colours)) == 2
    browser.type_into(tags, Keys.ESCAPE)  # closes the list of suggestions
    # The chart is a bitmap.
    canvas = browser.ask("scalar-card canvas", "e")[0]
    wait(lambda: set(colours) <= colours_of(canvas.screenshot_as_png), f"both curves are drawn, in {colours}")
    browser.screenshot(f"timeseries-{metric}")


def parsed(style: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", style)[:3]))


def colours_of(png: bytes) -> set[Any]:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        pixels: Any = image.convert("RGB").getcolors(1 << 24)
    return {colour for _, colour in pixels}


def curves(browser: Browser, charts: int, points: dict[str, int]) -> None:
    """Wait until each of the first `charts` charts has the curves of these runs, each with so many points."""
    browser.wait_for("#ignore-y-outlier", bool, "e.id")
    browser.ask("#ignore-y-outlier", "e.checked && e.click()")  # points outside are not drawn
    boxes = "tf-scalar-dashboard >> paper-checkbox[id^=checkbox-]"
    colour = "getComputedStyle(e).getPropertyValue('--paper-checkbox-checked-color').trim()"
    found = browser.wait_for(boxes, lambda boxes: len(boxes) == 2, f"[e.id.replace('checkbox-', ''), {colour}]")
    of_run = dict(found)
    expected = {of_run[run]: number for run, number in points.items()}
    browser.wait_for(
        "tf-scalar-card >> vz-line-chart2",
        lambda drawn: len(drawn) >= charts and all(one == expected for one in drawn[:charts]),
        "Object.fromEntries([...e.shadowRoot.querySelectorAll('path.line')].filter(path => path.getAttribute('d'))"
        ".map(path => [path.getAttribute('stroke'), path.getAttribute('d').split(',').length - 1]))",
    )


def test_scalars_has_a_curve_for_each_run(tab: Tab, run: Run) -> None:
    """The Scalars tab draws loss and accuracy in one chart each, with a curve for each run and a point for each epoch."""
    browser = tab("scalars&tagFilter=^epoch_(loss%7Cacc)$&_smoothingWeight=0")
    curves(browser, 2, {"train": len(run.history), "validation": len(run.history)})
    browser.screenshot("scalars")


@pytest.mark.parametrize("tag", ["epoch_learning_rate", "batch_loss", "epoch_steps_per_second"])
def test_scalars_shows_rate_and_batches(tab: Tab, tensorboard: str, run: Run, tag: str) -> None:
    """The Scalars tab has the learning rate and the speed by epoch and the loss by batch, of training alone."""
    browser = tab(f"scalars&tagFilter=^{tag}$&_smoothingWeight=0")
    curves(browser, 1, {"train": run.progress.step if tag.startswith("batch_") else len(run.history)})
    if tag == "epoch_learning_rate":
        values = [value for _, _, value in fetch(f"{tensorboard}data/plugin/scalars/scalars?tag={tag}&run=train")]
        assert len(set(values)) > 2
        assert values == sorted(values, reverse=True)


def test_graphs_shows_the_layers_in_order(tab: Tab) -> None:
    """The Graphs tab draws a node for each layer, and an edge from each to the next."""
    browser = tab("graphs&run=train")
    layers = ["review", "embed", "conv1d", "max_pooling1d", "conv1d_1", "global_max_pooling1d", "dense"]
    names = browser.wait_for("tf-graph-scene >> g.node", lambda names: len(names) == len(layers), "e.getAttribute('data-name')")
    assert names == layers
    edges = browser.ask("tf-graph-scene >> g.edge", "e.getAttribute('data-edge')")
    assert sorted(edges) == sorted(f"{one}--{other}" for one, other in itertools.pairwise(layers))
    shapes = browser.ask("tf-graph-scene >> g.edge", "e.textContent")
    assert any("24\N{MULTIPLICATION SIGN}8" in shape for shape in shapes)
    browser.screenshot("graphs")


@pytest.mark.parametrize("dashboard", ["histograms", "distributions"])
@pytest.mark.parametrize("of", ["weights", "activations"])
def test_histograms_and_distributions_show_each_layer(tab: Tab, run: Run, dashboard: str, of: str) -> None:
    """The Histograms and Distributions tabs have a card for each weight and each layer's activations, with every epoch."""
    tags = [f"{name}/histogram" for name in WEIGHTS] if of == "weights" else [f"activations/{name}" for name in LAYERS]
    pattern = "/histogram$" if of == "weights" else "^activations/"
    chart, count = {
        "histograms": (
            "vz-histogram-timeseries",
            ".querySelectorAll('.histogram path')].map(p => p.getAttribute('d').length > 200)",
        ),
        "distributions": (
            "vz-distribution-chart",
            ".querySelectorAll('path.area, path.line')].map(p => (p.getAttribute('d') || '').length > 40)",
        ),
    }[dashboard]
    browser = tab(f"{dashboard}&tagFilter={pattern}")
    # Their own groups follow those that match the filter.
    headings = browser.wait_for(
        f"{chart}, tf-card-heading",
        lambda found: sum(isinstance(one, list) and any(one) for one in found) >= len(tags),
        f"e.localName === 'tf-card-heading' ? e.tag : [...e.shadowRoot{count}",
    )
    shown = [one for one in headings if isinstance(one, str)]
    assert sorted(shown[: len(tags)]) == sorted(tags)
    drawn = [one for one in headings if isinstance(one, list)][: len(tags)]
    if dashboard == "histograms":
        assert [len(one) for one in drawn] == [len(run.history)] * len(tags)
    assert all(any(one) for one in drawn)
    browser.screenshot(f"{dashboard}-{of}")


def test_projector_knows_the_words(tab: Tab, run: Run) -> None:
    """The Projector lists the embedding at each epoch, and a word is found by its name, with other words beside it."""
    browser = tab("projector")
    browser.enter_frames()
    browser.wait_for(".numDataPoints", lambda found: found == [str(len(WORDS))], "e.textContent.trim()")
    # The dimension, and then each tensor with its shape.
    tensors = browser.ask("vz-projector-data-panel >> paper-item", "e.textContent.trim().split(/\\s{2,}/)")
    listed = [tensor[0] for tensor in tensors if len(tensor) > 1 and tensor[1] == f"{len(WORDS)}x8"]
    epochs = [f"epoch {epoch:04d}" for epoch in range(len(run.history))]
    assert sorted(listed) == sorted(f"embed, {when}" for when in [*epochs, "before training", "after training"])
    browser.type_into("#search-box >> input", "wonderful")
    browser.wait_for(
        "vz-projector-metadata-card", lambda found: any("wonderful" in one for one in found), "e.shadowRoot.textContent"
    )
    inspector = "vz-projector-inspector-panel >> .nn-list"
    neighbours = browser.wait_for(f"{inspector} .neighbor", bool, "e.innerText.trim().split(/\\s+/)[0]")
    assert sorted(neighbours) == sorted(set(WORDS) - {"wonderful"})
    browser.screenshot("projector")


def test_hparams_has_parameters_and_the_outcome(tab: Tab, run: Run) -> None:
    """The HParams tab has the plugins' parameters, the last metrics, and how the run ended."""
    browser = tab("hparams")
    boxes, cells = "tf-hparams-query-pane >> paper-checkbox", "vaadin-grid-cell-content"
    text = "e.offsetHeight ? e.innerText.trim() : ''"  # the grid keeps cells that it does not show
    last = f"{run.history['val_loss'][-1]:.5f}"[:6]
    shown = ["learning_rate", "early_stopping.patience", "reduce_lr_on_plateau.factor", "hparams/val_loss"]
    browser.wait_for(boxes, lambda names: {*shown, "hparams/val_acc"} <= set(names), "e.innerText.trim()")
    # At first there are columns for the first few of each kind.
    chosen = f"{shown}.includes(e.innerText.trim())"
    browser.ask(
        boxes, rf"/^\w+[./]\w+$|^\w+_rate$|^(batch|epoch)_/.test(e.innerText.trim()) && e.checked !== {chosen} && e.click()"
    )
    expected = {"0.010000", "5.0000", "0.50000"}
    browser.wait_for(cells, lambda found: expected <= set(found) and any(cell.startswith(last) for cell in found), text)
    browser.screenshot("hparams")
    browser.ask(boxes, "e.innerText.trim() === 'Success' && e.click()")
    browser.wait_for(cells, lambda found: not expected & set(found), text)


def test_text_has_the_decisions(tab: Tab, run: Run) -> None:
    """The Text tab has each decision with the plugin that took it, and how the run ended."""
    browser = tab("text")
    text = " ".join(
        browser.wait_for(
            "tf-text-loader >> tf-markdown-view", lambda texts: any("ended" in text for text in texts), "e.shadowRoot.textContent"
        )
    )
    for one in run.decisions:
        assert one.message in text
        assert one.plugin in text
    assert {one.kind for one in run.decisions} == {"checkpoint", "learning_rate", "stop"}
    assert "the run ended: stopped" in text
    browser.screenshot("text")
