"""The report's page in a real browser, opened from a file without a network."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from selenium.webdriver import ActionChains

from hookcore.cli.main import main
from hookcore_plugins import EarlyStopping, ReduceLROnPlateau
from tests.browser.looking import WINDOW, wait
from tests.plugins.report.reporting import HOSTILE, ODD, Stops, by_steps, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore import Run
    from hookcore_plugins.report.run_report import RunReport
    from tests.browser.looking import Browser

LOSSES = [{"loss": 1.0 / (i + 1), "val_loss": abs(i - 4) + 0.5} for i in range(9)]


@pytest.fixture
def browser(browser: Browser) -> Any:
    """Return Chromium's driver with empty logs of requests and errors."""
    driver = browser.driver
    driver.get("about:blank")  # no other page adds to the logs
    driver.set_window_size(*WINDOW)
    for log in ("browser", "performance"):
        driver.get_log(log)
    return driver


def opened(browser: Any, report: RunReport, path: Path, **media: str) -> Any:
    """Open the report's page, with the user's settings for `media`; return the browser."""
    prefer(browser, **media)
    browser.get(report.save(path / "page.html").as_uri())
    return browser


def prefer(browser: Any, **media: str) -> None:
    """Set the user's preferences for `media`, such as a colour scheme."""
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def test_no_text_of_the_run_is_executed(browser: Any, tmp_path: Path) -> None:
    """Whatever the names of metrics and plugins are, no script runs, no element appears, and nothing is loaded."""
    plugins = [(f"{one}.", Stops(at=1, message=one)) for one in HOSTILE]
    report = recorded(tmp_path / HOSTILE[5], ODD["names"], plugins, config={one: {"value": one} for one in HOSTILE})
    page = opened(browser, report, tmp_path)
    assert page.title == f"{HOSTILE[5]}: stopped"
    assert page.execute_script("return document.querySelectorAll('script, img, iframe, [onerror], [onload]').length") == 0
    assert page.execute_script("return document.querySelectorAll('main > section').length") == 9
    assert page.get_log("browser") == []
    sent = [one["message"] for one in page.get_log("performance") if "Network.requestWillBeSent" in one["message"]]
    assert all("page.html" in one for one in sent)
    assert HOSTILE[0] in page.execute_script("return document.body.innerText")


def test_charts_are_seen(browser: Any, tmp_path: Path) -> None:
    """Each chart is as wide as its card and has both curves, and the page is not wider than the window."""
    plugins = [EarlyStopping(patience=4), ReduceLROnPlateau(patience=2)]
    page = opened(browser, recorded(tmp_path, LOSSES, plugins), tmp_path)
    for width in (360, 800, 1600):
        page.set_window_size(width, 900)
        wait(functools.partial(page.execute_script, f"return innerWidth === {width}"), f"the page is {width} wide")
        sizes = page.execute_script(
            "return [...document.querySelectorAll('figure.chart svg')].map(svg => {"
            "const own = svg.getBoundingClientRect(), card = svg.closest('figure').getBoundingClientRect();"
            "return [own.width, card.width, own.height]})"
        )
        assert len(sizes) == 2
        assert all(0.8 * card < own <= card and height > 100 for own, card, height in sizes)
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("every", [7, 10_000])
def test_steps_on_an_axis_can_be_read(browser: Any, tmp_path: Path, every: int) -> None:
    """The numbers of a chart by step lie within its card, beside each other, however many digits the steps have."""
    report = by_steps(tmp_path)
    report.history.steps[:] = [every * step for step in report.history.steps if step is not None]
    page = opened(browser, report, tmp_path)
    for width in (360, 1600):
        page.set_window_size(width, 900)
        wait(functools.partial(page.execute_script, f"return innerWidth === {width}"), f"the page is {width} wide")
        for numbers, card in page.execute_script(
            "return [...document.querySelectorAll('figure.chart')].map(figure => {"
            "const texts = [...figure.querySelectorAll('svg text')], axis = texts.find(one => one.textContent == 'step');"
            "const below = texts.slice(0, texts.indexOf(axis)).map(one => one.getBoundingClientRect());"
            "return [below.map(one => [one.left, one.right]), figure.getBoundingClientRect().right]})"
        ):
            assert len(numbers) > 3
            assert all(end + 3 < begin for (_, end), (begin, _) in itertools.pairwise(numbers))
            assert numbers[-1][1] < card


