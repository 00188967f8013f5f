"""The page as a reader has it, in a real Chromium without a window."""

import json
import time

import pytest

from harness.errors import RequestError
from harness.records.cell import CELLS
from harness.registry import ROOT
from harness.report.figures import refresh_figures
from harness.report.site import write_texts
from studies.browser import find_chromium, open_browser, open_page
from tests.records import findings_of

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"></script><b>bold</b>"


@pytest.fixture(scope="module")
def browser():
    try:
        chromium = find_chromium()
    except RequestError as error:
        pytest.skip(str(error))
    with open_browser(chromium) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(make_run, tmp_path_factory):
    """A page of 122 cells on disk, with the figures of one data set."""
    results = tmp_path_factory.mktemp("results")
    real = [
        make_run("resnet", accuracy_top1=98.0, latency_ms_p50=13.0),
        make_run("trunk", accuracy_top1=99.5, accuracy_top5=99.9, latency_ms_p50=2.0, gmacs=0.02),
        make_run(
            "vgg", label=HOSTILE, status="failed", reason=HOSTILE, accuracy_top1=None, gmacs=None
        ),
    ]
    many = [make_run(f"net{n:03d}", dataset="many", accuracy_top1=50.0 + n / 4) for n in range(119)]
    for record in (*real, *many):
        CELLS.write(results, record)
    write_texts(results, findings_of([*real, *many]))
    refresh_figures(results, real[:1])
    return results / "index.html"


@pytest.fixture
def driver(browser, page):
    """The page as it is when it has just been opened in a wide window."""
    open_page(browser, page)
    return browser


def wait_for(driver, script, seconds=3600):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if driver.execute_script(script):
            return
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {script}")


def find(driver, selector):
    return driver.find_element("css selector", selector)


def titles(driver):
    return driver.execute_script(
        "return [...document.querySelectorAll('#rows th a')].map((a) => a.textContent)"
    )


def press(driver, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def events(driver):
    return [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]


def test_it_opens_without_an_error_and_asks_for_nothing_but_files(browser, page):
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    open_page(browser, page)
    browser.execute_script("document.getElementById('figures').scrollIntoView()")
    wait_for(browser, "return Boolean(document.querySelector('#chart .main-svg'))")
    assert browser.get_log("browser") == []
    sent = [event for event in events(browser) if event["method"] == "Network.requestWillBeSent"]
    asked = [event["params"]["request"]["url"] for event in sent]
    assert any(url.endswith("plotly-basic.min.js") for url in asked)
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "about"}


def test_a_header_sorts_both_ways_and_says_so(driver):
    button = find(driver, "th[data-field=accuracy_top1] button")
    header = find(driver, "th[data-field=accuracy_top1]")
    assert header.get_attribute("aria-sort") == "none"
    button.click()
    # The better end comes first, and what was not measured last.
    assert header.get_attribute("aria-sort") == "descending"
    assert titles(driver)[:2] == ["Trunk", "Resnet"]
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert titles(driver)[0] == "Net000"
    find(driver, "th[data-field=latency_ms_p50] button").click()
    assert header.get_attribute("aria-sort") == "none"
    assert titles(driver)[0] == "Trunk"


def test_sorting_and_opening_go_by_keyboard_alone(driver):
    from selenium.webdriver.common.keys import Keys

    driver.execute_script("document.querySelector('th[data-field=accuracy_top1] button').focus()")
    press(driver, Keys.ENTER)
    assert titles(driver)[0] == "Trunk"
    driver.execute_script("document.querySelector('#rows a').focus()")
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    press(driver, Keys.ARROW_DOWN)
    assert driver.execute_script("return document.activeElement.textContent") == "Resnet"
    assert driver.execute_script(outline) == "solid"
    press(driver, Keys.ARROW_UP, Keys.ARROW_DOWN, Keys.ENTER)
    wait_for(driver, "return document.getElementById('panel').open")
    assert "Resnet" in find(driver, "#panel-title").text
    press(driver, Keys.ESCAPE)
    wait_for(driver, "return !document.getElementById('panel').open")
    assert driver.execute_script("return document.activeElement.textContent") == "Resnet"
    wait_for(driver, "return location.hash === ''")


def test_words_and_choices_filter(driver):
    search = find(driver, "#search")
    search.send_keys("TRUNK digits")
    assert titles(driver) == ["Trunk"]
    assert find(driver, "#count").text == "1 cell, of 122 in all"
    search.send_keys(" nothing")
    assert titles(driver) == []
    assert find(driver, "#empty").is_displayed()
    find(driver, "#clear").click()
    assert find(driver, "#count").text == "1–100 of 122 cells"
    find(driver, "#facet-status option[value=failed]").click()
    assert find(driver, "#count").text == "1 cell, of 122 in all"
    find(driver, "#facet-dataset option[value=many]").click()
    assert find(driver, "#empty").is_displayed()


