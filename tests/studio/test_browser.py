"""The studio in a real browser, as a person uses it: the mouse, the keyboard, two tabs, a reload, a telephone's width."""

import re
import shutil
import time
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"]  # fmt: skip
PAGES = ["draw", "train", "inside", "theory", "theory/ddim", "edit", "measure"]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class Told:
    """What a browser says and asks for while a test goes on."""

    def __init__(self, studio):
        self.studio, self.errors, self.outside = studio, [], []

    def follow(self, page):
        """Raise no error in the console, and ask nobody but the studio."""
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda r: self.outside.append(r.url) if self._leaves(r.url) else None)
        page.set_default_timeout(30_000)
        return page

    def _leaves(self, url):
        return urlsplit(url).netloc != f"localhost:{self.studio.port}" and not url.startswith(("blob:", "data:"))


@pytest.fixture
def told(studio):
    found = Told(studio)
    yield found
    assert not found.errors
    assert not found.outside


@pytest.fixture
def tab(chromium, studio, told):
    """A new visitor's first page; `tab("/draw")` opens it."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )

    def opened(path, **options):
        page = told.follow(context.new_page())
        if options:
            page.set_viewport_size(options)
        page.goto(f"http://localhost:{studio.port}{path}")
        page.wait_for_selector(".page *")
        return page

    yield opened
    context.close()


def drawn(page, steps=8, **address):
    """Open Draw, ask for a few steps, and wait until they are there."""
    page.get_by_label("Steps").fill(str(steps))
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text(re.compile("done in")).first.wait_for()


def until(page, condition, timeout=60_000):
    """Wait for a condition in the page; Playwright's own way is forbidden there, and rightly so."""
    end = time.monotonic() + timeout / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def pixels(page, canvas="canvas"):
    """What is on the first canvas."""
    return page.evaluate(f"document.querySelector('{canvas}').toDataURL()")


def test_an_image_is_drawn_step_by_step_and_can_be_scrubbed(tab):
    page = tab("/draw?run=tiny")
    seen = []
    page.expose_function("moved", lambda value: seen.append(value))
    page.evaluate("""() => { let last = ""; setInterval(() => {
        const now = document.querySelector(".timeline output").textContent;
        if (now !== last) { last = now; moved(now); } }, 4); }""")
    page.get_by_label("Sampler").select_option("ancestral")
    drawn(page, 200)
    assert len(seen) > 10  # it was there as it came, not at the end alone
    assert seen[-1] == "200 of 200"
    last = pixels(page)
    time_line = page.get_by_label("Step", exact=True)
    time_line.fill("0")
    assert page.locator(".timeline output").text_content() == "0 of 200"
    first = pixels(page)
    assert first != last
    page.get_by_role("radio", name="x_t").check()
    assert pixels(page) != first  # pure noise, where the prediction is a blur
    page.get_by_role("radio", name="ε̂").check()
    assert "log-SNR" in page.locator(".facts").text_content()
    time_line.fill("200")
    page.get_by_role("radio", name="x̂₀").check()
    assert pixels(page) == last


def test_what_is_drawn_can_be_taken_home(tab, tmp_path):
    page = tab("/draw?run=tiny&n=2&seed=7")
    drawn(page)
    with page.expect_download() as waiting:
        page.get_by_text("Download PNG").click()
    waiting.value.save_as(tmp_path / "a.png")
    from PIL import Image

    picture = Image.open(tmp_path / "a.png")
    assert picture.size == (32, 16)
    assert "--seed 7" in picture.text["fromnoise.command"]
    page.locator(".code").first.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == picture.text["fromnoise.command"]


def test_two_panels_differ_in_one_thing(tab):
    page = tab("/draw?run=tiny&n=1")
    page.get_by_label("Compare, changing only").select_option("seed")
    page.get_by_label("Seed of B").fill("5")
    drawn(page)
    page.get_by_label("Panel B").get_by_text("done in").wait_for()
    one, two = (page.evaluate(f"document.querySelectorAll('canvas')[{i}].toDataURL()") for i in (0, 1))
    assert one != two
    commands = page.locator("pre code").all_text_contents()
    first, second = (next(c for c in commands if c.startswith("fromnoise") and f"--seed {s}" in c) for s in (0, 5))
    assert first.replace("--seed 0", "--seed 5") == second
    page.get_by_label("Seed of B").fill("0")
    drawn(page)
    until(
        page,
        "document.querySelectorAll('canvas')[0].toDataURL() === document.querySelectorAll('canvas')[1].toDataURL()",
    )


