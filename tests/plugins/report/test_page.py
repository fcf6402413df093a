"""The report's page: complete, readable, without other files, and with nothing from the run that a browser would execute."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau, ReportError, RunReport
from hookcore_plugins.report.picture import left_above_or_below
from tests.plugins.report.reporting import HOSTILE, ODD, Epochs, Stops, recorded

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"meta", "img", "br", "path", "use", "rect", "line"}
LOSSES = [{"loss": 1.0 / (i + 1), "val_loss": abs(i - 4) + 0.5, "accuracy": i / 10} for i in range(9)]


@attrs.define
class Page(HTMLParser):
    """The parts of a page that the tests check, as a browser would find them."""

    tags: list[tuple[str, dict[str, str | None]]] = attrs.field(factory=list)
    open: list[str] = attrs.field(factory=list)
    text: str = ""
    headings: list[str] = attrs.field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data.strip())


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def check_is_safe(html: str) -> Page:
    """Check that nothing on the page runs or is loaded."""
    page = parsed(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "base", "form", "a"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert (value or "").startswith("data:image/png;base64," if tag == "img" else "#")
            if name == "style":
                assert "url(" not in (value or "") or "url(#" in (value or "")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return page


@pytest.mark.parametrize("epochs", ODD.values(), ids=ODD)
def test_a_page_of_any_run(tmp_path: Path, epochs: Epochs) -> None:
    """Any run has a safe page with a heading for each part."""
    page = check_is_safe(recorded(tmp_path, epochs, asked=len(epochs) + 1).page())
    for heading in ("Curves", "Decisions", "Checkpoints", "Time", "Errors", "Plugins", "Environment"):
        assert heading in page.headings


def test_names_from_the_run_are_text(tmp_path: Path) -> None:
    """The names of metrics and plugins, reasons, errors and parameters appear as text, whatever they contain."""

    class Broken:
        role = "observer"

        @hookimpl
        def on_epoch_end(self) -> None:
            raise OSError(HOSTILE[0])

    @attrs.define(eq=False)
    class Named:
        parameter: str

        @hookimpl
        def on_epoch_end(self) -> None:
            pass

    plugins: list[Any] = [(f"{name}.", Stops(at=1, message=name)) for name in HOSTILE]
    plugins += [(f"broken {HOSTILE[0]}", Broken()), *((f"named {name}", Named(name)) for name in HOSTILE)]
    page = check_is_safe(recorded(tmp_path / HOSTILE[5], ODD["names"], plugins).page())
    visible = [name for name in HOSTILE if name.isprintable()]
    for name in visible:
        assert page.text.count(name) >= 4  # chart or metric, reason, decision, plugin
    assert "\x1b" not in page.text
    assert "\x00" not in page.text
    labels = [attributes["aria-label"] for _, attributes in page.tags if "aria-label" in attributes]
    assert any((label or "").startswith(HOSTILE[1]) for label in labels)


def test_what_is_on_it(tmp_path: Path) -> None:
    """The page has the outcome and why, the best epoch, decisions, checkpoints with reasons, time, errors and parameters."""

    class Broken:
        role = "observer"

        @hookimpl
        def on_epoch_end(self) -> None:
            raise OSError("no disk")

    plugins = [
        EarlyStopping(patience=4),
        ReduceLROnPlateau(patience=2),
        Checkpoint(tmp_path / "checkpoints", keep_last=1),
        ("broken", Broken()),
    ]
    page = parsed(recorded(tmp_path / "report", LOSSES, plugins, asked=30).page())
    text = re.sub(r"\s+", " ", page.text)
    for part in (
        "report Stopped early_stopping, in epoch 9: val_loss has not improved",
        "Epochs9 of 30 9 steps",
        "Best val_loss 0.5000 in epoch 5, smaller is better",
        "Last learning rate0.01 1 change, from 0.1",
        "99 val_loss 4.5000 newest",
        "best val_loss",
        "training itself",
        "broken in on_epoch_end; the run continued without it OSError: no disk",
        "patience=4",
    ):
        assert part.replace(" ", "") in text.replace(" ", "")


def test_each_chart_has_its_words(tmp_path: Path) -> None:
    """A screen reader reads what each chart shows."""
    page = parsed(recorded(tmp_path, LOSSES).page())
    labels = [attributes.get("aria-label") for _, attributes in page.tags if attributes.get("role") == "img"]
    assert labels == [
        "loss by epoch: training from 1.0000 to 0.1111; validation from 4.5000 to 4.5000",
        "accuracy by epoch: training from 0.0000 to 0.8000",
        "learning rate by epoch, from 0.1 to 0.1, with 0 changes",
    ]


def test_charts_take_the_colours_of_the_page(tmp_path: Path) -> None:
    """No colour of a chart is fixed, so that charts change with the page in dark mode."""
    html = recorded(tmp_path, LOSSES, [EarlyStopping(patience=2)]).page()
    charts = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    assert charts
    for chart in charts:
        colours = set(re.findall(r"(?:stroke|fill): ?(#[0-9a-f]+|[a-z]+)", chart))
        assert colours <= {"none", "var"}
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert "@media print" in html


def test_a_legend_of_what_is_drawn(tmp_path: Path) -> None:
    """The legend has only items that a chart shows, of validation, the best epoch, the stop and changes of the rate."""

    def keys(report: RunReport) -> list[str]:
        found = re.search(r'<ul class="legend">.*?</ul>', report.page(), re.DOTALL)
        return re.findall(r"</svg>(.*?)</li>", found[0]) if found else []

    assert keys(recorded(tmp_path / "1", [{"other": 1.0}])) == ["training"]
    assert keys(recorded(tmp_path / "2", [{"val_loss": 1.0}])) == ["validation", "best epoch"]
    schedule = LearningRateSchedule(lambda epoch: 0.1 / (epoch + 1))
    assert keys(recorded(tmp_path / "3", [{"other": 1.0}] * 13, [schedule])) == ["training", "learning rate changed"]
    assert keys(recorded(tmp_path / "4", [{"other": 1.0}] * 14, [schedule])) == ["training"]
    assert keys(recorded(tmp_path / "5", [{"other": 1.0}] * 3, [Stops(at=1)])) == ["training", "stopped"]
    assert keys(recorded(tmp_path / "6", [])) == []


def test_the_picture_of_the_model_is_within(tmp_path: Path) -> None:
    """The page holds the picture as data, and leaves out a file that is not a PNG, was removed, or has another name."""

    class Draws(ScriptedTrainee):
        def picture(self) -> bytes:
            return b"\x89PNG\r\n\x1a\nmodel"

    report = recorded(tmp_path, LOSSES[:1], trainee=Draws(), graph="png")
    assert '<img src="data:image/png;base64,iVBORw0KGgptb2RlbA==" alt=' in report.page()
    assert report.graph is not None
    (tmp_path / report.graph).write_bytes(b"<svg onload=alert(1)>")
    assert "<img" not in report.page()
    (tmp_path / report.graph).unlink()
    assert "<img" not in report.page()
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    text = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace(report.graph, "secret.png"))
    assert "<img" not in RunReport.read(tmp_path).page()


def test_why_there_is_no_picture_of_the_model(tmp_path: Path) -> None:
    """If there is no picture of the model, the page has the reason."""
    assert "No picture: there is no picture of the model" in recorded(tmp_path, LOSSES[:1], graph="png").page()


def test_a_resumed_run_shows_its_parts(tmp_path: Path) -> None:
    """The page says when each part began and how long it took."""
    report = recorded(tmp_path, LOSSES)
    parts = [*report.parts, attrs.evolve(report.parts[0], step=5, seconds=75.0)]
    page = parsed(attrs.evolve(report, parts=parts).page())
    assert "Parts of the run" in page.headings
    assert "1m15s" in page.text


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """The error names the extra to install, and the run itself does not need it."""
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    report = recorded(tmp_path, LOSSES)
    with pytest.raises(ReportError, match=re.escape("pip install 'hookcore[report]'")):
        report.page()


def test_values_are_under_the_pointer(tmp_path: Path) -> None:
    """Each chart has a column for each row, with the row's values; of very many rows every n-th has one."""
    texts = re.findall(r'<g class="at"><rect [^>]*/><path [^>]*/><text [^>]*>(.*?)</text></g>', recorded(tmp_path, LOSSES).page())
    assert len(texts) == 3 * 9
    assert texts[1] == "epoch 2: training 0.5000, validation 3.5000"
    assert texts[9] == "epoch 1: training 0.0000"
    assert texts[-1] == "epoch 9: learning rate 0.1000"
    assert recorded(tmp_path / "long", ODD["two thousand epochs"]).page().count('class="at"') == 2 * 400