def test_columns_are_shown_when_they_are_asked_for(driver):
    header = find(driver, "th[data-field=accuracy_top5]")
    assert not header.is_displayed()
    find(driver, "#more-columns input[value=accuracy_top5]").click()
    assert header.is_displayed()
    assert find(driver, "#rows tr:nth-child(2) td:nth-child(4)").text == "99.90"
    error = find(driver, "#rows tr:nth-child(2) td:nth-child(5)")
    assert not error.is_displayed()
    find(driver, "#more-columns input[value=expected_calibration_error]").click()
    # A record from before it was measured.
    assert find(driver, "#rows tr:nth-child(2) td:nth-child(5)").text == "–"
    find(driver, "#clear").click()
    assert not header.is_displayed()


def test_rows_come_by_the_page(driver):
    assert len(titles(driver)) == 100
    find(driver, "#next").click()
    assert len(titles(driver)) == 22
    assert find(driver, "#next").get_attribute("disabled")
    find(driver, "#previous").click()
    assert len(titles(driver)) == 100


def test_what_is_behind_a_number_is_one_click_away(driver):
    find(driver, "#rows tr:nth-child(2) td:nth-child(3)").click()
    wait_for(driver, "return document.getElementById('panel').open")
    text = find(driver, "#panel").text
    for wanted in (
        "python comparisons.py --dataset digits --model trunk --device cpu",
        *("seed\n42", "ebd12c360d6a541ace8d24bada7457f224acce56", "9abcb8481954dc77"),
        *("d863eba0645a6bd8" * 4, "a processor", "no counters here", "threads\n2"),
    ):
        assert wanted in text
    find(driver, "#panel summary").click()
    assert "2.0321" in find(driver, "#panel details").text
    links = driver.execute_script(
        "return [...document.querySelectorAll('.links a')].map((a) => a.getAttribute('href'))"
    )
    assert links[0] == "records/digits/trunk-cpu.json"


def test_an_address_opens_its_record(driver, page):
    driver.get("about:blank")
    driver.get(page.as_uri() + "#many/net007-cpu")
    assert "Net007" in find(driver, "#panel-title").text
    assert find(driver, "#panel-body").text.count("net007") == 1


def test_texts_of_records_are_shown_as_they_are(driver):
    driver.execute_script("location.hash = '#digits/vgg-cpu'")
    wait_for(driver, "return document.getElementById('panel').open")
    assert HOSTILE in find(driver, "#panel-title").text
    assert HOSTILE in find(driver, ".reason").text
    assert driver.title == "ModelComparisons: results"
    assert (
        driver.execute_script("return document.querySelectorAll('#rows img, #rows b').length") == 0
    )


def test_a_mark_in_the_figure_opens_its_record(driver):
    driver.execute_script("document.getElementById('figures').scrollIntoView()")
    wait_for(driver, "return Boolean(document.querySelector('#chart .main-svg'))")
    assert not find(driver, "#picture").is_displayed()
    find(driver, "input[value=gmacs]").click()
    names = "[...document.querySelectorAll('#chart .textpoint')].map((text) => text.textContent)"
    wait_for(driver, f"return {names}.includes('Trunk')")
    event = "{points: [{customdata: 'digits/trunk-cpu'}]}"
    driver.execute_script(f"document.getElementById('chart').emit('plotly_click', {event})")
    wait_for(driver, "return document.getElementById('panel').open")
    assert "Trunk" in find(driver, "#panel-title").text


def test_it_is_dark_where_the_reader_wants_it_dark(driver, page):
    shade = "return getComputedStyle(document.body).backgroundColor"
    assert driver.execute_script(shade) == "rgb(247, 249, 251)"
    open_page(driver, page, dark=True)
    assert driver.execute_script(shade) == "rgb(15, 19, 24)"


@pytest.mark.parametrize("width", [600, 861, 1041, 1200, 1361])
def test_no_column_reaches_out_of_the_table_of_the_results_here(browser, width):
    open_page(browser, ROOT / "results" / "index.html", width=width)
    table, sheet = find(browser, "#cells-table"), find(browser, ".sheet:has(#cells-table)")
    assert table.rect["width"] <= sheet.rect["width"]


def test_a_phone_needs_no_scrolling_sideways(driver, page):
    open_page(driver, page, width=390, height=844)
    wide = "return document.documentElement.scrollWidth"
    assert driver.execute_script(wide) == 390
    assert not find(driver, "#facet-dataset").is_displayed()
    find(driver, "#more").click()
    assert find(driver, "#facet-dataset").is_displayed()
    headers = driver.find_elements("css selector", "#cells-table thead th")
    assert sum(header.is_displayed() for header in headers) == 3
    find(driver, "#sort option[value=accuracy_top1]").click()
    assert titles(driver)[0] == "Trunk"
    assert driver.execute_script(wide) == 390
    driver.execute_script("location.hash = '#digits/trunk-cpu'")
    wait_for(driver, "return document.getElementById('panel').open")
    assert driver.execute_script(wide) == 390
