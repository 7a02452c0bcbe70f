"""The site in a real browser: sorting, filtering, axes, the keyboard, no request, names of strangers, axe, a phone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jembench import data
from jembench.pages.boards import gather
from jembench.pages.boards.board import Evidence
from jembench.pages.site.report import report
from jembench.pages.site.site import Exhibit, site
from jembench.pages.tables import publications
from jembench.store.results import read_result
from jembench.zoo import baselines

BROWSER = "JEMBENCH_BROWSER"  # set where the absence of a browser is a failure
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "jem\u202egnp.exe",
    "../../etc/passwd",
)
PAGES = ("index.html", "digits.html", "model/digits-jem.html", "report.html")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and BROWSER not in os.environ, reason="no chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of three shipped models and of results with names that attack it, with a report beside it."""
    place = tmp_path_factory.mktemp("site")
    track, own = data.track("digits"), baselines.folder("digits")
    shipped = [own / name / "golden" for name in ("jem", "softmax", "glow")]
    shipped.append(own / "jem" / "robustness" / "plain")
    guests = []
    document = read_result(shipped[1])
    for number, name in enumerate(HOSTILE):
        model = document.model.model_copy(update={"name": name, "weights_sha256": f"{number:064x}"})
        update = {"model": model, "warnings": (f"beware of {name}",)}  # which no file of a stranger could have
        guests.append(Evidence(document.model_copy(update=update), shipped[1]))
    board = gather.board(track, f"digits & {HOSTILE[0]}", shipped, guests)
    exhibits = [Exhibit(board, publications.tables("cifar10"), {"jem": HOSTILE[1]})]
    for name, content in site(exhibits):
        path = place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (place / "report.html").write_text(report(Evidence(read_result(shipped[0]), shipped[0])), encoding="utf-8")
    (place / "hostile.html").write_text(report(guests[1]), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, one for all tests here."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, f"{BROWSER} is set and there is no chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class Visit:
    """Pages as a reader opens them, with all that they complain of or ask for."""

    def __init__(self, browser: Any, folder: Path, *, size: dict[str, int] = DESKTOP, scheme: str = "light") -> None:
        self.folder = folder
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.context.on("request", self._asked)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._alarmed)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.folder.as_uri(), "data:")):
            self.complaints.append(request.url)

    def _alarmed(self, dialog: Any) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def open(self, name: str) -> Any:
        """A page that is laid out."""
        self.page.goto((self.folder / name).as_uri())
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.page


@pytest.fixture
def visit(browser: Any, folder: Path) -> Iterator[Visit]:
    """A visit at a desk, which must end without a complaint."""
    visit = Visit(browser, folder)
    yield visit
    visit.context.close()
    assert visit.complaints == []


def column(page: Any, table: str, place: int) -> list[str]:
    """The words of a column, from top to bottom, of the rows that are shown."""
    script = """([id, place]) => [...document.getElementById(id).tBodies[0].rows].filter(row => !row.hidden)
        .map(row => place ? row.cells[place].dataset.v ?? "" : row.cells[0].querySelector("bdi").textContent)"""
    found: list[str] = page.evaluate(script, [table, place])
    return found


def ordered(words: list[str], *, falling: bool) -> bool:
    """Whether numbers are in an order, and the missing ones behind them."""
    numbers = [float(word) for word in words if word]
    return words[len(numbers) :] == [""] * (len(words) - len(numbers)) and numbers == sorted(numbers, reverse=falling)