def test_the_address_is_the_state(tab):
    page = tab("/draw?run=tiny")
    page.get_by_label("Images", exact=True).fill("3")
    page.get_by_label("Class").select_option("right")
    page.get_by_label("Guidance scale").fill("3")
    page.get_by_label("Sampler").select_option("ddim")
    page.get_by_label("eta").fill("0.5")
    drawn(page, 5)
    first = pixels(page)
    other = tab(page.evaluate("location.pathname + location.search"))
    assert other.get_by_label("Class").input_value() == "right"
    assert other.get_by_label("eta").input_value() == "0.5"
    other.get_by_text(re.compile("done in")).first.wait_for()  # the same job, whose frames are kept
    until(other, f"document.querySelector('canvas').toDataURL() === '{first}'")


def test_a_reload_in_the_middle_finds_the_job(tab, studio):
    page = tab("/draw?run=tiny&n=16&sampler=ancestral&steps=700")
    page.get_by_role("button", name="Draw", exact=True).click()
    until(page, "document.querySelector('.timeline output').textContent > ''")
    page.reload()
    page.wait_for_selector(".page *")
    page.get_by_text(re.compile("done in")).first.wait_for()
    assert page.locator(".timeline output").text_content() == "700 of 700"
    draws = [job for job in studio.get("/api/state")["queue"] if job["kind"] == "draw"]
    assert draws[-1]["state"] == "done"


def test_two_tabs_wait_for_each_other(tab):
    one, two = tab("/draw?run=tiny&n=16&sampler=ancestral&steps=600"), tab("/draw?run=tiny&n=1&steps=3&seed=1")
    one.get_by_role("button", name="Draw", exact=True).click()
    until(one, "document.querySelector('.timeline output').textContent > ''")
    two.get_by_role("button", name="Draw", exact=True).click()
    two.get_by_role("button", name=re.compile("draw…")).click()
    two.get_by_text("waiting", exact=True).first.wait_for()
    two.get_by_role("button", name="Cancel").first.click()  # the other tab's, from here
    two.get_by_text(re.compile("done in")).first.wait_for()
    one.get_by_role("button", name="Draw", exact=True).wait_for()


def test_the_keyboard_is_enough(tab):
    page = tab("/draw?run=tiny&n=1&steps=6")
    page.locator(".page select").first.focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if (
            page.evaluate("document.activeElement.textContent") == "Draw"
            and page.evaluate("document.activeElement.type") == "submit"
        ):
            break
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("done in")).first.wait_for()
    page.evaluate("document.activeElement.blur()")
    where = page.locator(".timeline output")
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    assert where.text_content() == "4 of 6"
    page.keyboard.press("Home")
    assert where.text_content() == "0 of 6"
    page.keyboard.press("ArrowRight")
    assert where.text_content() == "1 of 6"
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    until(page, "document.querySelector('.timeline output').textContent === '6 of 6'")
    page.get_by_role("button", name="Play").wait_for()


@pytest.mark.parametrize("path", PAGES)
def test_pages_fit_a_telephone_and_a_screen_in_both_themes(tab, path):
    page = tab(f"/{path}?run=tiny")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 850})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(120)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, scheme)
            ink, back = page.evaluate(
                "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
            )
            shades = [sum(map(int, re.findall(r"\d+", text)[:3])) for text in (ink, back)]
            assert (shades[0] < 200 < 600 < shades[1]) if scheme == "light" else (shades[1] < 200 < 600 < shades[0])
    names = page.evaluate("""[...document.querySelectorAll("main input, main select, main button, main textarea, main canvas")]
        .filter((e) => e.offsetParent && !e.labels?.length && !e.getAttribute("aria-label") && !e.textContent.trim()
                && !e.closest("label") && e.getAttribute("aria-hidden") !== "true").map((e) => e.outerHTML.slice(0, 90))""")
    assert not names  # everything that can be used says what it is


