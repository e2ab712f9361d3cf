"""Take the picture of a report that README and docs show: `python docs/take_report_picture.py RUN`.

Stretches of the page in two columns: title, key figures and the outcome; interactions and grafts over time. Needs the
extra `test` and a Chromium.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH, HEIGHT, SPACE = 1030, 1270, 24
PICTURE = Path(__file__).parent / "pictures" / "report.png"


def stretch(page: Page, top: float, bottom: float) -> Image.Image:
    """Return what the page shows between two heights."""
    clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}
    return Image.open(io.BytesIO(page.screenshot(clip=clip)))


def main(report: Path) -> None:
    """Take the picture of one report."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # as high as what is taken: a page that changes its size draws its figures again
        page = browser.new_page(viewport={"width": WIDTH, "height": 6000})
        page.goto(report.resolve().as_uri())
        figures, table, pairs = (
            page.locator(name).first.bounding_box() for name in (".figures", ".table", ".group:has(.network)")
        )
        head = stretch(page, 30, figures["y"] + figures["height"])
        outcome = stretch(page, table["y"] - SPACE, table["y"] - SPACE + HEIGHT - head.height)
        right = stretch(page, pairs["y"] - SPACE, pairs["y"] - SPACE + HEIGHT)
        browser.close()
    both = Image.new("RGB", (2 * WIDTH, HEIGHT))
    for picture, place in ((head, (0, 0)), (outcome, (0, head.height)), (right, (WIDTH, 0))):
        both.paste(picture, place)
    PICTURE.parent.mkdir(exist_ok=True)
    # a third of the size, and no colour is off by more than can be seen
    few = both.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "report.html")
