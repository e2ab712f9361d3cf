"""The live page as a browser shows it. Skipped where no Chromium is installed."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from watched_attributions import cut, write_attribution
from watched_runs import HOSTILE, append, finished, served, story, update, write_run

from accredit.attribution import Output

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")

# the share of each canvas that is opaque enough to be seen
SHARES = """() => Array.from(document.querySelectorAll("canvas"), (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i] >= 32) drawn += 1;
  return drawn / (data.length / 4);
})"""
# what is drawn by the chart with the id: the x of the points of its first line
DRAWN = """(id) => {
  const canvas = document.getElementById(`${id}-canvas`);
  const chart = canvas && Chart.getChart(canvas);
  return chart ? chart.data.datasets.filter((set) => !set.isBand)[0].data.map((point) => point.x) : [];
}"""
FOCUS = """() => {
  const { activeElement: element } = document;
  const style = getComputedStyle(element);
  const { top, bottom } = element.getBoundingClientRect();
  const hasRing = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [element.id || element.tagName.toLowerCase(), hasRing && bottom > 0 && top < innerHeight];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", story(("train-0", "train-1"), 3, slots=("input", "hidden")))


def opened(browser: Browser, url: str, *, width: int = 1200, scheme: str = "light") -> tuple[Page, list[str]]:
    """Open the page, wait until it has drawn, and collect whatever the browser complains about or asks for."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", lambda request: heard.append(request.url))
    page.goto(url)
    page.locator("body[data-shown]").wait_for(state="attached")
    return page, heard


def until(condition: Callable[[], bool], *, within_s: float) -> float:
    """Wait for something to be so; returns how long it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < within_s
        time.sleep(0.02)
    return time.monotonic() - begin


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_every_chart_is_drawn_without_a_word_or_a_foreign_request(browser: Browser, run: Path, width: int, scheme: str):
    append(run, finished(3))
    with served(run) as url:
        page, heard = opened(browser, url, width=width, scheme=scheme)
        shares = page.evaluate(SHARES)
        assert len(shares) == page.locator("figure.chart").count() == 19
        assert min(shares) > 0.005
        assert page.evaluate(DRAWN, "entropy-0") == [1, 2, 3]
        assert {each for each in heard if not each.startswith(url)} == set()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#link").inner_text() == "Live"
        assert page.locator(".state").inner_text() == "finished"
        page.close()


def test_an_event_is_seen_within_two_seconds(browser: Browser, run: Path):
    with served(run) as url:
        page, heard = opened(browser, url)
        for number in (4, 5):
            time.sleep(1)  # a page at rest
            append(run, iter([update(number)]))
            until(lambda number=number: page.evaluate(DRAWN, "entropy-0")[-1] == number, within_s=2)
        assert page.locator("dd", has_text="5 of 5").count() == 1
        assert [each for each in heard if not each.startswith(url)] == []
        page.close()


def test_hostile_names_are_text(browser: Browser, tmp_path: Path):
    run = write_run(tmp_path / "run", story(HOSTILE, 2, slots=HOSTILE), task=HOSTILE[0])
    other = write_run(tmp_path / '<b onclick="x">other', story(HOSTILE[:1], 1))
    with served(run, other) as url:
        page, heard = opened(browser, url, width=800)
        page.locator("#place").select_option(HOSTILE[1])
        page.locator("figcaption", has_text=f"Log-loss: {HOSTILE[1]}").wait_for()
        for summary in page.locator("summary").all():
            summary.click()
        assert page.locator("h2", has_text='<b onclick="x">other').count() == 1
        for name in HOSTILE:
            assert page.locator("#latest-0 td bdi").get_by_text(name, exact=True).count() == 1
        assert page.title() == "Accredit: live"
        assert page.locator("img").count() == page.locator("b").count() == 0
        assert page.locator("script:not([src])").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        assert [each for each in heard if not each.startswith(url)] == []
        page.close()


def test_every_control_is_reached_by_the_keyboard_and_seen(browser: Browser, run: Path):
    with served(run) as url:
        page, _ = opened(browser, url)
        visited = []
        for _ in range(40):
            page.keyboard.press("Tab")
            visited.append(page.evaluate(FOCUS))
            if visited[-1][0] == "body":
                break
        figures = page.locator("figure.chart").count()
        names = [name for name, _ in visited]
        assert names[:5] == ["a", "place", "output", "window", "pause"]
        assert names[5 : 6 + figures] == ["summary"] * (1 + figures), "of the events, and of each figure"
        assert [name for name, is_seen in visited[: 6 + figures] if not is_seen] == []
        page.locator("#window").focus()
        page.keyboard.press("l")
        page.locator("#entropy-0 .note", has_text="The latest 100.").wait_for()
        page.locator("#entropy-0 summary").focus()
        page.keyboard.press("Enter")
        assert page.locator("#entropy-0 tbody tr").all_inner_texts()[0] == "Entropy\t1\t1.499\t\N{EN DASH}\t\N{EN DASH}"
        page.close()


def test_every_control_and_figure_has_a_name(browser: Browser, run: Path):
    with served(run) as url:
        page, _ = opened(browser, url)
        for label in ("Environments", "Contributions to", "Window"):
            assert page.get_by_label(label, exact=True).count() == 1
        assert page.get_by_role("button", name="Pause").count() == 1
        for figure in page.locator("figure.chart").all():
            assert figure.get_attribute("aria-labelledby")
            assert "The numbers are in the table below." in figure.locator("canvas").get_attribute("aria-label")
        page.close()


def test_what_is_selected_is_shown_and_survives_a_reload(browser: Browser, run: Path):
    with served(run) as url:
        page, _ = opened(browser, url)
        page.locator("#place").select_option("train-1")
        page.locator("figcaption", has_text="Log-loss: train-1").wait_for()
        page.reload()
        page.locator("figcaption", has_text="Log-loss: train-1").wait_for()
        assert page.locator("#place").input_value() == "train-1"
        page.close()


def test_events_are_read_a_few_at_a_time_and_followed(browser: Browser, run: Path):
    with served(run) as url:
        page, heard = opened(browser, url)
        page.locator(".log summary").click()
        lines = page.locator(".log tbody th")
        count = len((run / "events.jsonl").read_bytes().splitlines())
        until(lambda: lines.all_inner_texts() == [str(count - at) for at in range(30)], within_s=5)
        append(run, iter([update(4)]))
        until(lambda: lines.first.inner_text() == str(count + 1), within_s=3)
        page.get_by_role("button", name="Earlier").click()
        until(lambda: lines.first.inner_text() == str(count - 29), within_s=3)
        page.locator("#place").select_option("train-1")
        page.get_by_role("button", name="Selected environments only").click()
        names = page.locator(".log tbody td:nth-child(4)")
        until(lambda: set(names.all_inner_texts()) == {"train-1"}, within_s=3)
        assert [each for each in heard if not each.startswith(url)] == []
        page.close()


def test_runs_stand_side_by_side_on_the_same_axes(browser: Browser, run: Path, tmp_path: Path):
    other = write_run(tmp_path / "other", story(("train-0",), 6))
    with served(run, other) as url:
        page, _ = opened(browser, url)
        assert page.locator(".run h2").all_inner_texts() == ["run", "other"]
        first, second = (page.locator(f"#entropy-{at}").bounding_box() for at in (0, 1))
        assert first["y"] == second["y"]
        assert first["x"] + first["width"] <= second["x"]
        ends = page.evaluate("""() => [0, 1].map((at) => {
          const { x, y } = Chart.getChart(`entropy-${at}-canvas`).scales;
          return [x.min, x.max, y.min, y.max];
        })""")
        assert ends[0] == ends[1]
        assert ends[0][:2] == [1, 6]
        page.close()


def test_a_pause_holds_the_page_and_its_end_catches_up(browser: Browser, run: Path):
    with served(run) as url:
        page, _ = opened(browser, url)
        page.locator("#pause").click()
        assert page.locator("#link").inner_text() == "Paused"
        append(run, iter([update(4)]))
        time.sleep(1.5)
        assert page.evaluate(DRAWN, "entropy-0") == [1, 2, 3]
        page.get_by_role("button", name="Go on").click()
        until(lambda: page.evaluate(DRAWN, "entropy-0") == [1, 2, 3, 4], within_s=3)
        page.close()


def test_the_page_survives_a_restart_of_itself_and_of_the_run(browser: Browser, run: Path):
    with served(run) as url:
        page, _ = opened(browser, url)
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    page.locator("#link", has_text="Not connected; trying again").wait_for()
    (run / "events.jsonl").write_bytes(b"".join(lines[:-1]))  # cut at a checkpoint before the last update
    append(run, (update(number) for number in (3, 4, 5)))
    with served(run, port=int(url.split(":")[2].rstrip("/"))):
        until(lambda: page.evaluate(DRAWN, "entropy-0") == [1, 2, 3, 4, 5], within_s=10)
        assert page.locator("#link").inner_text() == "Live"
        page.close()


def test_colours_follow_the_scheme(browser: Browser, run: Path):
    with served(run) as url:
        page, _ = opened(browser, url)
        for scheme, text in (("dark", "#e8eaed"), ("light", "#1b1f24")):
            page.emulate_media(color_scheme=scheme)
            until(
                lambda text=text: page.evaluate("Chart.getChart('entropy-0-canvas').options.color") == text, within_s=5
            )
        page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "dark"), (390, "light")])
