"""The report as people meet it: opened from disk in a browser."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from edgepress.table.render import render
from edgepress.table.report import render_report
from edgepress.table.store import ResultStore
from support.report_rows import HOSTILE, RECIPES, operator_times, quantization_error, report_rows

selenium = pytest.importorskip("selenium", reason="selenium is not installed (pip install 'edgepress[dev]')")

DESKTOP, PHONE = (1280, 900), (390, 844)


class Page:
    """The report in a browser."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get(self.address)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def column(self, key: str) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll(`#rows tbody td.${arguments[0]}`)].map(c => c.textContent)", key
        )

    def choose_group(self, beginning: str) -> None:
        self.run(
            "const s = document.getElementById('group');"
            "s.value = [...s.options].find(o => o.textContent.startsWith(arguments[0])).value;"
            "s.dispatchEvent(new Event('change'))",
            beginning,
        )

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def search(self, text: str) -> None:
        script = (
            "const s = document.getElementById('search'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))"
        )
        self.run(script, text)

    def points(self) -> int:
        """Marks of the scatter chart, as they are drawn."""
        return self.run("return document.querySelectorAll('#pareto .points path').length")

    def messages(self) -> list[str]:
        return [f"{entry['level']} {entry['message']}" for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium here (apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("report")
    with ResultStore.open(str(folder / "table.db")) as store:
        store.record(report_rows())
        store.record_figures(operator_times())
        store.record_figures(quantization_error())
        (folder / "report.html").write_text(render_report(store, store.rows(), HOSTILE), encoding="utf-8")
    options = Options()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {
            "offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0,
        })  # fmt: skip
        yield Page(browser, (folder / "report.html").as_uri())
    finally:
        browser.quit()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_opens_offline_without_a_word_on_the_console_and_fits_the_screen(
    page: Page, size: tuple[int, int], scheme: str
) -> None:
    page.open(size, scheme)
    assert page.messages() == []
    assert page.run("return document.documentElement.scrollWidth") <= size[0]
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 19, 24)")


def test_it_asks_the_network_for_nothing(page: Page) -> None:
    page.open()
    assert page.run("return performance.getEntriesByType('resource').map(e => e.name)") == []


def test_there_is_a_row_for_every_recipe_and_a_point_for_every_row(page: Page) -> None:
    page.open()
    page.choose_group("pi4")
    assert len(page.column("name")) == len(RECIPES) == page.points()
    page.click("#every")
    assert len(page.column("name")) == 6 * len(RECIPES) == page.points()


def test_every_header_sorts_up_and_down(page: Page) -> None:
    page.open()
    page.choose_group("pi4")
    page.click("#every")
    for key in page.run("return [...document.querySelectorAll('#rows thead button')].map(b => b.dataset.column)"):
        orders = []
        for direction in ("ascending", "descending"):
            page.click(f"#rows [data-column={key}]")
            header = f"document.querySelector('[data-column={key}]').parentElement"
            assert page.run(f"return {header}.ariaSort") == direction
            orders.append(page.column(key))
        known = [[text for text in order if text not in ("", "-")] for order in orders]
        assert known[0] == known[1][::-1], key
    page.click("#rows [data-column=size]")
    assert page.column("size")[0] == "58.6 KiB"


def test_searching_filters_the_rows_the_points_and_the_count(page: Page) -> None:
    page.open()
    page.choose_group("pi4")
    page.search("int8 stable")
    assert [name.split(" · ")[1] for name in page.column("name")] == ["int8", "prune50-int8"]
    assert page.points() == 2
    assert page.run("return document.getElementById('count').textContent") == "2 of 24 rows"
    page.search("nothing like this")
    assert (page.column("name"), page.points()) == ([], 0)
    assert page.messages() == []


def test_emulated_rows_stand_apart_with_a_warning(page: Page) -> None:
    page.open()
    page.choose_group("qemu")
    assert "say nothing about real hardware" in page.run("return document.getElementById('warning').textContent")
    page.choose_group("pi4")
    assert page.run("return document.getElementById('warning').hidden")


