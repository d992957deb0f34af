"""``semcast web`` in a real browser: each tab from end to end, bad uploads, two visitors, a phone, and nothing from elsewhere.

Chromium is the system's (``apt-get install chromium``), driven by playwright. Where either is not there these tests are skipped;
CI sets SEMCAST_BROWSER=1, and then they fail instead.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import skimage.data
from PIL import Image

from semcast.photos import read_mark

pytestmark = pytest.mark.slow
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]  # fmt: skip
PATIENCE = int(os.environ.get("SEMCAST_PATIENCE", 120_000))
"""Milliseconds: a busy machine is no failure."""
PICTURE = ":is(.compare, figure:not(.wide)) img[src]"
ARRIVED = "[data-panel=Link] .compare img[src]:not(.top)"
OURS = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
CONTRAST = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; })
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const under = (node) => { for (; node; node = node.parentElement) {
    const c = parse(getComputedStyle(node).backgroundColor); if (c[3] > 0.5) return c; } return [255, 255, 255, 1]; };
  const found = [];
  for (const node of document.querySelectorAll("main *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(".hidden-upload") || node.tagName === "OPTION") continue;
    const style = getComputedStyle(node), ink = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(ink)), light(under(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""


def lacking(reason: str) -> Any:
    """Skip, or fail where these tests must run."""
    if os.environ.get("SEMCAST_BROWSER") == "1":
        pytest.fail(f"SEMCAST_BROWSER=1, and {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None:
        lacking("there is no Chromium: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("there is no playwright: pip install playwright")
    sound = os.environ.get("SEMCAST_FAKE_SOUND") or str(tmp_path_factory.mktemp("mic") / "face.wav")
    _write_sound(Path(sound))
    with sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={sound}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield browser
        browser.close()


def _write_sound(path: Path) -> None:
    """What the fake microphone hears, again and again: a face on the air."""
    from semcast.web import radio
    from semcast.web.shelf import Shelf

    shelf = Shelf("cpu")
    tape, _ = radio.make(shelf, shelf.portrait.need_face(), "linear", 256, 10.0)
    path.write_bytes(radio.Tape(np.pad(tape.samples, (0, 24_000))).wav())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("nicegui") if os.environ.get("SEMCAST_BROWSER") != "1" else None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.perf_counter()
    command = [sys.executable, "-m", "semcast", "web", "--port", str(port), "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTEST_CURRENT_TEST",)}
    source = str(Path(__file__).resolve().parents[1] / "src")
    environment["PYTHONPATH"] = source + os.pathsep + environment.get("PYTHONPATH", "")
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    where = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(240):
            try:
                urlopen(where).read()
                break
            except URLError:
                assert server.poll() is None, server.stderr.read() if server.stderr else ""
                time.sleep(0.5)
        print(f"the page was there after {time.perf_counter() - begun:.1f} s")
        yield where
    finally:
        server.terminate()
        said = server.communicate(timeout=20)[1]
    assert "Traceback" not in said, said


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """A new visitor: their own browser profile; what the page asks for and what goes wrong in it is looked at in the end."""
    contexts, asked, wrong = [], [], []

    def come(**options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda ws: asked.append(ws.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.wait_for_selector(ARRIVED)
        return page

    yield come
    for context in contexts:
        for page in context.pages:
            assert "Traceback" not in page.content()
        context.close()
    assert asked and not [url for url in asked if not url.startswith(OURS)]
    assert not wrong


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def give(page: Any, kind: int, name: str, data: bytes) -> None:
    """Put a file into one of the uploaders: the photo's, the codec's, the radio's (in the order of the page)."""
    files = [{"name": name, "mimeType": "application/octet-stream", "buffer": data}]
    page.locator("input[type=file]").nth(kind).set_input_files(files)


def set_slider(page: Any, tab: str, label: str, place: int) -> None:
    script = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }"
    page.locator(f"[data-panel={tab}] label.range", has_text=label).locator("input").evaluate(script, str(place))


def choose(page: Any, tab: str, label: str, value: str) -> None:
    page.locator(f"[data-panel={tab}] label.field", has_text=label).locator("select").select_option(value)


def source(page: Any, selector: str) -> str:
    return str(page.locator(selector).first.get_attribute("src"))


def changed(page: Any, selector: str, before: str) -> float:
    """Wait until a picture is another one; the seconds that it took."""
    begun = time.perf_counter()
    script = "([s, b]) => { const e = document.querySelector(s); return e && e.src && e.src !== b }"
    page.wait_for_function(script, arg=[selector, before])
    return time.perf_counter() - begun


def status(page: Any, pattern: str) -> str:
    page.wait_for_function("(p) => new RegExp(p).test(document.querySelector('.status').textContent)", arg=pattern)
    return str(page.inner_text(".status"))


def open_tab(page: Any, tab: str, shown: str) -> None:
    page.click(f"[data-tab={tab}]")
    page.wait_for_selector(f"[data-panel={tab}] {shown}")


# ---- the tabs --------------------------------------------------------------------------------------------------------