def test_an_attribution_is_drawn_with_hostile_names_as_texts(browser: Browser, tmp_path: Path, width: int, scheme: str):
    outputs = (Output(HOSTILE[1], "nat", False), Output(HOSTILE[3], HOSTILE[2], True))
    write_attribution(tmp_path / "a", players=HOSTILE, outputs=outputs)
    with served(tmp_path / "a") as url:
        page, heard = opened(browser, url, width=width, scheme=scheme)
        shares = page.evaluate(SHARES)
        assert len(shares) == page.locator("figure.chart").count() == 4
        assert min(shares) > 0.005
        assert {each for each in heard if not each.startswith(url)} == set()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.title() == "Accredit: live"
        assert page.locator("img, script:not([src])").count() == 0
        assert not page.locator("#place").is_visible()
        assert not page.locator("#window").is_visible()
        page.locator("#output").select_option(HOSTILE[3])
        page.locator("figcaption", has_text="Interactions").filter(has_text="مرحبا").wait_for()
        page.get_by_text("Coalitions", exact=True).click()
        page.locator(".log tbody tr").first.wait_for()
        assert page.locator(".log tbody tr").count() == 30
        assert not page.get_by_role("button", name="Selected environments only").is_visible()
        page.close()


def test_a_coalition_is_seen_within_two_seconds_and_an_end_ends_the_bar(browser: Browser, tmp_path: Path):
    write_attribution(tmp_path / "a")
    path = tmp_path / "a" / "matrix.accredit"
    whole = cut(path, 5)
    with served(tmp_path / "a") as url:
        page, _ = opened(browser, url)
        bar = page.locator("progress")
        until(lambda: bar.evaluate("(bar) => bar.value") == 0.75, within_s=5)
        assert bar.is_visible()
        assert bar.get_attribute("aria-label") == "coalitions that were evaluated"
        path.write_bytes(whole)
        page.locator(".state", has_text="finished").wait_for(timeout=2000)
        assert page.locator("dd", has_text="8 of 8").count() == 1
        assert not page.locator("progress").is_visible()
        assert page.locator("figcaption", has_text="as coalitions came").count() == 1
        page.close()


def test_a_run_and_an_attribution_share_a_page(browser: Browser, run: Path, tmp_path: Path):
    write_attribution(tmp_path / "a")
    with served(tmp_path / "a", run) as url:
        page, heard = opened(browser, url)
        assert page.locator(".run h2").all_inner_texts() == ["a", "run"]
        assert page.locator(".run summary").all_inner_texts() == ["Coalitions", "Events"]
        assert page.locator("#place").is_visible()
        assert page.locator("#place").input_value() == "train-#"
        assert page.locator("figcaption", has_text="Contributions to error").count() == 1
        assert page.locator("figcaption", has_text="Entropy").count() == 1
        assert {each for each in heard if not each.startswith(url)} == set()
        page.close()
