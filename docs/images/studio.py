"""Pictures of the studio for docs/studio.md: python docs/images/studio.py FOLDER, with runs "digits" and "emoji-text".

Needs playwright and Chromium. FOLDER is copied first: nothing is left in it.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

OUT = Path(__file__).parent / "studio"


def wait(page: Page, condition: str) -> None:
    """Until something is so in the page."""
    for _ in range(1200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise SystemExit(f"never so: {condition}")


def drawn(page: Page) -> None:
    page.get_by_role("button", name="Draw", exact=True).click()
    wait(page, "document.querySelector('.facts')?.textContent.includes('done in')")


def draw(page: Page) -> None:
    page.get_by_label("Compare, changing only").select_option("guidance")
    page.get_by_label("Guidance scale of B").fill("1")
    drawn(page)
    page.wait_for_timeout(800)
    page.get_by_label("Step", exact=True).fill("16")
    page.get_by_role("radio", name="x̂₀").check()


def train(page: Page) -> None:
    wait(page, "document.querySelectorAll('.chart path.line').length > 2")
    page.wait_for_timeout(1500)


def plane(page: Page) -> None:
    page.get_by_role("button", name="Train, then sample").click()
    wait(page, "[...document.querySelectorAll('small')].some((e) => e.textContent.startsWith('done in'))")
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Time", exact=False).last.fill("28")


def theory(page: Page) -> None:
    page.get_by_role("button", name="Check now").click()
    wait(page, "[...document.querySelectorAll('td')].filter((e) => e.textContent.trim() === 'ok').length > 9")


def edit(page: Page) -> None:
    page.wait_for_timeout(2000)
    page.get_by_role("button", name="From the training data").click()
    page.wait_for_timeout(4000)
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    x, y, size = box["x"], box["y"], box["width"]
    page.mouse.move(x + size * 0.15, y + size * 0.65)
    page.mouse.down()
    for k in range(4):
        page.mouse.move(x + size * (0.85 if k % 2 == 0 else 0.15), y + size * (0.65 + 0.06 * k), steps=15)
    page.mouse.up()
    page.get_by_role("button", name="Redraw it").first.click()
    wait(page, "document.querySelector('main').textContent.includes('done in')")


def measure(page: Page) -> None:
    page.get_by_role("button", name="Start").click()
    page.wait_for_timeout(8000)


PICTURES = {
    "draw": ("/draw?run=emoji-text&n=4&seed=3&text=green+apple%0Ared+heart%0Ayellow+flower%0Ablue+car&steps=30", draw),
    "train": ("/train?run=digits", train),
    "plane": ("/inside?view=plane&shape=spiral&seconds=20", plane),
    "theory": ("/theory/guidance", theory),
    "edit": ("/edit?run=digits&kind=inpaint", edit),
    "measure": ("/measure?run=digits&view=blind", measure),
}
"""Each page: its address, and what is done there."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("only", nargs="*")
    words = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        runs = shutil.copytree(words.folder, Path(place) / "runs")
        command = [sys.executable, "-m", "fromnoise", "studio", "runs", "--port", "0", "--no-browser"]
        studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=runs.parent)
        assert studio.stdout is not None
        address = studio.stdout.readline().strip().rstrip("/")
        try:
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
                )
                for name, (path, act) in PICTURES.items():
                    if words.only and name not in words.only:
                        continue
                    page = chromium.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
                    page.goto(address + path)
                    page.wait_for_selector(".page *")
                    page.wait_for_timeout(1500)
                    act(page)
                    page.mouse.move(5, 400)
                    page.wait_for_timeout(500)
                    page.screenshot(path=OUT / f"{name}.png")
                    page.close()
                    print(OUT / f"{name}.png")
        finally:
            studio.terminate()
            studio.wait(10)


if __name__ == "__main__":
    main()
