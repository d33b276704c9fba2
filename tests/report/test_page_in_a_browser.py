"""The page of `harness report` in a real Chromium: nothing goes wrong, nothing is asked, filters and sorting do what they say."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import replace

import browser
import example_energy_run
import example_run
import pytest

from harness import report
from harness.records import Operation

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=browser.PATIENCE_MS)

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium: apt-get install chromium")

EVIL = "<img src=x onerror=alert(1)>"
RUNS = (
    example_run.run(("easier", "order"), ("onnxruntime", "torch")),
    replace(example_energy_run.run(), device=EVIL),
)


@pytest.fixture(scope="module")
def chrome():
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return report.write_page(RUNS, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def open_page(chrome, file):
    with browser.opened(chrome, file) as found:
        yield found


@pytest.fixture
def still_page(open_page):
    """All figures are drawn: nothing moves below a click any more, on a busy machine either."""
    open_page.draw_all()
    return open_page


def shown(page):
    return page.locator("#table tbody tr:visible")


def column(page, title):
    place = page.locator("#table th").all_inner_texts().index(title) + 1
    return [text.strip() for text in shown(page).locator(f"td:nth-child({place})").all_inner_texts()]


def test_every_figure_is_drawn_without_a_word_on_the_console_or_to_the_network(open_page, file):
    open_page.draw_all()
    assert open_page.page.locator(".plot svg").count() >= 12
    assert open_page.errors() == [] and open_page.asked == [file.as_uri()]


def test_names_with_markup_in_them_show_as_text_everywhere(open_page):
    open_page.draw_all()
    page = open_page.page
    assert page.locator("img").count() == 0
    assert page.locator(f'td:text-is("{EVIL}")').count() == len(RUNS[1].cases)
    caption = page.locator("figcaption", has_text=EVIL).first
    caption.scroll_into_view_if_needed()
    box = page.locator("figure", has=caption).locator("svg path[aria-roledescription='point']").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert open_page.errors() == []


def test_a_filter_leaves_its_rows_figures_and_findings(open_page):
    page = open_page.page
    whole = shown(page).count()
    found = page.locator(".finding:not([hidden])").count()
    page.get_by_label("torch", exact=True).uncheck()
    assert set(column(page, "runtime")) == {"onnxruntime fp32"} and 0 < shown(page).count() < whole
    assert page.locator("figcaption:visible", has_text="torch").count() == 0
    assert page.locator(".finding:not([hidden])").count() < found
    assert page.locator("#shown").inner_text() == f"{shown(page).count()} of {whole} rows."
    page.get_by_role("button", name="Show everything").click()
    expect(shown(page)).to_have_count(whole)
    assert page.locator("figcaption:visible", has_text="torch").count() > 0


def test_a_figure_has_the_points_of_the_rows_that_are_left(open_page):
    page = open_page.page
    figure = page.locator("#figure-latency figure").first
    figure.scroll_into_view_if_needed()
    points = figure.locator("svg path[aria-roledescription='point']")
    points.first.wait_for()
    before = points.count()
    page.get_by_label("order", exact=True).uncheck()
    expect(points).not_to_have_count(before)
    assert points.count() < before
    page.get_by_label("order", exact=True).check()
    expect(points).to_have_count(before)


def test_a_column_sorts_by_numbers_both_ways_with_what_is_missing_last(still_page):
    page = still_page.page
    head = page.locator("#table th", has_text="weights")
    for direction, reverse in (("ascending", False), ("descending", True)):
        head.get_by_role("button").click()
        numbers = [float(text) for text in column(page, "weights (MB)")]
        assert numbers == sorted(numbers, reverse=reverse) and head.get_attribute("aria-sort") == direction
    for _ in range(2):
        page.locator("#table th", has_text="energy").get_by_role("button").click()
        texts = column(page, "energy [95 %]")
        assert "–" in texts and texts.index("–") == len(texts) - texts.count("–")


def test_the_keyboard_is_enough(open_page):
    page = open_page.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_label("order", exact=True).focus()
    page.keyboard.press("Space")
    assert "order" not in column(page, "method")
    page.locator("#table th", has_text="depth").get_by_role("button").focus()
    page.keyboard.press("Enter")
    depths = [int(text) for text in column(page, "depth")]
    assert depths == sorted(depths)


def test_every_control_and_figure_has_a_name_for_a_screen_reader(open_page):
    open_page.draw_all()
    page = open_page.page
    assert page.locator("html").get_attribute("lang") == "en"
    for each in page.locator("button:visible, input:visible").all():
        name = each.evaluate("e => e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText")
        assert name.strip()
    for plot in page.locator(".plot svg").all():
        assert "The table has its numbers" in plot.evaluate("e => e.closest('[aria-label]').getAttribute('aria-label')")
    levels = [int(each.evaluate("e => e.tagName")[1]) for each in page.locator("h1, h2, h3").all()]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_what_is_copied_is_csv_of_the_rows_shown_in_their_order(chrome, file):
    with browser.opened(chrome, file, permissions=["clipboard-read", "clipboard-write"]) as found:
        page = found.page
        page.get_by_label("torch", exact=True).uncheck()
        page.locator("#table th", has_text="depth").get_by_role("button").click()
        page.get_by_role("button", name="Copy as CSV").click()
        page.locator("#copied", has_text="copied").wait_for()
        lines = list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
        assert [line["depth"] for line in lines] == column(page, "depth")
        assert {line["runtime"] for line in lines} == {"onnxruntime"}
        assert {line["device"] for line in lines} == {"local", EVIL}


def test_what_is_saved_is_the_same_csv(still_page):
    with still_page.page.expect_download() as got:
        still_page.page.get_by_role("button", name="Save as CSV").click()
    lines = list(csv.DictReader(io.StringIO(got.value.path().read_text())))
    assert len(lines) == sum(len(run.cases) for run in RUNS) and still_page.errors() == []


def test_the_table_says_what_the_figures_say_where_scripts_do_not_run(chrome, file):
    with browser.opened(chrome, file, java_script_enabled=False) as found:
        assert shown(found.page).count() == sum(len(run.cases) for run in RUNS)
        assert found.page.get_by_text("The figures need JavaScript").is_visible()
        assert found.page.locator(".finding").first.is_visible()
        assert not found.page.locator("#copy").is_visible()


def test_dark_is_dark_by_the_systems_wish_and_by_the_button(chrome, file):
    ground = "getComputedStyle(document.body).backgroundColor"
    with browser.opened(chrome, file, color_scheme="dark") as found:
        dark = found.page.evaluate(ground)
        found.draw_all()
        found.page.get_by_role("button", name="Light colours").click()
        light = found.page.evaluate(ground)
        assert light == "rgb(255, 255, 255)" != dark
        found.page.locator(".plot svg").first.wait_for()
        assert found.errors() == []
    with browser.opened(chrome, file, color_scheme="light") as found:
        assert found.page.evaluate(ground) == light


def widths(page):
    """How wide the figures that are seen are, and their places."""
    return page.evaluate(
        "[...document.querySelectorAll('.plot')].filter(e => e.offsetWidth)"
        ".map(e => [e.clientWidth, ...[...e.querySelectorAll('svg')].map(svg => svg.clientWidth)])"
    )


def test_figures_are_as_wide_as_their_places_whatever_changed_while_they_were_hidden(open_page):
    open_page.draw_all()
    page = open_page.page
    page.get_by_label("torch", exact=True).uncheck()
    page.get_by_role("button", name="Dark colours").click()
    page.set_viewport_size({"width": 1000, "height": 900})
    page.get_by_label("order", exact=True).uncheck()
    page.get_by_role("button", name="Show everything").click()
    page.wait_for_function(
        "![...document.querySelectorAll('.plot svg')].some(e => e.clientWidth !== e.parentElement.clientWidth)"
    )
    assert all(len(each) == 2 and each[0] == each[1] for each in widths(page))
    assert open_page.errors() == []


def test_what_changes_while_a_figure_is_being_drawn_is_in_it(open_page):
    open_page.draw_all()
    page = open_page.page
    page.evaluate(
        """() => {
            const box = [...document.querySelectorAll("label")].find((each) => each.innerText.trim() === "order").control;
            for (const _ of [1, 2, 3]) { document.getElementById("theme").click(); box.click(); }
        }"""
    )
    marks = "path[aria-roledescription='point']"
    expect(page.locator(f"#figure-latency figure:first-of-type svg {marks}")).to_have_count(12)
    lines = page.locator("#figure-tails figure:first-of-type svg .role-axis-label text")
    expect(lines.filter(has_text="order")).to_have_count(0)
    assert all(len(each) == 2 for each in widths(page)) and open_page.errors() == []


def test_paper_has_every_figure_in_light_colours(chrome, file):
    with browser.opened(chrome, file, color_scheme="dark") as found:
        page = found.page
        page.get_by_role("button", name="Light colours").click()
        page.get_by_role("button", name="Dark colours").click()
        page.evaluate(
            """addEventListener("beforeprint", () => {
                const plots = [...document.querySelectorAll(".plot")];
                const text = plots.map((each) => each.querySelector("svg .role-axis-title text")?.getAttribute("fill"));
                window.printed = [...new Set(text)];
            })"""
        )
        page.pdf()
        assert page.evaluate("printed") == ["#1b1d20"] and found.errors() == []
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_on_a_phone_nothing_is_cut_off(chrome, tmp_path):
    told = tuple(
        Operation(kind, kind, None, None, None, None, "float32", "", 10**5)
        for kind in ("Conv", "Gemm", "Relu", "ReorderInput", "MaxPool", "Softmax", "Shape")
    )
    run = replace(RUNS[0], operators={row.case_id: told for row in RUNS[0].cases})
    file = report.write_page([run, RUNS[1]], tmp_path / "page.html")
    with browser.opened(chrome, file) as found:
        page = found.page
        page.set_viewport_size({"width": 400, "height": 900})
        found.draw_all()
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        cut = page.evaluate(
            """[...document.querySelectorAll(".plot svg text")].filter((text) => {
                const [inner, outer] = [text, text.ownerSVGElement].map((each) => each.getBoundingClientRect());
                return text.textContent && (inner.left < outer.left - 1 || inner.right > outer.right + 1
                    || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1);
            }).map((text) => text.textContent)"""
        )
        assert cut == [] and found.errors() == []


def test_a_tooltip_says_what_a_row_has_and_no_null(open_page):
    page = open_page.page
    figure = page.locator("#figure-latency figure").first
    figure.scroll_into_view_if_needed()
    point = figure.get_by_label("order 0: latency (ms) 2.41", exact=True)
    point.wait_for()
    point.hover()
    page.locator("#vg-tooltip-element.visible").wait_for()
    said = page.locator("#vg-tooltip-element").inner_text()
    assert "order 0" in said and "2.41 [2.36, 2.46] ms" in said and "null" not in said and "verdict" not in said


def test_names_of_any_letters_can_be_filtered(chrome, tmp_path):
    odd = ("a\rb\r\nc", "__proto__", "\u202eabc \N{PILE OF POO}\x00" + "x" * 300)
    file = report.write_page([replace(RUNS[1], device=name) for name in odd], tmp_path / "page.html")
    with browser.opened(chrome, file) as found:
        page, each = found.page, len(RUNS[1].cases)
        boxes = page.locator("fieldset[data-key=device] input")
        assert shown(page).count() == each * len(odd) and boxes.count() == len(odd)
        for n in range(len(odd)):
            boxes.nth(n).uncheck()
            assert shown(page).count() == each * (len(odd) - n - 1)
        page.set_viewport_size({"width": 400, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == 400 and found.errors() == []


def test_no_cell_of_the_csv_is_run_by_a_spreadsheet(chrome, tmp_path):
    file = report.write_page([replace(RUNS[1], device='=HYPERLINK("x")')], tmp_path / "page.html")
    with browser.opened(chrome, file) as found:
        with found.page.expect_download() as got:
            found.page.get_by_role("button", name="Save as CSV").click()
        lines = list(csv.DictReader(io.StringIO(got.value.path().read_text())))
    assert {line["device"] for line in lines} == {'\'=HYPERLINK("x")'}


@pytest.mark.parametrize("hash_", ["#%E0%A4%A", "#nothing", "#"])
def test_a_link_to_nothing_does_no_harm(chrome, file, hash_):
    with browser.opened(chrome, file) as found:
        found.page.evaluate("hash => { location.hash = hash }", hash_)
        found.page.reload()
        assert shown(found.page).count() and found.errors() == []


def test_a_link_is_followed_as_often_as_it_is_clicked(still_page):
    page = still_page.page
    link = page.locator("#table td a").first
    finding = page.locator(link.get_attribute("href"))
    for _ in range(2):
        link.click()
        expect(finding).to_be_focused()
        page.locator("#theme").focus()


def test_a_link_to_a_finding_that_is_folded_away_opens_it(open_page):
    page = open_page.page
    folded = page.locator("details .finding").first
    assert not folded.is_visible()
    page.evaluate("id => { location.hash = id }", folded.get_attribute("id"))
    folded.wait_for(state="visible")
