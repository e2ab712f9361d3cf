"""Take the picture of the live page that the docs show: `python docs/take_live_page_picture.py RUN`.

Needs the extra `test` and a Chromium.
"""

import io
import shutil
import sys
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from accredit.dashboard import Address, watch, watched

WIDTH = 1400
PICTURE = Path(__file__).parent / "pictures" / "live_page.png"


def taken(url: str) -> Image.Image:
    """Return what the page shows from its head to the contributions."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 4000})
        page.goto(url)
        page.locator(".state", has_text="finished").wait_for()
        page.locator("#story-0").wait_for()
        page.wait_for_timeout(2000)
        last = page.locator("#story-0").bounding_box()
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": last["y"] + last["height"] + 24}
        picture = Image.open(io.BytesIO(page.screenshot(clip=clip)))
        browser.close()
    return picture


def main(folder: Path) -> None:
    """Take the picture of one run."""
    urls: list[str] = []
    ready, stop = threading.Event(), threading.Event()
    run = watched(folder, folder.name)
    reports = {"on_ready": lambda url: (urls.append(url), ready.set()), "should_stop": stop.is_set}
    page = threading.Thread(target=watch, args=([run], Address(port=0)), kwargs=reports)
    page.start()
    ready.wait()
    try:
        both = taken(urls[0]).convert("RGB")
        few = both.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    finally:
        stop.set()
        page.join()
    few.save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