def test_the_first_epoch_does_not_flatten_the_others() -> None:
    """The axis leaves out the first values of curves if the others would be within a quarter of it, and only then."""
    later = [1.0, 0.9, 0.8, 0.7, 0.6]
    assert left_above_or_below([[9.0, *later], [8.0, *later]]) == (0.6, 1.0)
    assert left_above_or_below([[-9.0, *later]]) == (0.6, 1.0)
    assert left_above_or_below([[1.2, *later]]) is None
    assert left_above_or_below([[9.0, 1.0, 0.9]]) is None
    assert left_above_or_below([[9.0, *[1.0] * 9]]) is None
    assert left_above_or_below([]) is None


def test_configuration_and_parameters_on_the_page(tmp_path: Path) -> None:
    """The page has the configuration, the command and the sizes, and only those parameters that are not at their defaults."""
    plugins = [EarlyStopping(patience=4)]
    page = parsed(recorded(tmp_path, LOSSES, plugins, config={"model": {"depth": 3}, "<b>": "</script>"}).page())
    text = re.sub(r"\s+", "", page.text)
    assert "Configuration" in page.headings
    for part in ("model.depth3", '<b>"</script>"', "commandpython", "early_stoppingpatience=4report"):
        assert part in text
    assert "min_delta" not in text


def test_the_same_run_is_the_same_page(tmp_path: Path) -> None:
    """Nothing on the page depends on when it is made."""
    report = recorded(tmp_path, LOSSES)
    assert report.page() == report.page()
