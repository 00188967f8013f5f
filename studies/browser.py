"""The browser that the page is measured and tested in: Debian's Chromium, without a window."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

# Nothing is asked of the network, in containers that have no sandbox of their own either.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass(frozen=True, kw_only=True)
class Chromium:
    """The browser and the program that drives it."""

    browser: str
    driver: str


def find_chromium() -> Chromium:
    """Return where they are.

    Raises:
        RequestError: One of them, or Selenium, is not installed.
    """
    try:
        import selenium  # noqa: F401
    except ImportError:
        raise RequestError("selenium is not installed") from None
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        raise RequestError("chromium and chromedriver are not installed (Debian: chromium-driver)")
    return Chromium(browser=browser, driver=driver)


@contextlib.contextmanager
def open_browser(chromium: Chromium) -> Iterator[WebDriver]:
    """Yield a browser without a page; it ends with the block."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = chromium.browser
        for option in (*_OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(chromium.driver))
        try:
            yield driver
        finally:
            driver.quit()


def open_page(
    driver: WebDriver, page: Path, *, width: int = 1440, height: int = 900, dark: bool = False
) -> None:
    """Open a page from disk.

    Args:
        driver: The browser.
        page: The file.
        width: Of the window, in pixels; up to 600 it is a phone's.
        height: Of the window, in pixels.
        dark: Whether the reader prefers dark pages.
    """
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width <= 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    # Of the page that is open, only another fragment would be shown.
    driver.get("about:blank")
    driver.get(page.absolute().as_uri())
