"""The page without a browser: what it takes in, what it draws, who waits for whom, and who may come in."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import skimage.data
from nicegui import core
from PIL import Image
from yardstick import slowness

from semcast.errors import BadInput, Damaged, DoesNotFit, SemcastError
from semcast.photos import read_mark
from semcast.web import codec, link, privacy, radio, work
from semcast.web.images import SIDE, constellation, encode, show, stamp
from semcast.web.limits import MOST_BYTES, MOST_UPLOADS, Pace, clean_name, read_photo, read_recording
from semcast.web.pages import radio as radio_page
from semcast.web.pages.desk import Desk
from semcast.web.shelf import Shelf
from semcast.web.visitor import Face, Guests, Subject, Visitor
from semcast.web.work import Queue, Superseded


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def claims(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels; there are none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf("cpu")


@pytest.fixture
def subject(shelf: Shelf) -> Subject:
    return shelf.portrait.fresh()


@pytest.fixture
def face(subject: Subject) -> Face:
    return subject.need_face()


# ---- what comes in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "me.jpg is empty"),
        (b"these are words", "me.jpg is not an image"),
        (claims(10_000, 6_000), "me.jpg is 60 megapixels: a photo here has at most 50"),
        (claims(60_000, 60_000), "me.jpg is more than can be opened"),
        (claims(300, 200), "me.jpg is a truncated or damaged image"),
        (b"\xff\xd8\xff" + bytes(MOST_BYTES), "me.jpg is larger than 25 MB"),
    ],
    ids=["nothing", "text", "60 megapixels", "bomb", "cut off", "large"],
)
def test_a_bad_photo_is_one_sentence(data: bytes, says: str) -> None:
    with pytest.raises(SemcastError) as error:
        read_photo(data, "../up/me.jpg")
    assert str(error.value).startswith(says) and "\n" not in str(error.value) and "/" not in str(error.value)


def test_a_photo_is_read_in_memory_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    assert np.array_equal(read_photo(png(pixels), "a.png"), pixels)
    assert not list(tmp_path.iterdir())


def test_names_are_shown_clean() -> None:
    assert clean_name("C:\\photos\\me.jpg") == "me.jpg" and clean_name("a\nb\x00.png") == "ab.png"
    assert len(clean_name("x" * 500)) == 60 and clean_name("") == "the file"


def test_uploads_have_a_pace() -> None:
    pace = Pace()
    for second in range(MOST_UPLOADS):
        pace.count(float(second))
    with pytest.raises(BadInput, match="wait a little"):
        pace.count(40.0)
    pace.count(1000.0)
    visitor = Visitor("tab")
    for _ in range(MOST_UPLOADS):
        visitor.count_upload()
    with pytest.raises(BadInput, match="wait a little"):
        visitor.take_photo(b"", "a.png")


@pytest.mark.parametrize("data", [b"", b"words", b"RIFF\x00\x00\x00\x00WAVE"], ids=["nothing", "text", "cut off"])
def test_a_bad_recording_is_one_sentence(data: bytes) -> None:
    with pytest.raises(SemcastError) as error:
        read_recording(data, "evening.wav")
    assert str(error.value).startswith("evening.wav") and "tmp" not in str(error.value)


def test_a_recording_that_is_too_long_is_refused() -> None:
    tape = radio.Tape(np.zeros(8_000 * 121, np.float32), 8_000)
    with pytest.raises(BadInput, match="at most 120 s"):
        read_recording(tape.wav(), "long.wav")


# ---- visitors and their queue ----------------------------------------------------------------------------------------


def test_visitors_have_their_own_photo_and_leave_nothing(shelf: Shelf) -> None:
    guests = Guests(2)
    one, two = guests.welcome("one"), guests.welcome("two")
    with pytest.raises(BadInput, match="2 tabs are open"):
        guests.welcome("three")
    one.subject, two.subject = shelf.portrait.fresh(), shelf.portrait.fresh()
    one.need_face().kept["codes"] = 1
    assert not two.need_face().kept and not shelf.portrait.need_face().kept.get("codes")
    guests.leave("one")
    assert one.subject is None and list(guests.there) == ["two"]
    guests.welcome("three")


def test_who_is_away_keeps_nobody_out_and_finds_all_when_back(shelf: Shelf) -> None:
    guests = Guests(1)
    one = guests.welcome("one")
    one.subject = shelf.portrait.fresh()
    guests.step_out("one")
    guests.step_out("nobody")
    guests.welcome("two")
    with pytest.raises(BadInput, match="1 tabs are open"):
        guests.welcome("three")
    guests.come_back("one")
    assert one.subject is not None and guests.present == 2
    guests.step_out("one")
    guests.leave("one")
    assert guests.present == 1 and not guests.away


def test_a_photo_without_a_face_is_kept_for_the_codec_alone() -> None:
    visitor = Visitor("tab")
    with pytest.raises(BadInput, match="choose a photo first"):
        visitor.need()
    subject = visitor.take_photo(png(np.full((90, 120, 3), 128, np.uint8)), "wall.png")
    assert subject.scene.shape == (256, 256, 3) and subject.size == (120, 90)
    with pytest.raises(BadInput, match="face"):
        visitor.need_face()


def run(act: Callable[[Queue], object]) -> object:
    async def inside() -> object:
        queue = Queue()
        try:
            return await act(queue)  # type: ignore[misc]
        finally:
            queue.close()

    return asyncio.run(inside())


def test_of_one_slider_only_the_newest_place_is_computed() -> None:
    done: list[int] = []

    async def act(queue: Queue) -> list[object]:
        wishes = [queue.run("tab", "link", lambda i=i: done.append(i) or i) for i in range(20)]
        return await asyncio.gather(*wishes, return_exceptions=True)

    results = run(act)
    assert isinstance(results, list) and results[-1] == 19 and len(done) <= 2
    assert all(isinstance(result, Superseded) for result in results if not isinstance(result, int))


def test_twenty_visitors_are_served_in_turn_quick_before_slow() -> None:
    order: list[str] = []
    places: list[int] = []

    async def act(queue: Queue) -> None:
        gate = threading.Event()
        first = asyncio.create_task(queue.run("zero", "a", gate.wait))
        await asyncio.sleep(0.05)
        rest = [queue.run(f"slow {i}", "a", lambda i=i: order.append(f"slow {i}"), slow=True) for i in range(2)]
        for i in range(20):
            rest.append(queue.run(f"{i}", "a", lambda i=i: order.append(f"{i}"), tell=places.append if i == 9 else None))
        tasks = [asyncio.create_task(wish) for wish in rest]
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(first, *tasks)

    run(act)
    assert order == [f"{i}" for i in range(20)] + ["slow 0", "slow 1"]
    assert places[0] == 10 and places[-1] == -1 and places == sorted(places, reverse=True)


def test_who_leaves_is_waited_for_no_longer_and_an_error_stops_nobody() -> None:
    done: list[str] = []

    async def act(queue: Queue) -> None:
        gate = threading.Event()
        first = asyncio.create_task(queue.run("zero", "a", gate.wait))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(queue.run("gone", "a", lambda: done.append("gone")))
        bad = asyncio.create_task(queue.run("bad", "a", lambda: 1 / 0))
        good = asyncio.create_task(queue.run("good", "a", lambda: done.append("good")))
        await asyncio.sleep(0.05)
        queue.leave("gone")
        gate.set()
        results = await asyncio.gather(first, gone, bad, good, return_exceptions=True)
        assert isinstance(results[1], Superseded) and isinstance(results[2], ZeroDivisionError)

    run(act)
    assert done == ["good"]


def test_what_goes_wrong_with_what_was_overtaken_is_not_said() -> None:
    async def act(queue: Queue) -> list[object]:
        gate = threading.Event()
        old = asyncio.create_task(queue.run("one", "link", lambda: gate.wait() / 0))
        await asyncio.sleep(0.05)
        new = asyncio.create_task(queue.run("one", "link", lambda: "new"))
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(old, new, return_exceptions=True)

    old, new = run(act)  # type: ignore[misc]
    assert isinstance(old, Superseded) and new == "new"


def test_another_photo_forgets_no_file_and_a_tab_that_failed_is_tried_again(subject: Subject) -> None:
    drawn: list[str] = []

    async def draw() -> None:
        drawn.append("Link")
        if len(drawn) == 1:
            raise BadInput("there is no face")

    async def act(queue: Queue) -> list[object]:
        desk = Desk(Shelf("cpu"), queue, Visitor("one"))
        desk.visitor.subject = subject
        desk.start = lambda act: tasks.append(asyncio.create_task(desk.guard(act)))  # type: ignore[method-assign, assignment]
        tasks: list[asyncio.Task[None]] = []
        desk.follow("Link", draw)
        gate = threading.Event()
        first = asyncio.create_task(queue.run("zero", "a", gate.wait))
        await asyncio.sleep(0.05)
        wishes = [asyncio.create_task(queue.run("one", kind, lambda: "read")) for kind in ("photo", "sem", "link")]
        await asyncio.sleep(0.05)
        desk.open_tab = "Link"
        desk.photo_changed()
        gate.set()
        found = await asyncio.gather(*wishes, first, *tasks, return_exceptions=True)
        desk.show("Link")
        await asyncio.gather(*tasks)
        desk.show("Link")  # it is drawn: not again
        await asyncio.gather(*tasks)
        return found

    found = run(act)
    assert isinstance(found, list) and found[:2] == ["read", "read"] and isinstance(found[2], Superseded)
    assert drawn == ["Link", "Link"]


def test_what_is_computed_for_who_left_stops(shelf: Shelf, face: Face) -> None:
    """A network asks at each of its layers; what is loaded for all is loaded to its end."""
    shelf.parser.labels(face.tensor)
    begun, layers = threading.Event(), [0]
    watched = next(shelf.parser.children()).register_forward_pre_hook(lambda *_: begun.set())

    def forever() -> None:
        for _ in range(2000):
            shelf.parser.labels(face.tensor)
            layers[0] += 1

    async def act(queue: Queue) -> object:
        gone = asyncio.create_task(queue.run("gone", "a", forever))
        other = asyncio.create_task(queue.run("other", "a", lambda: "computed"))
        await asyncio.to_thread(begun.wait)
        queue.leave("gone")
        return await asyncio.gather(gone, other, return_exceptions=True)

    try:
        left, computed = run(act)  # type: ignore[misc]
    finally:
        watched.remove()
    assert isinstance(left, Superseded) and computed == "computed" and layers[0] < 2000


def test_what_is_overtaken_ends_if_it_is_quick_and_stops_if_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "GRACE_S", 0.0)
    ended = []

    def overtaken(gate: threading.Event, asks: bool) -> None:
        gate.wait()
        if asks:
            work.checkpoint()
        ended.append(asks)

    async def act(queue: Queue, asks: bool, kind: str) -> list[object]:
        gate = threading.Event()
        first = asyncio.create_task(queue.run("tab", "link", lambda: overtaken(gate, asks)))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(queue.run("tab", kind, lambda: "newer"))
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(first, second, return_exceptions=True)

    assert run(lambda queue: act(queue, False, "link")) == [None, "newer"]  # it never asked: its picture is shown
    assert run(lambda queue: act(queue, True, "codec")) == [None, "newer"]  # another kind overtakes nothing
    results = run(lambda queue: act(queue, True, "link"))
    assert isinstance(results, list) and isinstance(results[0], Superseded) and results[1] == "newer"
    assert ended == [False, True]
    work.checkpoint()  # outside of a wish nothing happens


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_what_a_network_painted_says_so_on_its_edge_and_in_its_file(shelf: Shelf, face: Face, tmp_path: Path) -> None:
    arrived = link.transmit(shelf, face, "sketch", link.Setting(64, 5.0))
    plain = link.transmit(shelf, face, "linear", link.Setting(64, 5.0))
    assert arrived.mark is not None and plain.mark is None
    for data, ending in ((arrived.file(), "png"), (encode(stamp(arrived.pixels, "x", painted=True), arrived.mark), "jpg")):
        path = tmp_path / f"a.{ending}"
        path.write_bytes(data)
        mark = read_mark(path)
        assert mark is not None and (mark.system, mark.symbols, mark.snr_db, mark.channel) == ("sketch", 64, 5.0, "awgn")
    edge = stamp(arrived.pixels, arrived.caption, painted=True)[SIDE:].reshape(-1, 3)
    other = stamp(arrived.pixels, arrived.caption)[SIDE:].reshape(-1, 3)
    assert tuple(np.median(edge, 0)) != tuple(np.median(other, 0)) and (edge > 200).any()
    assert show(arrived.pixels, "x", arrived.mark).startswith("data:image/jpeg;base64,")


def test_a_constellation_has_a_point_for_each_symbol() -> None:
    svg = constellation(np.zeros(3, complex), np.array([1 + 1j, 9e9]))
    assert svg.count("h0") == 5 and "nan" not in svg and 'role="img"' in svg


# ---- link ------------------------------------------------------------------------------------------------------------


def test_all_systems_meet_the_same_noise(shelf: Shelf, face: Face) -> None:
    setting = link.Setting(64, 0.0, seed=3)
    noise = []
    for name in ("sketch", "generative", "linear"):
        arrived = link.transmit(shelf, face, name, setting)
        noise.append((arrived.received.symbols - arrived.burst.symbols).numpy())
    assert np.allclose(noise[0], noise[1], atol=1e-5) and np.allclose(noise[0], noise[2], atol=1e-5)


def test_a_face_is_inverted_once(shelf: Shelf, face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    system = shelf.generative
    calls: list[int] = []
    invert = system.invert
    monkeypatch.setattr(system, "invert", lambda image: calls.append(1) or invert(image))
    for snr in (0.0, 5.0, 10.0):
        link.transmit(shelf, face, "generative", link.Setting(640, snr))
    assert len(calls) == 1


def test_what_a_system_cannot_do_is_a_sentence(shelf: Shelf, face: Face) -> None:
    with pytest.raises(DoesNotFit, match="32 to 1280"):
        link.transmit(shelf, face, "generative", link.Setting(16))
    with pytest.raises(BadInput, match="unknown channel"):
        link.transmit(shelf, face, "sketch", link.Setting(channel="wire"))


def test_the_map_and_the_strip(shelf: Shelf, face: Face) -> None:
    bad, good = (link.transmit(shelf, face, "linear", link.Setting(64, snr)) for snr in (-10.0, 20.0))
    assert link.draw_share(bad)[1] < link.draw_share(good)[1]
    assert "everywhere" not in link.explain_share(good)
    shown = [piece() for piece in link.strip(shelf, face, "linear", link.Setting(64))]
    assert [snr for snr, _ in shown] == list(link.SNRS) and len({address for _, address in shown}) == len(link.SNRS)
    assert {"PSNR dB", "MS-SSIM"} <= {row[0] for row in link.measure(face, good)}


# ---- codec -----------------------------------------------------------------------------------------------------------


def test_a_face_in_so_many_bytes_and_back(shelf: Shelf, subject: Subject) -> None:
    pytest.importorskip("constriction")
    small, large = (codec.code(shelf, subject, "face", most, {}) for most in (300, 900))
    assert len(small.data) <= 300 < len(large.data) <= 900
    again = codec.open_sem(shelf, large.data, "me.sem")
    assert np.array_equal(again.shown.pixels, large.shown.pixels) and again.original is None
    assert large.concept_at(0.5, 0.55) == "nose" and large.mark.system == "rl-asc"
    assert {"skin", "hair"} <= {name for name, _, _ in large.concepts()}


def test_care_gives_a_concept_more(shelf: Shelf, subject: Subject) -> None:
    pytest.importorskip("constriction")

    def level(coded: codec.Coded, name: str) -> int:
        return max(concept.level for concept, found, _ in coded.receipt.lines if found == name)

    plain, cared = codec.code(shelf, subject, "face", 400, {}), codec.code(shelf, subject, "face", 400, {"nose": 4})
    assert level(cared, "nose") >= level(plain, "nose") and len(cared.data) <= 400
    assert [name for name, _, _ in cared.concepts()].index("nose") <= [name for name, _, _ in plain.concepts()].index("nose")


def test_a_drawn_street_is_one_for_the_codec(shelf: Shelf) -> None:
    pytest.importorskip("constriction")
    street = shelf.street.fresh()
    assert street.doubts("street") == () and street.scene.shape == (256, 256, 3)
    with pytest.raises(BadInput, match="no face"):
        street.need_face()
    coded = codec.code(shelf, street, "street", 800, {})
    seen = {name for name, _, _ in coded.concepts()}
    assert {"road", "sidewalk", "building", "sky", "vegetation"} <= seen
    for most in (*range(300, 400, 10), 800):  # its size is in the file, and it is another one than that of what is coded
        assert len(codec.code(shelf, street, "street", most, {}).data) <= most


def test_bad_files_of_meaning(shelf: Shelf) -> None:
    for data in (b"", b"words", bytes(70_000)):
        with pytest.raises((BadInput, Damaged)):
            codec.open_sem(shelf, data, "x.sem")


def test_a_rival_at_the_same_bytes(shelf: Shelf, subject: Subject) -> None:
    picture, size = codec.rival(shelf, subject.scene, "webp", 900)
    assert picture.shape == (256, 256, 3) and size <= 900 and "PSNR" in codec.quality(subject.scene, picture)
    with pytest.raises(DoesNotFit, match="jpeg cannot say anything"):
        codec.rival(shelf, subject.scene, "jpeg", 20)


# ---- privacy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["generative", "sketch"])
def test_no_symbol_knows_of_private_pixels(shelf: Shelf, face: Face, system: str) -> None:
    safe = privacy.protect(shelf, face, system, ["eyes", "mouth"], "blind")
    proof = privacy.repaint(face, safe, link.Setting(128, 5.0))
    assert proof.protected == 0 < proof.plain <= 128 and "0 of 128" in proof.sentence
    assert privacy.protect(shelf, face, system, ["mouth", "eyes"], "blind") is safe
    arrived = privacy.transmit(safe, face, link.Setting(128, 5.0))
    assert arrived.pixels.shape == (256, 256, 3) and arrived.mark is not None


def test_the_filter_promises_less_and_the_proof_says_so(shelf: Shelf, face: Face) -> None:
    safe = privacy.protect(shelf, face, "generative", ["eyes"], "filter")
    assert privacy.repaint(face, safe, link.Setting(64)).protected > 0
    with pytest.raises(BadInput, match="filter works on the codes"):
        privacy.protect(shelf, face, "sketch", ["eyes"], "filter")
    with pytest.raises(BadInput, match="click a part"):
        privacy.protect(shelf, face, "generative", [], "blind")


def test_parts_are_found_where_they_are_clicked(shelf: Shelf, face: Face) -> None:
    seen = privacy.parts_seen(shelf, face)
    assert {"skin", "eyes", "hair"} <= set(seen) and sum(seen.values()) <= 1.001
    assert privacy.part_at(shelf, face, 0.5, 0.55) == "nose" and privacy.part_at(shelf, face, 2.0, -1.0) in seen


# ---- radio -----------------------------------------------------------------------------------------------------------


def test_a_face_goes_on_the_air_and_comes_back(shelf: Shelf, face: Face) -> None:
    tape, _ = radio.make(shelf, face, "linear", 256, 10.0)
    spoiled = radio.spoil(tape, radio.Trouble(snr_db=15.0, offset_hz=20.0))
    again = radio.Tape(*read_recording(spoiled.wav(), "me.wav"))
    (heard,) = radio.listen(shelf, again)
    assert heard.name == "linear" and abs(heard.capture.offset_hz - 20) < 2
    assert radio.show_heard(heard) and radio.show_map(shelf, heard) and "20" in radio.describe(heard)
    assert radio.spectrogram(again, [heard]).shape == (336, 1024, 3)
    assert radio.spoil(tape, radio.Trouble()) is tape
    assert radio.listen(shelf, radio.Tape(np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32))) == []


def test_a_move_while_the_last_one_is_shown_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, offsets = threading.Event(), []

    def listen(_: Shelf, tape: radio.Tape) -> list[MagicMock]:
        if offsets[-1]:
            time.sleep(work.GRACE_S + 0.1)
        work.checkpoint()
        return [MagicMock()]

    def spoil(tape: radio.Tape, trouble: radio.Trouble) -> radio.Tape:
        offsets.append(trouble.offset_hz)
        return tape

    silence = radio.Tape(np.zeros(4800, np.float32))
    for name, made in {"spoil": spoil, "listen": listen, "show_map": lambda *_: "map", "symbols_of": lambda _: []}.items():
        monkeypatch.setattr(radio, name, made)
    monkeypatch.setattr(radio, "show_spectrogram", lambda *_: str(offsets[-1]))
    monkeypatch.setattr(radio, "show_heard", lambda _: gate.wait(60) and "face")
    monkeypatch.setattr(radio, "describe", lambda _: "a burst")
    for name in ("ui", "html", "Figure", "constellation", "button", "choice", "slider"):
        monkeypatch.setattr(radio_page, name, MagicMock())

    async def until(happened: Callable[[], bool]) -> None:
        for _ in range(6000):
            if happened():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nothing happened for a minute")

    async def act(queue: Queue) -> None:
        monkeypatch.setattr(core, "loop", asyncio.get_running_loop())
        tab = radio_page.RadioTab(Desk(MagicMock(), queue, Visitor("one")))
        tab.spectrogram = spectrogram = MagicMock()
        tab.tape, tab.recorded = silence, True
        tab.redraw()
        await until(lambda: spectrogram.show.called)
        await until(lambda: tab.desk.doing > 0)  # what was found is being made
        tab._spoil(offset_hz=35.0)
        await until(lambda: queue.waiting > 0)
        gate.set()
        await until(lambda: not tab.desk.doing)
        assert spectrogram.show.call_args.args[0] == "35.0"

    run(act)


# ---- the door --------------------------------------------------------------------------------------------------------


def asked(headers: dict[str, str], *, secret: str = "", path: str = "/", query: str = "", method: str = "GET") -> tuple[int, str]:
    """What the door answers: status and where to or what."""
    pytest.importorskip("starlette")
    from semcast.web.door import Door

    said: list[dict[str, object]] = []

    async def inside(scope: object, receive: object, send: Callable[[object], object]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[misc]
        await send({"type": "http.response.body", "body": b"inside"})  # type: ignore[misc]

    async def send(message: dict[str, object]) -> None:
        said.append(message)

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(Door(inside, secret)(scope, receive, send))  # type: ignore[arg-type]
    held = dict(said[0]["headers"])  # type: ignore[call-overload]
    if said[0]["status"] == 200:
        assert b"default-src 'self'" in held[b"content-security-policy"]
    return int(str(said[0]["status"])), held.get(b"location", held.get(b"set-cookie", b"")).decode()


def test_only_this_computers_browser_comes_in() -> None:
    assert asked({"host": "127.0.0.1:7860"})[0] == asked({"host": "localhost:7860"})[0] == 200
    assert asked({"host": "evil.example"})[0] == asked({})[0] == 403
    assert asked({"host": "127.0.0.1:7860", "origin": "https://evil.example"})[0] == 403
    assert asked({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860"})[0] == 200
    assert asked({"host": "localhost", "content-length": "99999999"}, method="POST")[0] == 413
    assert asked({"host": "localhost"}, method="POST")[0] == 411


def test_with_a_secret_only_its_address_opens_the_page() -> None:
    host = {"host": "127.0.0.1:7860"}
    assert asked(host, secret="abc")[0] == asked(host, secret="abc", query="key=abd")[0] == 403
    assert asked(host, secret="abc", query="key=abc") == (303, "/")
    assert asked(host | {"cookie": "semcast=abc"}, secret="abc")[0] == 200
    assert asked(host | {"cookie": "semcast=abx"}, secret="abc")[0] == 403


def test_a_port_that_is_taken_is_said() -> None:
    pytest.importorskip("nicegui")
    import socket

    from semcast.web.server import check

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match="cannot be used"):
            check(taken.getsockname()[1])
    with pytest.raises(BadInput, match="1 to 65535"):
        check(0)


def test_what_went_wrong_is_not_wiped_out_by_what_was_going_on() -> None:
    class Line:
        text = ""

        def set_text(self, text: str) -> None:
            self.text = text

        def classes(self, **_: str) -> None: ...

    async def act(queue: Queue) -> None:
        desk = Desk(Shelf("cpu"), queue, Visitor("one"))
        desk.status = line = Line()  # type: ignore[assignment]
        gate = threading.Event()
        listening = asyncio.create_task(desk.compute("radio", gate.wait, what="listening"))
        await asyncio.sleep(0.05)
        assert line.text == "listening ..."
        desk.say("the microphone cannot be used here", bad=True)
        gate.set()
        await listening
        assert line.text == "the microphone cannot be used here"
        await desk.compute("radio", lambda: None, what="listening")  # asked for afterwards: the trouble is over
        assert line.text == ""

    run(act)


@pytest.mark.timed
@pytest.mark.slow
def test_two_hundred_transmissions_hold_no_memory(shelf: Shelf, face: Face) -> None:
    import resource

    for i in range(220):
        if i == 20:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        link.transmit(shelf, face, "sketch", link.Setting(640, float(i % 20))).show()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 100, f"{grown:.0f} MB"


@pytest.mark.timed
def test_a_move_and_a_photo_cost_what_two_processors_do_in_time(shelf: Shelf) -> None:
    """0.3 s for a move of k or SNR (not the photo again), 0.8 s for a new photo; a browser's test has the wall's clock."""
    face = shelf.portrait.need_face()
    link.transmit(shelf, face, "sketch", link.Setting()).show()
    begun = time.process_time()
    for snr in range(4):
        link.transmit(shelf, face, "sketch", link.Setting(snr_db=float(snr))).show()
    assert time.process_time() - begun < 4 * 2 * 0.3 * slowness()
    begun = time.process_time()
    other = Subject.of(skimage.data.astronaut()[:320, 60:380], "me.png").need_face()
    link.transmit(shelf, other, "sketch", link.Setting()).show()
    assert time.process_time() - begun < 2 * 0.8 * slowness()