def test_values_appear_under_the_pointer(browser: Any, tmp_path: Path) -> None:
    """Pointing at a chart shows the values of that epoch, and no others."""
    page = opened(browser, recorded(tmp_path, LOSSES), tmp_path)
    column = page.find_elements("css selector", "figure.chart:first-child .at rect")[2]
    ActionChains(page).move_to_element(column).perform()
    visible = "[...document.querySelectorAll('.at text')].filter(one => getComputedStyle(one).visibility == 'visible')"
    shown = page.execute_script(f"return {visible}.map(one => one.textContent)")
    assert shown == ["epoch 3: training 0.3333, validation 2.5000"]


def test_light_and_dark(browser: Any, tmp_path: Path) -> None:
    """The page and its curves follow the user's setting, and stay readable: the text stands out from the page."""

    def luminance(colour: str) -> float:
        red, green, blue = (int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(","))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    report = recorded(tmp_path, LOSSES, [EarlyStopping(patience=4)])
    seen = {}
    for scheme in ("light", "dark"):
        page = opened(browser, report, tmp_path, prefers_color_scheme=scheme)
        colour, background, stroke, label = page.execute_script(
            "const body = getComputedStyle(document.body), svg = document.querySelector('figure.chart svg');"
            "const lines = [...svg.querySelectorAll('path')].map(one => getComputedStyle(one).stroke);"
            "return [body.color, body.backgroundColor, lines.filter(one => one != 'none').at(-1),"
            "getComputedStyle(svg.querySelector('text')).fill]"
        )
        light, dark = sorted((luminance(colour), luminance(background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 7
        light, dark = sorted((luminance(label), luminance(background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5
        seen[scheme] = (colour, background, stroke, label)
    assert all(one != other for one, other in zip(*seen.values(), strict=True))
    assert luminance(seen["light"][1]) > luminance(seen["dark"][1])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_real_run(browser: Any, run: Run, directory: Path, screenshots: Path, scheme: str) -> None:
    """`hookcore report RUN --html` makes a page that shows a Keras run whole, from a file, and loads nothing else."""
    page = directory / "report.html"
    made = CliRunner().invoke(main, ["report", str(directory / "report"), "--html", str(page)])
    assert made.exit_code == 0, made.output
    prefer(browser, prefers_color_scheme=scheme)
    browser.get(page.as_uri())
    lines = browser.execute_script(
        "return [...document.querySelectorAll('figure.chart')].map(figure => [figure.querySelector('h3').innerText, "
        "[...figure.querySelectorAll('svg path')].filter(path => path.getTotalLength() > 100).length])"
    )
    assert [name for name, _ in lines] == ["loss", "acc", "learning rate"]
    assert all(drawn >= (1 if name == "learning rate" else 2) for name, drawn in lines)
    headings = browser.execute_script("return [...document.querySelectorAll('h2')].map(one => one.innerText)")
    parts = ["Curves", "Metrics", "Decisions", "Checkpoints", "Time", "Errors", "Plugins", "Environment"]
    assert headings == parts
    text = browser.execute_script("return document.body.innerText")
    assert all(one.message in text for one in run.decisions if one.kind != "checkpoint")
    assert browser.get_log("browser") == []
    sent = [one["message"] for one in browser.get_log("performance") if "Network.requestWillBeSent" in one["message"]]
    assert sent
    assert all(page.as_uri() in one for one in sent)
    browser.save_screenshot(screenshots / f"report-{scheme}.png")