def test_nothing_jumps(tab):
    page = tab("/draw?run=tiny&n=4")
    page.evaluate("""() => { window.shifts = 0; new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifts += entry.value; })
        .observe({ type: "layout-shift", buffered: true }); }""")
    page.wait_for_timeout(700)  # what follows the click at once counts as its own
    drawn(page, 60)
    assert page.evaluate("shifts") < 0.1


def test_the_theme_is_remembered(tab):
    page = tab("/train")
    page.get_by_role("button", name="Light or dark").click()
    chosen = page.evaluate("document.documentElement.dataset.theme")
    assert chosen in ("light", "dark")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == chosen


def test_an_error_is_a_sentence_in_the_page(tab, told):
    page = tab("/draw?run=tiny&label=left")
    page.get_by_label("Steps").fill("5")
    page.evaluate("document.querySelector('form').noValidate = true")
    page.get_by_label("Steps").fill("99999")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_role("alert").get_by_text("steps must lie between 1 and 1000").wait_for()
    drawn(page, 4)
    told.errors.clear()  # the browser's own word of a status


def test_train_for_a_while_pause_reload_and_resume(tab, studio, pictures):
    page = tab("/train")
    page.get_by_label("Recipe", exact=True).select_option("digits")
    page.get_by_label("Name of the run").fill("mine")
    page.get_by_label("Minutes", exact=True).fill("0.3")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Settings, one per line").fill("\n".join([
        "network.channels=8", "network.groups=4", "network.blocks=1", "network.attention=[]", "train.batch_size=8",
        "train.optimizer=adamw", "train.checkpoint_every=50", "train.sample_every=50", "sample.steps=4"]))  # fmt: skip
    page.get_by_role("button", name="Start training").click()
    page.locator(".badge", has_text="training").first.wait_for()
    until(page, "document.querySelectorAll('.chart path.line').length >= 4", timeout=60_000)
    page.get_by_alt_text("Samples").wait_for(timeout=60_000)
    page.get_by_role("button", name="Pause").click()
    page.locator(".badge", has_text="paused").first.wait_for()
    at = studio.get("/api/runs/mine/log?after=0")["last"]
    page.reload()
    page.locator(".badge", has_text="paused").first.wait_for()
    page.get_by_role("button", name="Resume").click()
    page.locator(".badge", has_text="training").first.wait_for()
    studio.until(lambda: studio.state("mine") == "ended", 90)
    steps = studio.get("/api/runs/mine/log?after=0")["columns"]["step"]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > at > 0
    page.get_by_role("link", name="Draw").last.click()
    page.wait_for_url(re.compile("/draw"))
    drawn(page, 3)


def test_images_of_ones_own_are_read_and_what_is_none_is_named(tab, pictures, tmp_path):
    page = tab("/train")
    page.get_by_role("radio", name="my own").check()
    (tmp_path / "notes.txt").write_text("no image")
    page.locator(".drop input").set_input_files([*sorted(pictures.rglob("*.png"))[:3], tmp_path / "notes.txt"])
    page.get_by_text("3 images").wait_for()
    page.get_by_text("1 left out").wait_for()
    page.get_by_text(re.compile("notes.txt: cannot be read as an image")).wait_for()


@pytest.mark.parametrize("view", ["forward", "schedules", "levels", "bound", "plane", "walks"])
def test_look_inside(tab, view):
    page = tab(f"/inside?run=tiny&view={view}&seconds=0.5")
    if view == "plane":
        page.get_by_role("button", name="Train, then sample").click()
    if view == "schedules":
        until(page, "document.querySelectorAll('.chart path.line').length >= 12")
        return
    page.get_by_text(re.compile("^done in")).wait_for(timeout=60_000)
    assert page.evaluate("document.querySelectorAll('.chart path.line, canvas').length") > 0