def test_a_click_on_a_title_sorts_and_another_turns_it(visit: Visit) -> None:
    page = visit.open("digits.html")
    table = page.locator("#g0-overview")
    assert ordered(column(page, "g0-overview", 1), falling=True), "the best of the first column are first"
    head = table.locator("thead th").nth(2)
    names = column(page, "g0-overview", 0)
    for order, falling in (("ascending", False), ("descending", True)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order, "ECE: the lower the better, so that it rises first"
        values = column(page, "g0-overview", 2)
        assert ordered(values, falling=falling)
        assert "" in values, "glow has no ECE, and is last in either order"
    assert table.locator("[aria-sort]").count() == 1
    assert sorted(column(page, "g0-overview", 0)) == sorted(names)
    table.locator("thead th").nth(0).locator("button").click()
    shown = [name.lower() for name in column(page, "g0-overview", 0)]
    assert shown == sorted(shown)


def test_a_name_filters_all_tables_and_the_picture(visit: Visit) -> None:
    page = visit.open("digits.html")
    points = page.locator(".plot .point")
    before = points.count()
    page.get_by_label("Find a model").fill("SOFT")
    assert column(page, "g0-overview", 0) == ["softmax"]
    assert all(
        set(column(page, name, 0)) <= {"softmax"}
        for name in page.evaluate("""
        [...document.querySelectorAll("table.sheet")].map(table => table.id)""")
    )
    assert page.locator("output.count").inner_text() == "1 of 8 models"
    assert points.count() == 1
    page.get_by_label("Find a model").fill("")
    assert points.count() == before > 1
    page.get_by_label("Find a model").fill("nobody")
    assert page.get_by_text("No model has both numbers.").is_visible()


def test_axes_are_chosen(visit: Visit) -> None:
    """Each axis has every headline; the picture says which two it shows, and where each model is."""
    page = visit.open("digits.html")
    across, up = page.get_by_label("Across"), page.get_by_label("Up", exact=True)
    options = across.locator("option").all_inner_texts()
    heads = page.locator("section:not([aria-labelledby$=first]) > .scroll > table.sheet thead th:not(.who)")
    assert options == up.locator("option").all_inner_texts()
    assert len(options) == heads.count()
    before = page.locator(".plot .dot").first.get_attribute("cx")
    across.select_option(label="NLL\u00a0↓")
    assert (
        page.locator(".plot svg").get_attribute("aria-label").startswith("AUROC log p\u00a0↑ against NLL\u00a0↓, nats")
    )
    assert page.locator(".plot .dot").first.get_attribute("cx") != before
    place = options.index("NLL\u00a0↓")
    points = page.evaluate("JSON.parse(document.getElementById('points').textContent).points")
    rank = sorted((point["at"][str(place)][0], point["link"]) for point in points if str(place) in point["at"])
    shown = page.evaluate("""[...document.querySelectorAll(".plot .point")].map(each =>
        [Number(each.querySelector("circle").getAttribute("cx")), each.getAttribute("href")])""")
    drawn = dict(reversed(pair) for pair in shown)
    assert [drawn[link] for _, link in rank if link in drawn] == sorted(drawn.values())


def test_keys_do_what_a_pointer_does(visit: Visit) -> None:
    page = visit.open("digits.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    button = page.locator("#g0-overview thead button").nth(2)
    button.focus()
    page.keyboard.press("Enter")
    assert ordered(column(page, "g0-overview", 2), falling=False)
    page.keyboard.press("Space")
    assert ordered(column(page, "g0-overview", 2), falling=True)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.closest('th').cellIndex") == 1
    page.get_by_label("Across").focus()
    page.keyboard.press("ArrowDown")
    assert page.get_by_label("Across").input_value() == "1"


def test_light_and_dark_are_chosen_and_kept(visit: Visit) -> None:
    page = visit.open("index.html")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.locator("button.theme").click()
    dark = page.evaluate(colour)
    assert dark != light
    assert visit.open("digits.html").evaluate(colour) == dark


def test_every_page_opens_without_a_request_or_a_complaint(visit: Visit) -> None:
    """All links lead to files of the site."""
    pages = [path.relative_to(visit.folder).as_posix() for path in visit.folder.rglob("*.html")]
    assert len(pages) == 12
    for name in pages:
        page = visit.open(name)
        for address in page.eval_on_selector_all(
            "a[href]", "links => links.map(link => new URL(link.getAttribute('href'), location).href)"
        ):
            path = address.removeprefix(visit.folder.as_uri()).partition("#")[0]
            assert (visit.folder / path.lstrip("/")).is_file(), (name, address)


def test_a_hostile_name_is_text(visit: Visit) -> None:
    """In tables, links, the picture, titles, names of files and the report."""
    for path in visit.folder.rglob("*.html"):
        page = visit.open(path.relative_to(visit.folder).as_posix())
        assert page.locator("img[src=x], svg[onload], [onerror]").count() == 0
        assert page.evaluate(
            "[...document.scripts].every(each => each.src || each.id === 'points' || !/alert/.test(each.text))"
        )
        assert "\u202e" not in page.content()
    page = visit.open("digits.html")
    names = column(page, "g0-overview", 0)
    shown = [*HOSTILE[:3], "jem⟨202E⟩gnp.exe", HOSTILE[4]]
    assert set(shown) <= set(names)
    said = page.locator(".plot .point title").all_text_contents()
    for name in shown:
        assert any(words.startswith(f"{name}: ") for words in said)
        page = visit.open("digits.html")
        page.locator("#g0-overview").get_by_role("link", name=name, exact=True).click()
        assert page.locator("h1").inner_text() == name
        assert page.get_by_text(f"beware of {name}").is_visible()
        assert page.evaluate("location.href").startswith(f"{visit.folder.as_uri()}/model/digits-")
    assert {path.parent for path in visit.folder.rglob("*.html")} == {visit.folder, visit.folder / "model"}
    assert visit.open("hostile.html").locator("h1").inner_text() == HOSTILE[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, folder: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    visit, axe = Visit(browser, folder, scheme=scheme), Axe()
    for name in PAGES:
        page = visit.open(name)
        page.evaluate("document.querySelectorAll('details').forEach(each => (each.open = true))")
        found = axe.run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not serious, (name, [(each["id"], each["nodes"][0]["html"]) for each in serious])
    visit.context.close()


def test_axe_would_find_what_is_serious(browser: Any, folder: Path) -> None:
    """Planted: a picture without words, and text that is hardly to be told from its paper."""
    from axe_playwright_python.sync_playwright import Axe

    visit = Visit(browser, folder)
    page = visit.open("model/digits-jem.html")
    page.evaluate("""document.querySelector('figure img').removeAttribute('alt');
        document.querySelector('.lead').style.color = '#ddd'""")
    found = {each["id"] for each in Axe().run(page).response["violations"]}
    assert {"image-alt", "color-contrast"} <= found
    visit.context.close()


def test_nothing_scrolls_sideways_on_a_phone(browser: Any, folder: Path) -> None:
    """Tables scroll inside of their place, with the names of the models in view."""
    visit = Visit(browser, folder, size=PHONE)
    for path in folder.rglob("*.html"):
        page = visit.open(path.relative_to(folder).as_posix())
        page.evaluate("document.querySelectorAll('details').forEach(each => (each.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    page = visit.open("digits.html")
    place = page.locator(".scroll").first
    assert place.evaluate("each => each.scrollWidth > each.clientWidth")
    place.evaluate("each => { each.scrollLeft = 400 }")
    box = page.locator("#g0-overview tbody th").first.bounding_box()
    assert 0 <= box["x"] < PHONE["width"] / 4
    visit.context.close()
