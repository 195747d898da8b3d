"""The documentation site: all links lead somewhere, and a browser shows what a reader should see."""

from __future__ import annotations

import functools
import http.server
import inspect
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import simlab
import theory
from simlab.algorithms.table import names

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"desktop": 1280, "phone": 390}
PAGES = (
    "index.html",
    "guides.html",
    "command.html",
    "contributing.html",
    "theory.html",
    "own_problem.html",
    "reference.html",
    "changelog.html",
    "generated/api/simlab.simulate.html",
    "generated/api/simlab.Network.html",
    "generated/api/simlab.algorithms.html",
    *(f"generated/tutorials/{file.stem}.html" for file in sorted((ROOT / "docs" / "tutorials").glob("*.py"))),
)
# What reaches beyond the right edge and is in no box that scrolls.
OVERFLOWS = """
() => [...document.querySelectorAll('article *')].filter(element => {
  if (element.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let box = element; box.tagName != 'ARTICLE'; box = box.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(box).overflowX)) return false;
  return true;
}).map(element => element.outerHTML.slice(0, 120))
"""


def test_the_reference_lists_every_public_name():
    text = (ROOT / "docs" / "reference.rst").read_text()
    listed = set(re.findall(r"^   ([A-Za-z]\w+)$", text, re.MULTILINE))
    of_modules = {*names(), "Cluster"}  # in pages of their own
    assert listed | of_modules == set(simlab.__all__) | set(theory.__all__) | {"algorithms"}


def test_no_docstring_takes_bars_for_markup():
    """|x| asks reStructuredText for a substitution, which fails `make docs`; ``|x|`` is itself."""
    of_modules = [getattr(simlab.algorithms, name) for name in names()]
    documented = [getattr(room, name) for room in (simlab, theory) for name in room.__all__] + of_modules
    for one in documented:
        members = [member for name, member in vars(one).items() if name[0] != "_"] if isinstance(one, type) else []
        for text in filter(None, (inspect.getdoc(member) for member in (one, *members))):
            plain = re.sub(r"``.*?``|::\n\n(?: .*\n?|\n)*", "", text, flags=re.DOTALL)
            assert not re.search(r"(?:^|[\s(\[/:-])\|(?=[^\s|])[^|]*[^\s|]\|(?=$|[\s)\]/:.,;-])", plain), (one, text)


@pytest.fixture(scope="session")
def site() -> Path:
    pytest.importorskip("sphinx_gallery", reason="the extra docs is not installed")
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "docs", SITE], cwd=ROOT, check=True)
    return SITE


class Links(HTMLParser):
    """Where a page's links and sources lead, and what may be led to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors = {""}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif "src" in values or (tag == "link" and values.get("rel") in ("stylesheet", "icon")):
            self.fetched.append(values.get("src") or values["href"])


@pytest.mark.slow
def test_links_lead_somewhere(site: Path) -> None:
    read = functools.cache(Links)
    pages = [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]
    assert len(pages) > 200
    count = 0
    for page in pages:
        for link in (*read(page).links, *read(page).fetched):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto") and link not in read(page).fetched:
                continue
            assert not parts.scheme, f"{page.relative_to(site)} fetches {link}"
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.relative_to(site)} points to {link}"
            if target.suffix == ".html" and parts.fragment:
                assert unquote(parts.fragment) in read(target).anchors, f"{page.relative_to(site)} points to {link}"
            count += 1
    assert count > 5000, count


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser(address: str) -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            shown = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no browser: {error}")
        yield shown
        shown.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_render(browser, address: str, width: str) -> None:
    page = browser.new_page(viewport={"width": WIDTHS[width], "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda response: response.status < 400 or wrong.append(response.url))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    for name in PAGES:
        page.goto(f"{address}/{name}", wait_until="load")
        assert page.locator("h1").first.is_visible(), name
        assert page.evaluate(OVERFLOWS) == [], name
        empty = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert page.evaluate(empty) == [], name
        drawn = page.locator("article img:visible").count()
        assert drawn or name not in ("index.html", *(n for n in PAGES if "tutorials" in n)), f"{name} has no picture"
    assert not wrong
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "target"),
    [("DecentLaM", "simlab.DecentLaM.html"), ("resume", "simlab.resume.html"), ("spectral gap", "theory.html")],
)
def test_search_answers(browser, address: str, words: str, target: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results li a")
    page.wait_for_timeout(1000)  # more results come
    found = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
    assert any(target in link for link in found)
    page.close()