def test_details_of_a_row_open_and_close_by_keyboard(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open()
    page.choose_group("pi4")
    button = page.driver.find_element("css selector", "#rows tbody button")
    button.send_keys(Keys.ENTER)
    facts = page.run("return [...document.querySelectorAll('tr.details dt')].map(d => d.textContent)")
    assert {"kernel", "governor", "project_commit", "latency_p99_ns"} - set(facts) <= {"latency_p99_ns"}
    assert button.get_attribute("aria-expanded") == "true"
    button.send_keys(Keys.SPACE)
    assert page.run("return document.querySelectorAll('tr.details').length") == 0


def test_the_history_says_where_it_stepped_and_why(page: Page) -> None:
    page.open()
    text = page.run("return document.getElementById('d-history').textContent")
    assert "6 measurements. Steps:" in text
    assert "project_commit" in text


def test_what_is_known_of_operators_is_drawn_in_a_chart_of_its_own_with_its_origin(page: Page) -> None:
    page.open()
    page.choose_group("pi4")
    titles = "return [...document.querySelectorAll('figure:not([hidden]) h2')].map(h => h.textContent)"
    assert {"Time by operator", "Quantization error by layer"} <= set(page.run(titles))
    assert page.run("return document.querySelectorAll('#parts-1 .bars .point path').length") == 7
    said = page.run("return document.getElementById('d-parts-1').textContent")
    assert said.startswith("Parts run one by one (6 of 7; the others cannot be): 4.20 ms, the whole model: 4.10 ms")
    assert said.endswith("Taken by edgepress profile 0.1.0 on pi4, ai-edge-litert 2.1.6, 2026-09-21.")
    page.choose_group("qemu")  # where nobody took times; the error is the file's, whatever runs it
    assert "Time by operator" not in page.run(titles)
    assert "Quantization error by layer" in page.run(titles)
    assert page.messages() == []


def test_hostile_names_are_shown_as_they_are_and_do_nothing(page: Page) -> None:
    page.open()
    page.choose_group("<script>")
    assert page.column("name")[0].startswith("<script>alert(1)</script><img src=x onerror=alert(2)>=cmd()|'\"\\x1b[31m")
    page.click("#rows tbody button")
    assert page.run("return document.querySelectorAll('main img, main script').length") == 0
    assert page.run("return document.title") == HOSTILE.replace("\x1b", "�") or "<script>" in page.driver.title
    hover = page.run("return document.getElementById('pareto').data[1].hovertext[0]")
    assert "<script>" not in hover
    assert "&lt;script&gt;" in hover
    assert page.messages() == []
    assert page.run("return document.documentElement.scrollWidth") <= DESKTOP[0]


def test_hostile_names_are_inert_in_csv_and_in_the_page_source() -> None:
    rows = report_rows(1)[-2:]
    (first, *_) = csv.DictReader(io.StringIO(render(rows, "csv")))
    assert first["model"].startswith("<script>")
    assert "\x1b" not in render(rows, "csv")
    assert json.loads(render(rows, "json"))["rows"][0]["model"] == HOSTILE


def test_every_control_has_a_name_and_texts_have_contrast(page: Page) -> None:
    """WCAG 2.2: 4.5 to 1 for text, in both colour schemes."""
    for scheme in ("light", "dark"):
        page.open(scheme=scheme)
        page.choose_group("pi4")
        unnamed = page.run(
            "return [...document.querySelectorAll('button, select, input')].filter(e => !(e.textContent.trim() ||"
            " e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"
        )
        assert unnamed == []
        assert page.run(
            "return [...document.querySelectorAll('.chart')].every(c => c.getAttribute('aria-describedby'))"
        )
        assert _worst_contrast(page) >= 4.5


def _worst_contrast(page: Page) -> float:
    return page.run(
        """
        const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = (text) => {
          const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          const [r, g, b] = rgb(text).map((v) => linear(v / 255));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = (e) => getComputedStyle(e).backgroundColor;
        const behind = (e) => (paper(e) === "rgba(0, 0, 0, 0)" && e.parentElement ? behind(e.parentElement) : paper(e));
        const words = "h1, h2, p, td, th, th button, figcaption, label, .card span, button";
        const texts = [...document.querySelectorAll(words)];
        return Math.min(...texts.filter((e) => e.textContent.trim()).map((e) => {
          const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
          return (a + 0.05) / (b + 0.05);
        }));
        """
    )
