"""Open the page of results in Debian's Chromium, without a window, to measure and test it."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

# No requests to the network; no sandbox, which containers may lack.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


Chromium = tuple[str, str]
"""The paths of the browser and of its driver."""


def find_chromium() -> Chromium:
    """Return the paths of Chromium and its driver.

    Raises:
        RequestError: One of them, or Selenium, is not installed.
    """
    if importlib.util.find_spec("selenium") is None:
        raise RequestError("selenium is not installed")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        raise RequestError("chromium and chromedriver are not installed (Debian: chromium-driver)")
    return browser, driver


@contextlib.contextmanager
def open_browser(chromium: Chromium) -> Iterator[WebDriver]:
    """Yield a browser without a page, and close it when the block ends."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    browser, program = chromium
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = browser
        for option in (*_OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(program))
        try:
            yield driver
        finally:
            driver.quit()


def open_page(
    driver: WebDriver, page: Path, *, width: int = 1440, height: int = 900, dark: bool = False
) -> None:
    """Open a page from disk in a window of so many pixels; up to 600 wide it is a phone's."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width <= 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    # A page that is already open would not be loaded again for another fragment.
    driver.get("about:blank")
    driver.get(page.absolute().as_uri())