def test_link(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    assert "196,608" in page.inner_text("[data-panel=Link]") and page.locator(".constellation .came").count() >= 1
    page.wait_for_selector("[data-panel=Link] .pictures > figure img[src]")
    assert page.locator(".strip img[src]").count() == 6
    took = []
    for place in (3, 5, 8, 12, 4, 9):
        before = source(page, ARRIVED)
        set_slider(page, "Link", "k, complex symbols", place)
        took.append(changed(page, ARRIVED, before))
    for place in (0, 5, 25):
        before = source(page, ARRIVED)
        set_slider(page, "Link", "SNR", place)
        took.append(changed(page, ARRIVED, before))
    print("redraws in s:", ", ".join(f"{each:.2f}" for each in sorted(took)), "load", os.getloadavg()[0])
    choose(page, "Link", "System", "linear")
    page.wait_for_function("document.querySelector('[data-panel=Link] .side').textContent.includes('linear')")
    before = source(page, "[data-panel=Link] .compare img.top")
    choose(page, "Link", "Compare with", "generative")
    changed(page, "[data-panel=Link] .compare img.top", before)
    set_slider(page, "Link", "k, complex symbols", 0)  # 16 symbols: generative needs 32
    assert "works with 32 to 1280 symbols" in status(page, "works with")
    choose(page, "Link", "Compare with", "photo")
    status(page, "^$")
    before = source(page, ARRIVED)
    choose(page, "Link", "System", "sketch")
    changed(page, ARRIVED, before)
    with page.expect_download() as download:
        page.click("text=Save what arrived")
    download.value.save_as(tmp_path / "a.png")
    mark = read_mark(tmp_path / "a.png")
    assert mark is not None and mark.system == "sketch" and mark.symbols == 16


def test_the_slider_of_two_pictures_goes_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("[data-panel=Link] .compare input").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.locator("[data-panel=Link] .compare").evaluate("e => e.style.getPropertyValue('--at')") == "60%"
    page.locator("[data-tab=Codec]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-panel=Codec] .compare img[src]")


def test_codec(visit: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("constriction")
    page = visit()
    shown = "[data-panel=Codec] .compare img[src]:not(.top)"
    open_tab(page, "Codec", "figure.wide img[src]")
    before = source(page, shown)
    set_slider(page, "Codec", "Bytes of the file", 65)  # 800 bytes
    changed(page, shown, before)
    page.wait_for_function("/7\\d\\d bytes, /.test(document.querySelector('[data-panel=Codec]').textContent)")
    before = source(page, shown)
    page.click("[data-panel=Codec] .chips button:has-text('nose')")
    page.wait_for_selector("[data-panel=Codec] .chips button[aria-pressed=true]")
    layout = page.locator("[data-panel=Codec] .clickable img")
    box = layout.bounding_box()
    layout.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.55})  # the nose again: care no longer
    page.wait_for_function("!document.querySelector('[data-panel=Codec] .chips button[aria-pressed=true]')")
    choose(page, "Codec", "Compare with", "webp")
    page.wait_for_function("document.querySelector('[data-panel=Codec]').textContent.includes('webp: ')")
    with page.expect_download() as download:
        page.click("text=Save as .sem")
    download.value.save_as(tmp_path / "me.sem")
    data = (tmp_path / "me.sem").read_bytes()
    assert 300 < len(data) <= 800
    before = source(page, shown)
    choose(page, "Codec", "The photo shows", "street")
    changed(page, shown, before)
    before = source(page, shown)
    give(page, 1, "me.sem", data)
    changed(page, shown, before)
    page.wait_for_function("document.querySelector('[data-panel=Codec]').textContent.includes('An uploaded file')")
    give(page, 1, "words.sem", b"these are words")
    assert "sem" in status(page, "sem file")


def test_privacy(visit: Callable[..., Any]) -> None:
    page = visit()
    open_tab(page, "Privacy", "figure:nth-of-type(3) img[src]")
    page.click("text=Repaint the private pixels")
    page.wait_for_selector(".proof:has-text('0 of 640 protected symbols differ')")
    page.wait_for_selector("[data-panel=Privacy] .chips button")
    face = page.locator("[data-panel=Privacy] .clickable img")
    box = face.bounding_box()
    face.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.5})
    page.wait_for_selector("[data-panel=Privacy] .chips button[aria-pressed=true]:has-text('nose')")
    for name in ("eyes", "nose"):
        page.click(f"[data-panel=Privacy] .chips button:has-text('{name}')")
    assert "to make it private" in status(page, "private")
    page.click("[data-panel=Privacy] .chips button:has-text('mouth')")
    choose(page, "Privacy", "Protection", "filter")
    status(page, "^$")
    choose(page, "Privacy", "System", "sketch")
    assert "filter works on the codes" in status(page, "filter works")


