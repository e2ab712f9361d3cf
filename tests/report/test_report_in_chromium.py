"""The report as a browser shows it: drawn, silent, and inside its frame. Skipped where no Chromium is installed."""

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import report_pages
from playwright.sync_api import Browser, Page, sync_playwright

from accredit.report import ReportPage, Section, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")

# the share of a canvas that is opaque enough to be seen, and how many clearly different colours it has
MEASURE = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  let drawn = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] < 32) continue;
    drawn += 1;
    colours.add((data[i] >> 5 << 10) | (data[i + 1] >> 5 << 5) | (data[i + 2] >> 5));
  }
  return { colours: colours.size, share: drawn / (data.length / 4) };
}"""


LIGHT, DARK = "#1b1f24", "#e8eaed"
RGB = {LIGHT: "rgb(27, 31, 36)", DARK: "rgb(232, 234, 237)"}
LOAD_IMAGE = """url => new Promise((done) => {
  const image = new Image();
  image.onload = image.onerror = done;
  image.src = url;
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module", params=["plausible", "hostile"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = {"plausible": report_pages.plausible, "hostile": report_pages.hostile}[request.param]()
    return write_report(tmp_path_factory.mktemp(request.param) / "report.html", page)


def opened(browser: Browser, path: Path, *, width: int = 1200, scheme: str = "light") -> tuple[Page, list[str]]:
    """Open the file and collect whatever the browser complains about or asks for."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", lambda request: heard.append(f"request: {request.url}"))
    page.goto(path.as_uri())
    return page, heard


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light")])
def test_every_chart_is_drawn_without_a_word_or_a_request(browser: Browser, path: Path, width: int, scheme: str):
    page, heard = opened(browser, path, width=width, scheme=scheme)
    canvases = page.locator("canvas").all()
    assert len(canvases) == page.locator("figure.chart:has(canvas)").count() > 0
    for canvas in canvases:
        measured = canvas.evaluate(MEASURE)
        assert measured["share"] > 0.01
        assert measured["colours"] >= 4
    assert heard == [f"request: {path.as_uri()}"]
    assert page.title() != "owned"
    page.close()


def test_charts_with_next_to_nothing_in_them_are_drawn(browser: Browser, tmp_path: Path):
    """An axis at least; a series of bars that are all missing is no error."""
    target = write_report(tmp_path / "report.html", report_pages.edges())
    page, heard = opened(browser, target)
    assert [canvas.evaluate(MEASURE)["colours"] > 0 for canvas in page.locator("canvas").all()] == [True] * 6
    assert heard == [f"request: {target.as_uri()}"]
    labels = page.evaluate("""() => Array.from(document.querySelectorAll("canvas"), (canvas) =>
      Object.values(Chart.getChart(canvas).scales).map((scale) => scale.ticks.map((tick) => tick.label).flat()))""")
    assert "1" in labels[3][0], "a single update has its tick"
    assert "\u22123e\u22129" in labels[4][0]
    assert {"100", "10\u202f000\u202f000"} <= set(labels[5][0])
    assert "0.001" in labels[5][1]
    page.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_is_wider_than_the_window(browser: Browser, path: Path, width: int):
    page, _ = opened(browser, path, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_policy_stops_a_request_that_a_script_would_make(browser: Browser, path: Path, tmp_path: Path):
    """A page without the policy shows that the request would otherwise arrive."""
    asked: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    (tmp_path / "free.html").write_text("<title>no policy</title>")
    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for name, target in (("kept", path), ("free", tmp_path / "free.html")):
            page, heard = opened(browser, target)
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            page.evaluate("url => fetch(url, { mode: 'no-cors' }).catch(() => 0)", f"{url}-fetch")
            page.evaluate(LOAD_IMAGE, f"{url}-image")
            assert any("Content Security Policy" in word for word in heard) == (name == "kept")
            page.close()
        server.shutdown()
        thread.join()
    assert sorted(asked) == ["/free-fetch", "/free-image"]


def test_colours_follow_the_scheme_and_paper_is_white(browser: Browser, path: Path):
    """A chart drawn for a dark screen would be unreadable on paper."""
    page, _ = opened(browser, path, scheme="light")
    canvas = page.locator("canvas").first
    pictures = {}
    for scheme, media, colour in [("light", "screen", LIGHT), ("dark", "screen", DARK), ("dark", "print", LIGHT)]:
        page.emulate_media(color_scheme=scheme, media=media)
        # the browser tells the page of the change a moment later
        page.wait_for_function("colour => Chart.getChart('chart-1').options.color === colour", arg=colour, timeout=5000)
        assert page.evaluate("getComputedStyle(document.documentElement).color") == RGB[colour]
        pictures[scheme, media] = canvas.evaluate("canvas => canvas.toDataURL()")
    page.close()
    assert pictures["light", "screen"] != pictures["dark", "screen"]


def test_the_caps_of_error_bars_are_inside_the_frame(browser: Browser, path: Path):
    page, _ = opened(browser, path)
    outside = page.evaluate("""() => Array.from(document.querySelectorAll("canvas"), (canvas) => {
      const chart = Chart.getChart(canvas);
      const { left, right, top, bottom } = chart.chartArea;
      const within = (scale, value, low, high) => {
        const pixel = scale.getPixelForValue(value);
        return pixel > low + 3 && pixel < high - 3;
      };
      return chart.data.datasets.flatMap((set) => set.data).flatMap((point) => [
        ...[point.xMin, point.xMax].filter(Number.isFinite).filter((v) => !within(chart.scales.x, v, left, right)),
        ...[point.yMin, point.yMax].filter(Number.isFinite).filter((v) => !within(chart.scales.y, v, top, bottom)),
      ]);
    }).flat()""")
    page.close()
    assert outside == []


@pytest.mark.parametrize("width", [1200, 390])
def test_axes_have_several_round_ticks(browser: Browser, path: Path, width: int):
    page, _ = opened(browser, path, width=width)
    axes = page.evaluate("""() => Array.from(document.querySelectorAll("canvas"), (canvas) =>
      Object.values(Chart.getChart(canvas).scales).filter((scale) => scale.type === "linear")
        .map((scale) => scale.ticks.map((tick) => [tick.value, tick.label]))).flat()""")
    page.close()
    assert axes
    for ticks in axes:
        assert 2 <= len(ticks) <= 20
        step = ticks[1][0] - ticks[0][0]
        assert f"{step:.0e}"[0] in "125"
        for value, label in ticks:
            assert value / step == pytest.approx(round(value / step), abs=1e-6)
            assert float(label.replace("\u2212", "-").replace("\u202f", "")) == pytest.approx(value, abs=1e-9)


def test_every_axis_is_titled(browser: Browser, path: Path):
    page, _ = opened(browser, path)
    titles = page.evaluate("""() => Array.from(document.querySelectorAll("canvas"), (canvas) =>
      Object.values(Chart.getChart(canvas).scales).map((scale) => scale.options.title.text)
    ).flat().map((text) => [text].flat().join(" "))""")
    page.close()
    assert len(titles) == 2 * 3
    assert all(titles)
    if "plausible" in str(path):
        assert titles.count("graft") == 1
        assert sum(title.endswith((" (nats)", " (share)", " (count)")) for title in titles) == 5


def test_numbers_open_and_tooltips_name_the_interval(browser: Browser, path: Path):
    page, heard = opened(browser, path)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("figure table").first.is_visible()
    if "plausible" in str(path):
        text = page.evaluate("""() => {
          const chart = Chart.getChart(document.querySelector("canvas"));
          chart.tooltip.setActiveElements([{ datasetIndex: 3, index: 0 }], { x: 0, y: 0 });
          return [chart.tooltip.title, chart.tooltip.body.map((part) => part.lines)].flat(3).join(" | ");
        }""")
        assert text == "parameters (count): 4\u202f510 | greedy: 0.955 [0.948, 0.962]"
    assert len(heard) == 1
    page.close()


WALK = """() => {
  const [active, style] = [document.activeElement, getComputedStyle(document.activeElement)];
  const all = [...document.querySelectorAll("a[href], summary, [tabindex]")].filter((one) => one.checkVisibility());
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return { at: all.indexOf(active), count: all.length, outlined, in: active.getBoundingClientRect().bottom > 0 };
}"""


def test_a_keyboard_reaches_every_control_and_sees_where_it_is(browser: Browser, path: Path):
    page, heard = opened(browser, path)
    seen = []
    for _ in range(page.evaluate(WALK)["count"]):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(WALK))
    assert [one["at"] for one in seen] == list(range(len(seen)))
    assert all(one["outlined"] and one["in"] for one in seen)
    page.locator("figure summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("figure details table").first.is_visible()
    assert len(heard) == 1
    page.close()


def test_stages_stand_in_lanes_above_the_line_in_its_colour(browser: Browser, tmp_path: Path):
    """A deep blue lane for the first graft from its beginning, a paler one of the second colour; none before it."""
    chart = report_pages.stages("a graft", "another")
    page = ReportPage(title="t", summary="s", commands=(), facts=(), sections=(Section(title="s", items=(chart,)),))
    shown, _ = opened(browser, write_report(tmp_path / "report.html", page))
    first, second, before = shown.evaluate("""() => {
      const canvas = document.querySelector("canvas");
      const { chartArea: { top }, scales: { x } } = Chart.getChart(canvas);
      const ratio = canvas.width / canvas.clientWidth;
      const pixel = (at, up) => Array.from(canvas.getContext("2d")
        .getImageData(Math.round(ratio * x.getPixelForValue(at)), Math.round(ratio * (top - up)), 1, 1).data);
      return [pixel(2.3, 36), pixel(3.3, 14), pixel(1, 14)];
    }""")
    shown.close()
    assert first[2] > first[0] + 60
    assert second[0] > second[2] + 60
    assert before[3] == 0


def test_a_network_and_a_matrix_are_inside_their_figures(browser: Browser, path: Path):
    """Names of 200 characters are shortened, and a line of the network is as wide as it is strong."""
    page, _ = opened(browser, path)
    outside = page.evaluate("""() => Array.from(document.querySelectorAll(".network"), (figure) => {
      const frame = figure.getBoundingClientRect();
      return Array.from(figure.querySelectorAll("svg text"), (text) => text.getBoundingClientRect())
        .filter((box) => box.left < frame.left || box.right > frame.right || box.width === 0).length;
    })""")
    assert outside == [0]
    widths = page.eval_on_selector_all(
        ".network line", "lines => lines.map((one) => parseFloat(getComputedStyle(one).strokeWidth))"
    )
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]
    assert page.locator(".matrix .heat tbody tr").count() >= 4
    page.close()
