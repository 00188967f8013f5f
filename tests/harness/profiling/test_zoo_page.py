"""The page of the zoo in a browser: points, filters, the list below."""

import pytest

from harness.errors import RequestError
from harness.profiling.zoo_page import render_zoo_page
from harness.profiling.zoo_table import FIELDS
from studies.browser import find_chromium, open_browser, open_page

ROWS = [
    ("small", "torchvision", 2e6, 0.3, 71.0),
    ("large", "torchvision", 60e6, 11.0, 82.0),
    ("</script>", "timm", 5e6, 0.6, None),
]


@pytest.fixture(name="page")
def _page(tmp_path):
    try:
        chromium = find_chromium()
    except RequestError as error:
        pytest.skip(str(error))
    rows = [
        dict.fromkeys(FIELDS)
        | {"title": name, "model": name, "source": source, "published_top1": top1}
        | {"params": params, "gmacs": gmacs, "traffic_mb": 1.0, "peak_activations_mb": 1.0}
        for name, source, params, gmacs, top1 in ROWS
    ]
    path = tmp_path / "zoo.html"
    path.write_text(render_zoo_page(rows, ["made up"]), encoding="utf-8")
    with open_browser(chromium) as driver:
        open_page(driver, path)
        yield driver
        assert driver.get_log("browser") == []


def fill(page, **values):
    for name, value in values.items():
        page.execute_script(
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', { bubbles: true }));",
            name.replace("_", "-"),
            value,
        )


def shown(page):
    points = page.find_elements("css selector", "#chart circle title")
    rows = page.find_elements("css selector", "#rows tr td:first-child")
    told = [point.get_attribute("textContent").partition("\n")[0] for point in points]
    return sorted(told), [row.text for row in rows]


def test_points_and_filters(page):
    # The first figures are GMACs and the published accuracy, which one model lacks.
    assert shown(page) == (["large", "small"], ["small", "</script>", "large"])
    told = page.find_element("id", "told").text
    assert told == "2 of 3 models shown; 1 chosen ones lack one of the two figures"
    fill(page, y="0")
    assert shown(page)[0] == ["</script>", "large", "small"]
    fill(page, most_gmacs="1")
    assert shown(page)[0] == ["</script>", "small"]
    fill(page, most_gmacs="", least_top1="80")
    assert shown(page) == (["large"], ["large"])
    fill(page, least_top1="", name="SMA")
    assert shown(page) == (["small"], ["small"])
    fill(page, name="nothing")
    assert shown(page) == ([], [])