def test_radio(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    picture = "[data-panel=Radio] figure.wide img"
    open_tab(page, "Radio", "figure.wide img[src]")
    page.wait_for_function("document.querySelector('[data-panel=Radio]').textContent.includes('1 burst found')")
    page.wait_for_function("document.querySelector('audio').duration > 0.5")
    with page.expect_download() as download:
        page.click("text=Save the sound")
    download.value.save_as(tmp_path / "me.wav")
    before = source(page, picture)
    set_slider(page, "Radio", "Receiver mistuned", 27)  # +35 Hz
    changed(page, picture, before)
    page.wait_for_function("/[+]3[45][.]\\d Hz off/.test(document.querySelector('[data-panel=Radio]').textContent)")
    set_slider(page, "Radio", "Receiver mistuned", 20)
    set_slider(page, "Radio", "SNR in 2.4 kHz", 35)  # no more noise
    give(page, 2, "evening.wav", (tmp_path / "me.wav").read_bytes())
    page.wait_for_function("document.querySelector('[data-panel=Radio]').textContent.includes('evening.wav')")
    give(page, 2, "words.wav", b"these are words")
    assert status(page, "words.wav").startswith("words.wav")


def test_the_microphone_hears_a_burst(visit: Callable[..., Any]) -> None:
    page = visit(permissions=["microphone"])
    open_tab(page, "Radio", "figure.wide img[src]")
    set_slider(page, "Radio", "SNR in 2.4 kHz", 35)
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_function("[...document.querySelectorAll('button')].some((b) => /Stop .([4-9]|\\d\\d) s/.test(b.textContent))")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_function("/recording.wav.*burst/.test(document.querySelector('[data-panel=Radio]').textContent)")
    page.wait_for_function("document.querySelector('[data-panel=Radio]').textContent.includes('linear, 256 symbols')")


# ---- what comes in ---------------------------------------------------------------------------------------------------


def test_a_photo_comes_in_and_bad_files_are_a_sentence(visit: Callable[..., Any]) -> None:
    from test_web import claims

    page = visit()
    before = source(page, ARRIVED)
    portrait = skimage.data.astronaut()[:300, 60:380]
    begun = time.perf_counter()
    give(page, 0, "<b>me.png", png(portrait))
    changed(page, ARRIVED, before)
    print(f"a new photo took {time.perf_counter() - begun:.2f} s, load {os.getloadavg()[0]:.1f}")
    assert "<b>me.png, 320 x 300" in page.inner_text(".photo")
    kept = source(page, ARRIVED)
    for name, data, says in (
        ("words.jpg", b"these are words", "words.jpg is not an image"),
        ("empty.png", b"", "empty.png is empty"),
        ("wide.png", claims(10_000, 6_000), "wide.png is 60 megapixels"),
        ("bomb.png", claims(60_000, 60_000), "bomb.png is more than can be opened"),
    ):
        give(page, 0, name, data)
        assert status(page, re.escape(name)).startswith(says)
    give(page, 0, "large.jpg", b"\xff\xd8" + bytes(26_000_000))
    status(page, "25 MB")
    assert source(page, ARRIVED) == kept
    give(page, 0, "wall.png", png(np.full((200, 300, 3), 90, np.uint8)))
    status(page, "face")


def test_two_visitors_do_not_see_each_other(visit: Callable[..., Any]) -> None:
    one, two = visit(), visit()
    theirs = source(two, ARRIVED)
    before = source(one, ARRIVED)
    give(one, 0, "secret-name.png", png(skimage.data.astronaut()[::-1, ::-1][::-1, ::-1][:310, 40:390]))
    changed(one, ARRIVED, before)
    mine = source(one, ARRIVED)
    assert source(two, ARRIVED) == theirs != mine
    assert "secret-name" in one.content() and "secret-name" not in two.content()
    set_slider(two, "Link", "k, complex symbols", 2)
    changed(two, ARRIVED, theirs)
    assert source(one, ARRIVED) == mine
    one.close()
    set_slider(two, "Link", "k, complex symbols", 6)
    changed(two, ARRIVED, source(two, ARRIVED))


def test_twenty_at_once(address: str) -> None:
    def load(_: int) -> int:
        with urlopen(address) as answer:
            answer.read()
            return int(answer.status)

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(load, range(20))) == [200] * 20
    with pytest.raises(URLError, match="403"):
        urlopen(Request(address, headers={"Host": "evil.example"}))


# ---- how it looks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.wait_for_selector("[data-panel=Link] table.numbers")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) < 80) == (scheme == "dark")
    for tab in ("Link", "Codec", "Privacy", "Radio"):
        open_tab(page, tab, "img[src]")
        page.mouse.move(1, 1)
        assert page.evaluate(CONTRAST) == []


def test_a_phone_is_wide_enough(visit: Callable[..., Any]) -> None:
    page = visit(viewport={"width": 360, "height": 740}, has_touch=True)
    for tab in ("Link", "Codec", "Privacy", "Radio"):
        open_tab(page, tab, "img[src]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        picture, controls = (page.locator(f"[data-panel={tab}] {what}").first.bounding_box() for what in (PICTURE, "input"))
        assert picture["width"] <= 360 and controls["width"] <= 360
