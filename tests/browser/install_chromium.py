"""Find Chromium and its driver or, as root on Debian and its derivatives, install them: `python install_chromium.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "chromium-driver")
HINT = (
    "The browser tests need Chromium or Chrome, and the chromedriver of the same version, on PATH. On Debian: "
    f"apt-get install {' '.join(PACKAGES)}; elsewhere: https://googlechromelabs.github.io/chrome-for-testing/"
)


def programs() -> tuple[str, str] | None:
    """Return the paths of the browser and of its driver, or None if one of them is missing."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    return None if browser is None or driver is None else (browser, driver)


def main() -> None:
    """Install them if one is missing; exit with a hint if that is not possible."""
    if programs() is None and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            # The status is not checked: an update may succeed although one source fails, and the result is checked below.
            subprocess.run(["apt-get", *command], env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, check=False)  # noqa: S607 - PATH has apt-get
    if programs() is None:
        sys.exit(HINT)


if __name__ == "__main__":
    main()
