"""The report's picture: every run can be drawn, with its curves and marks."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from hookcore_plugins import EarlyStopping, LearningRateSchedule, ReduceLROnPlateau, ReportError
from hookcore_plugins.report.picture import COLOURS, curves
from tests.plugins.report.reporting import HOSTILE, ODD, Epochs, Stops, recorded

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
LOSSES = [{"loss": 1.0 / (i + 1), "val_loss": abs(i - 4) + 0.5} for i in range(9)]


@pytest.mark.parametrize("epochs", ODD.values(), ids=ODD)
def test_a_picture_of_any_run(tmp_path: Path, epochs: Epochs) -> None:
    """Any run has an SVG that parses and a PNG, neither of them huge."""
    report = recorded(tmp_path, epochs, [Stops(at=1)], asked=len(epochs) + 1)
    svg = report.picture("svg")
    assert ET.fromstring(svg).tag == f"{SVG}svg"  # noqa: S314 - our own
    assert len(svg) < 500_000
    png = report.picture("png")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert 500 < width < 2000
    assert 100 < height < 1000


def points(svg: str, colour: str) -> list[int]:
    """Return how many points each path of this colour has."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="[^"]*stroke: ' + re.escape(COLOURS[colour]), svg)
    return [len(re.findall("[ML]", path)) for path in paths]


def test_curves_have_every_observation(tmp_path: Path) -> None:
    """A chart has every observation of a metric in training and in validation; the last chart has the learning rate."""
    (loss, svg), (rate, _) = curves(recorded(tmp_path, [{"loss": (-1.0) ** i, "val_loss": 2.0 * (-1.0) ** i} for i in range(7)]))
    assert loss is not None
    assert (loss.metric, loss.training, loss.validation) == ("loss", "loss", "val_loss")
    assert points(svg, "training")[0] == points(svg, "validation")[0] == 7
    assert rate is None


def test_a_gap_does_not_break_the_line(tmp_path: Path) -> None:
    """A metric that is observed every fifth epoch is a line through its observations, with a dot for each."""
    ((_, svg), *_) = curves(recorded(tmp_path, ODD["gaps"]))
    assert points(svg, "validation")[0] == 3
    assert len(re.findall("<use", svg)) >= 15 + 3


def test_best_stop_and_rate_are_marked(tmp_path: Path) -> None:
    """The best epoch, the stop and each change of the rate have a line; a run without them has no such line."""
    report = recorded(tmp_path / "1", LOSSES, [EarlyStopping(patience=4), ReduceLROnPlateau(patience=3, cooldown=9)], asked=30)
    ((_, svg), (_, rate)) = curves(report)
    assert (len(points(svg, "best")), len(points(svg, "stop")), len(points(svg, "rate"))) == (1, 1, 1)
    assert len(points(rate, "soft")) > len(points(curves(recorded(tmp_path / "0", LOSSES))[0][1], "soft"))
    ((_, svg), _) = curves(recorded(tmp_path / "2", [{"other": 1.0}]))
    assert (points(svg, "best"), points(svg, "stop"), points(svg, "rate")) == ([], [], [])


def test_the_picture_says_what_it_shows(tmp_path: Path) -> None:
    """The picture's title has the outcome and the best epoch, so that screen readers find them."""
    svg = recorded(tmp_path, LOSSES).picture("svg").decode()
    assert "completed after 9 epochs; best val_loss 0.5 in epoch 5" in svg


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    """A name with dollar signs is drawn as it is in the title, above a chart and in the legend."""
    name = "$\\frac{$"
    assert recorded(tmp_path, [{name: 1.0}], monitor=name, mode="min").picture("png")


def test_a_name_with_control_characters(tmp_path: Path) -> None:
    """The SVG has no control characters: it could not be parsed with them."""
    report = recorded(tmp_path, LOSSES[:1])
    report.history.put({HOSTILE[6]: 1.0})  # as a file from elsewhere may have it
    ET.fromstring(report.picture("svg"))  # noqa: S314 - our own


def test_epochs_without_a_rate(tmp_path: Path) -> None:
    """Epochs whose rate was not recorded are left out of its chart."""
    report = recorded(tmp_path, LOSSES)
    report.history.learning_rates[:2] = [None, None]
    *_, (_, svg) = curves(report)
    assert svg


def test_a_rate_over_several_orders_has_plain_labels(tmp_path: Path) -> None:
    """The axis writes out powers of ten, because text is never drawn as a formula."""
    schedule = LearningRateSchedule(lambda epoch: 10.0 ** -(1 + epoch))
    *_, (_, svg) = curves(recorded(tmp_path, LOSSES[:4], [schedule]))
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert "0.01" in labels
    assert not any("$" in label for label in labels)


def test_the_same_run_is_the_same_picture(tmp_path: Path) -> None:
    """Two pictures of a run are equal byte for byte, so that version control sees no change."""
    report = recorded(tmp_path, LOSSES)
    assert report.picture("svg") == report.picture("svg")
    assert report.picture("png") == report.picture("png")


def test_the_style_of_the_user_is_left_alone(tmp_path: Path) -> None:
    """The user's settings of Matplotlib do not change the picture, and drawing does not change them."""
    import matplotlib as mpl

    report = recorded(tmp_path, LOSSES)
    expected = report.picture("svg")
    with mpl.rc_context({"axes.facecolor": "red", "svg.fonttype": "none"}):
        # Reading the backend chooses one.
        before = {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}
        assert report.picture("svg") == expected
        assert {name: mpl.rcParams[name] for name in before} == before


def test_another_kind_of_picture(tmp_path: Path) -> None:
    """An unknown kind is refused with the known ones and the nearest."""
    with pytest.raises(ReportError, match=r"shown as 'html', 'svg' or 'png', not 'pngg'\. Did you mean 'png'"):
        recorded(tmp_path, LOSSES).picture("pngg")


def test_a_notebook_shows_the_curves(tmp_path: Path) -> None:
    """IPython's method returns the picture."""
    report = recorded(tmp_path, LOSSES)
    assert report._repr_png_() == report.picture("png")
