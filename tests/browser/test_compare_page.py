"""The page of compared runs in a real browser, opened from a file without a network."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from selenium.webdriver import ActionChains

from hookcore_plugins.report.compare import Comparison
from tests.browser.looking import WINDOW, wait
from tests.plugins.report.reporting import HOSTILE, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.looking import Browser

VISIBLE = "[...document.querySelectorAll('figure.first .curve')].map(one => Number(one.dataset.run)).sort((a, b) => a - b)"


def test_the_page_of_hostile_runs(browser: Browser, tmp_path: Path, screenshots: Path) -> None:
    """Curves are overlaid and chosen, the pointer shows values, axes change, a phone shows all, and no name is executed."""
    for number, name in enumerate(HOSTILE):
        where = tmp_path / f"{number} {name.replace('/', '').replace(chr(0), '')[:60]}"
        recorded(where, [{"val_loss": 1 / (1 + epoch + number)} for epoch in range(5)], config={name: name, "number": number})
    driver: Any = browser.driver
    driver.set_window_size(*WINDOW)
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)
    ask = driver.execute_script
    driver.get(Comparison.read([tmp_path]).save(tmp_path / "page.html").as_uri())

    # Names of runs are shown as text.
    assert driver.title == f"{len(HOSTILE)} runs compared"
    assert ask("return document.querySelectorAll('script, iframe, img, [onerror], [onload]').length") == 2
    text = ask("return document.querySelector('#runs').innerText")
    assert all(part in text for part in ("{{ 7 * 7 }}{% raw %}", "onerror=", "&amp;"))

    # Every run has a curve; a box hides one, and buttons choose several.
    assert ask(f"return {VISIBLE}") == list(range(len(HOSTILE)))
    ask("document.querySelector('#runs tbody input').click()")
    assert ask(f"return {VISIBLE}") == list(range(1, len(HOSTILE)))
    ask("document.querySelector('[data-select=best]').click()")
    assert ask(f"return {VISIBLE}") == list(range(10))

    # The pointer finds the nearest curve, and shows its run and its value.
    chart = driver.find_element("css selector", "figure.first svg")
    ActionChains(driver).move_to_element_with_offset(
        chart, chart.size["width"] // 2 - 12, chart.size["height"] // 2 - 30
    ).perform()
    wait(lambda: ask("return !document.querySelector('#tip').hidden"), "the pointer shows a value")
    tip = ask("return document.querySelector('#tip').innerText").split("\n")
    assert tip[1].startswith("val_loss 0.0") or tip[1].startswith("val_loss 0.1")
    assert tip[1].endswith(", epoch 5")
    assert ask("return document.querySelectorAll('tr.is-chosen').length") == 1
    assert tip[0] in ask("return document.querySelector('tr.is-chosen').innerText")
    driver.save_screenshot(screenshots / "compare.png")

    # The axes can be time and logarithmic, and the table can be sorted by another column.
    for control in ("[value=time]", "#log", "thead th:nth-child(1) button"):
        ask(f"document.querySelector('{control}').click()")
    assert len(ask(f"return {VISIBLE}")) == 10
    assert " ms" in ask("return [...document.querySelectorAll('figure.first svg text')].at(-1).textContent")
    names = ask("return [...document.querySelectorAll('#runs td.name')].map(one => one.innerText)")
    assert [name[0] for name in names[:3]] == ["0", "1", "2"]

    # At the width of a phone only the table scrolls.
    driver.set_window_size(500, 900)  # Chromium's minimum; the emulated device is narrower
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        wait(functools.partial(ask, "return innerWidth === 360"), "the page is as narrow as a phone")
        assert ask("return document.documentElement.scrollWidth <= innerWidth")
        assert ask("const box = document.querySelector('.scroll'); return box.scrollWidth > box.clientWidth")
        box = "document.querySelector('#runs tbody td:nth-child(2)').getBoundingClientRect()"
        assert ask(f"return {box}.right <= innerWidth"), "the best value is in view"
        driver.save_screenshot(screenshots / "compare-phone.png")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert driver.get_log("browser") == []
    sent = [one["message"] for one in driver.get_log("performance") if "Network.requestWillBeSent" in one["message"]]
    assert sent
    assert all("page.html" in one or "about:blank" in one for one in sent)


def test_what_the_page_says_of_each_run(browser: Browser, tmp_path: Path) -> None:
    """The best run is above the charts, a column has one format, curves differ, and a chart notes what its axis leaves out."""
    for number in range(12):
        recorded(tmp_path / f"{number:02}", [{"val_loss": 1 / (1 + epoch + number)} for epoch in range(5)], asked=9)
    driver: Any = browser.driver
    driver.set_window_size(*WINDOW)
    ask = driver.execute_script
    driver.get(Comparison.read([tmp_path]).save(tmp_path / "page.html").as_uri())
    assert ask("return document.querySelector('#best').innerText") == "11 is the best run: val_loss 0.0625 in epoch 5"
    best, epochs = (
        ask(f"return [...document.querySelectorAll('#runs tbody td:nth-child({column})')].map(one => one.innerText)")
        for column in (2, 5)
    )
    assert all(re.fullmatch(r"0\.\d{4}", value) for value in best)
    assert set(epochs) == {"5/9"}
    styles = ask(
        "return [...document.querySelectorAll('figure.first .curve')].map(one => getComputedStyle(one))"
        ".map(style => style.stroke + style.strokeDasharray)"
    )
    assert len(set(styles)) == len(styles) == 12
    assert ask("const box = document.querySelector('.scroll'); return box.scrollWidth <= box.clientWidth")
    assert ask("return document.querySelector('figure.first .note').innerText") == ""
    ask("data.runs.forEach(run => { run.y.val_loss[0] = 1000; }); all();")
    assert "outside of the axis; all lie between" in ask("return document.querySelector('figure.first .note').innerText")