def test_a_distribution_can_be_sketched(tab):
    page = tab("/inside?view=plane&shape=sketch&seconds=0.5")
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=20)
    page.mouse.up()
    page.get_by_text("the exact denoiser").click()
    page.get_by_role("button", name="Train, then sample").click()
    page.get_by_text(re.compile("^done in")).wait_for()
    until(page, "document.querySelector('.facts').textContent.includes('samples')")


def test_a_chapter_checks_its_identities(tab):
    page = tab("/theory/ddim")
    assert page.locator("math").count() > 3
    page.get_by_role("button", name="Check now").click()
    until(
        page,
        "[...document.querySelectorAll('td')].filter((e) => e.textContent.trim() === 'ok').length >= 5",
        timeout=60_000,
    )
    assert not page.get_by_text("FAIL", exact=True).count()


def test_a_mask_is_painted_and_the_rest_stays(tab, png):
    """What is outside of the mask comes out as it went in, but for one rounding."""
    page = tab("/edit?run=tiny&kind=inpaint")
    page.locator(".drop input").first.set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": png((16, 16))}
    )
    page.get_by_text("mine.png").wait_for()
    box = page.locator("canvas").first.bounding_box()
    x, y, size = box["x"], box["y"], box["width"]
    page.mouse.move(x + 0.1 * size, y + 0.75 * size)
    page.mouse.down()
    page.mouse.move(x + 0.9 * size, y + 0.75 * size, steps=10)
    page.mouse.up()
    page.get_by_label("Images").fill("2")
    page.get_by_label("Steps").fill("5")
    page.get_by_role("button", name="Redraw it").first.click()
    page.get_by_text(re.compile("done in")).first.wait_for(timeout=60_000)
    commands = page.locator("pre code").all_text_contents()
    assert any(text.startswith("fromnoise edit inpaint") and "mine.png" in text for text in commands)
    with page.expect_download() as waiting:
        page.locator("a[href*='result.png']").first.click()
    import numpy as np
    from PIL import Image

    made = np.asarray(Image.open(waiting.value.path()).convert("RGB"))[:16, :16].astype(int)
    kept = np.abs(made[:8] - [200, 30, 40])
    assert kept.max() <= 1
    assert np.abs(made[10:14] - [200, 30, 40]).max() > 5


def test_a_wrong_upload_is_a_sentence(tab, told):
    page = tab("/edit?run=tiny&kind=image-to-image")
    page.locator(".drop input").first.set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": b"no image at all"}
    )
    page.get_by_text(re.compile("cannot be read as an image")).first.wait_for()
    told.errors.clear()  # the browser's own word of a status


def test_a_blind_test_is_played_on_the_keyboard(tab):
    page = tab("/measure?run=tiny&view=blind&k=3")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Pair 1 of 3").wait_for()
    page.evaluate("document.activeElement.blur()")
    for number in (1, 2, 3):
        page.get_by_text(f"Pair {number} of 3").wait_for()
        page.keyboard.press("1")
        page.wait_for_timeout(300)
    page.get_by_text(re.compile(r"\b[0-3] of 3\b")).first.wait_for()


def test_a_page_that_is_left_asks_nothing_more(tab, studio):
    """Its timers end with it: only the question after the queue goes on."""
    page = tab("/train?run=tiny")
    page.wait_for_timeout(800)
    page.get_by_role("link", name="Theory").click()
    page.wait_for_url(re.compile("theory"))
    page.wait_for_timeout(700)
    asked = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.wait_for_timeout(5000)
    assert set(asked) <= {"/api/state"}


def test_a_studio_that_ended_is_said_and_its_return_noticed(chromium, shelf, starting):
    context = chromium.new_context()
    page = context.new_page()
    with starting(shelf) as studio:
        page.goto(f"http://localhost:{studio.port}/draw?run=tiny")
        page.get_by_role("button", name="Draw", exact=True).wait_for()
        port = studio.port
    page.get_by_role("alert").get_by_text("the studio does not answer").wait_for()
    with starting(shelf, "--port", port):
        page.get_by_role("button", name="idle").wait_for(timeout=60_000)
        drawn(page, 3)
    context.close()
