"""Reports in a real browser, from a file, without a network."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pin_memory.evaluation.report import write_comparison_report, write_report
from tests.evaluation.test_comparison_report import comparison
from tests.evaluation.test_report import HOSTILE
from tests.helpers.folders import make_run

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window, without an account and without any traffic of its own."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-component-update",
        "disable-sync", f"user-data-dir={tmp_path_factory.mktemp('chromium')}", "window-size=1200,900",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.get("about:blank")  # away from the browser's own first page
    yield driver
    driver.quit()


def open_page(browser: Any, path: Path) -> None:
    """Open a file; nothing else is asked for, and the console stays empty."""
    browser.get_log("performance")
    browser.get(path.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    assert path.as_uri() in urls
    assert [url for url in urls if url != path.as_uri() and not url.startswith(("data:", "chrome://new-tab-page/"))] == []
    assert browser.get_log("browser") == []


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def every(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def move(browser: Any, slider: Any, value: int) -> None:
    """Set a slider as a user's hand does."""
    browser.execute_script("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", slider, value)


def pixels(element: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB"), int)


@pytest.fixture(scope="module")
def page(browser: Any, trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of a trained run, moved away from it."""
    path = tmp_path_factory.mktemp("elsewhere") / "report.html"
    write_report(trained_run, path)
    open_page(browser, path)
    return browser


def test_the_slider_moves_the_boundary_between_the_two_pictures(page: Any) -> None:
    viewer = one(page, ".tabpanel:not([hidden]) .viewer")
    stage, slider = viewer.find_element("css selector", ".stage"), viewer.find_element("css selector", "input[type=range]")
    page.execute_script("arguments[0].scrollIntoView()", viewer)
    seen = {}
    for value in (0, 50, 100):
        move(page, slider, value)
        seen[value] = pixels(stage)
    middle = seen[0].shape[1] // 2
    assert np.abs(seen[100] - seen[0]).mean() > 5
    assert np.abs(seen[50] - seen[100])[:, 30 : middle - 10].mean() < 5  # the picture on the left; the tags aside
    assert np.abs(seen[50] - seen[0])[:, middle + 10 : -100].mean() < 5  # and that on the right


def test_the_keyboard_moves_the_slider(page: Any) -> None:
    slider = one(page, ".tabpanel:not([hidden]) .viewer input[type=range]")
    move(page, slider, 50)
    slider.send_keys("\ue014\ue014")
    assert slider.get_attribute("value") == "52"
    stage = one(page, ".tabpanel:not([hidden]) .stage")
    assert "--cut: 52%" in stage.get_attribute("style")
    assert slider.get_attribute("aria-valuetext") == "52 % image, 48 % prediction"


def test_every_layer_can_be_chosen_and_looks_different(page: Any) -> None:
    viewer = one(page, ".tabpanel:not([hidden]) .viewer")
    stage, picker = (viewer.find_element("css selector", selector) for selector in (".stage", "select[data-side=right]"))
    move(page, viewer.find_element("css selector", "input[type=range]"), 0)
    seen = []
    for layer in ("truth", "prediction", "error", "image"):
        picker.find_element("css selector", f"option[value={layer}]").click()
        seen.append(pixels(stage)[:, 30:-110])
    assert all(np.abs(one - other).mean() > 2 for index, one in enumerate(seen) for other in seen[:index])
    left = viewer.find_element("css selector", "select[data-side=left]")
    assert left.get_attribute("value") != picker.get_attribute("value")  # the other side gave way


def test_tabs_show_one_target_at_a_time(page: Any) -> None:
    tabs, panels = every(page, "[role=tab]"), every(page, "[role=tabpanel]")
    assert len(tabs) == len(panels) == 3
    for chosen in (1, 2, 0):
        tabs[chosen].click()
        assert [panel.is_displayed() for panel in panels] == [index == chosen for index in range(3)]
        assert [tab.get_attribute("aria-selected") for tab in tabs] == [str(index == chosen).lower() for index in range(3)]
    tabs[0].send_keys("\ue012")  # arrow key, left: round to the last
    assert panels[2].is_displayed()
    tabs[0].click()


def test_lines_of_a_chart_can_be_switched(page: Any) -> None:
    figure = one(page, "[data-chart=validation]")
    key, line = (figure.find_element("css selector", f"{kind}[data-line='0']") for kind in ("button", "g"))
    before = line.value_of_css_property("display")
    key.click()
    assert (key.get_attribute("aria-pressed"), line.value_of_css_property("display")) == ("false", "none")
    key.click()
    assert line.value_of_css_property("display") == before


def test_a_heading_sorts_the_classes(page: Any) -> None:
    body = "table.scores tbody:first-of-type tr"
    order = [row.text for row in every(page, f"{body} th")]
    head = every(page, "table.scores thead button")
    head[1].click()
    values = [float(cell.get_attribute("data-value")) for cell in every(page, f"{body} td:nth-child(2)")]
    assert values == sorted(values, reverse=True)
    head[0].click()
    assert [row.text for row in every(page, f"{body} th")] == order


def fills(browser: Any) -> list[str]:
    """Colours of the cells of the heat map."""
    return list(
        browser.execute_script("return [...document.querySelectorAll('[data-heat] rect')].map((cell) => cell.getAttribute('fill'))")
    )


def test_the_heat_map_follows_its_slider(page: Any) -> None:
    slider = one(page, "[data-heat] input[type=range]")
    last = fills(page)
    move(page, slider, 0)
    first = fills(page)
    assert first != last
    assert one(page, "[data-heat] .step").text == "0"
    one(page, "[data-heat] input[type=checkbox]").click()
    assert fills(page) != first


def test_the_theme_can_be_chosen(page: Any) -> None:
    def brightness() -> int:
        return sum(int(part) for part in one(page, "body").value_of_css_property("background-color").strip("rgba()").split(",")[:3])

    button, seen = one(page, "#theme"), {}
    for _ in range(3):
        button.click()
        seen[button.text.rpartition(" ")[2]] = brightness()
    assert seen["light"] > 700
    assert seen["dark"] < 100


def test_nothing_is_cut_off_on_a_narrow_screen(page: Any) -> None:
    try:
        page.set_window_size(500, 900)  # the narrowest that Chromium offers
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        page.set_window_size(1200, 900)


def test_markup_in_names_is_never_run(browser: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (HOSTILE, "</script>"), (HOSTILE, "sky", "</title><svg onload=window.hacked=1>"), name=HOSTILE)
    open_page(browser, write_report(run))
    assert browser.execute_script("return window.hacked === undefined")
    assert len(every(browser, "script:not([type])")) == 1
    assert HOSTILE in one(browser, "h1").text


def test_a_comparison_opens_and_sorts(browser: Any, tmp_path: Path) -> None:
    open_page(browser, write_comparison_report(comparison(method=HOSTILE), tmp_path / "report.html"))
    assert browser.execute_script("return window.hacked === undefined")
    every(browser, "#targets thead button")[-1].click()
    values = [float(cell.get_attribute("data-value")) for cell in every(browser, "#targets tbody td:last-child")]
    assert values == sorted(values, reverse=True)
    every(browser, "[role=tab]")[1].click()
    assert [panel.is_displayed() for panel in every(browser, "[role=tabpanel]")] == [False, True]
    assert browser.get_log("browser") == []
