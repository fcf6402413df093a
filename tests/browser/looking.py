"""Chromium, and searches in pages that are made of web components."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.install_chromium import HINT, programs
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Found = TypeVar("Found")
WINDOW = (1280, 860)

# The elements below `from` that `a >> b` selects: every b anywhere within an a, also in open shadow roots.
_DEEP = """
function deep(path, from = document) {
  return path.split(' >> ').reduce((roots, selector) => {
    const found = new Set();
    const walk = root => {
      for (const element of root.querySelectorAll('*')) {
        if (element.matches(selector)) found.add(element);
        if (element.shadowRoot) walk(element.shadowRoot);
      }
    };
    for (const root of roots) {
      if (root.shadowRoot) walk(root.shadowRoot);
      walk(root);
    }
    return [...found];
  }, [from]);
}
"""


def wait(condition: Callable[[], Found | None], what: str, deadline: float = PATIENCE) -> Found:
    """Return what `condition` returns once it is true. Errors are ignored, because elements come and go while a page is built."""
    no_driver: Any = None
    waiting = WebDriverWait(no_driver, deadline, poll_frequency=0.1, ignored_exceptions=(WebDriverException, OSError))
    found: Any = waiting.until(lambda _: condition(), f"never came true in {deadline:g} s: {what}")
    return cast("Found", found)


def fetch(url: str) -> Any:
    """Return the JSON at `url`, on this machine."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - the test's own server
        return json.load(answer)


@attrs.frozen
class Browser:
    """A headless Chromium."""

    driver: Any
    screenshots: Path

    @classmethod
    @contextlib.contextmanager
    def started(cls, screenshots: Path) -> Iterator[Browser]:
        found = programs()
        assert found is not None, HINT
        options = ChromeOptions()
        options.binary_location, driver = found
        # The sandbox does not work for root and in most containers; all pages are ours. The projector draws by WebGL.
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--force-color-profile=srgb",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        chrome = Chrome(options=options, service=ChromeService(driver))
        chrome.set_window_size(*WINDOW)
        try:
            yield cls(chrome, screenshots)
        finally:
            chrome.quit()

    def open(self, url: str) -> None:
        """Load the page from the start, even if only the part after the # differs."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def ask(self, selector: str, expression: str = "e.innerText") -> list[Any]:
        """Return the JavaScript `expression` for each element `e` that `selector` finds at any depth; `a >> b` finds b within a.

        Within `expression`, `deep(selector, e)` finds elements in the same way.
        """
        script = f"{_DEEP} return deep(arguments[0]).map(e => ({expression}));"
        found: list[Any] = self.driver.execute_script(script, selector)
        return found

    def wait_for(self, selector: str, expected: Callable[[list[Any]], object], expression: str = "e.innerText") -> list[Any]:
        """Return what `ask` finds once it is as `expected`; the error of a timeout has what it found last.

        Pages keep changing: wait for everything that you compare, and ask for nothing afterwards.
        """
        last: list[Any] = []

        def found() -> bool:
            last[:] = self.ask(selector, expression)
            return bool(expected(last))

        try:
            wait(found, f"{selector}: {expression}")
        except TimeoutException as error:
            self.screenshot("failed")
            raise AssertionError(f"{error.msg}; at last it was {last}") from error
        return last

    def type_into(self, selector: str, text: str) -> None:
        """Type into the input that `selector` finds at any depth, once it accepts text."""
        wait(lambda: [found.send_keys(text) for found in self.ask(selector, "e")[:1]], f"{selector} can be typed into")

    def enter_frames(self) -> None:
        """Enter the frame within the page's frame."""

        def entered() -> bool:
            self.driver.switch_to.default_content()
            for _ in range(2):
                self.driver.switch_to.frame(0)
            return True

        wait(entered, "there is a frame within a frame")

    def screenshot(self, name: str) -> None:
        """Save a picture of the page, once nothing moves."""
        before = b""

        def still() -> bool:
            nonlocal before
            last, before = before, bytes(self.driver.get_screenshot_as_png())
            return last == before

        with contextlib.suppress(TimeoutException):  # a picture of a moving page is still useful
            wait(still, "nothing moves", 5)
        (self.screenshots / f"{name}.png").write_bytes(before)
