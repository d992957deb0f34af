"""The front door: quick to import, photos of any kind in, systems by name, laws for what others bring."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor, nn

import semcast as sc
from semcast import testing
from semcast.api import SYSTEMS
from semcast.domains import STREET
from semcast.files import check_file
from semcast.photos import read_mark, to_tensor
from semcast.rivals.photo_codecs import CODECS
from semcast.sources import doubts

OURS = ("sketch", "generative", "linear", "linear-gan", "deepjscc", "webp")
SOURCE = Path(sc.__file__).resolve().parents[1]
CHANNELS = (sc.AWGN(), sc.Rayleigh(pilots=8), sc.Rician(k_factor_db=10.0, block=64, pilots=4))


# ---- the module ------------------------------------------------------------------------------------------------------


def test_importing_is_quick_and_loads_nothing() -> None:
    code = (
        "import time; t = time.perf_counter(); import semcast; t = time.perf_counter() - t; import sys\n"
        "assert not {'torch', 'numpy', 'PIL', 'typer'} & set(sys.modules), 'heavy'\n"
        "dir(semcast), semcast.__all__, semcast.__doc__, semcast.__version__\n"
        "assert not {'torch', 'numpy'} & set(sys.modules); print(t)"
    )
    took = []
    for _ in range(3):  # the machine may be busy
        result = subprocess.run([sys.executable, "-c", code], cwd=SOURCE, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        took.append(float(result.stdout))
    assert min(took) < 0.2


def test_every_name_leads_somewhere() -> None:
    for name in sc.__all__:
        assert getattr(sc, name) is getattr(sc, name) is not None, name
    assert set(sc.__all__) <= set(dir(sc))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sc.nothing


def test_what_types_are_told_is_what_there_is() -> None:
    """The table that is used and the imports that type checkers read name the same."""
    source = Path(sc.__file__).read_text()
    for name in sc._HOME:
        assert f" {name}," in source or f" {name}\n" in source
    assert set(sc._HOME) | {"metrics", "__version__"} == set(sc.__all__)


def test_metrics_is_a_package_that_can_be_called() -> None:
    import semcast.metrics.pixel

    image = torch.rand(1, 3, 64, 64)
    values = sc.metrics(image, image)
    assert values["ms_ssim"] == pytest.approx(1, abs=1e-5) and not torch.tensor(values["psnr_db"]).isnan()
    assert callable(semcast.metrics) and semcast.metrics.pixel is not None


def test_errors_have_a_tree() -> None:
    for kind in (sc.BadInput, sc.DoesNotFit, sc.Damaged, sc.Missing, sc.Unfinished):
        assert issubclass(kind, sc.SemcastError)
    with pytest.raises(sc.BadInput):
        sc.Budget(0, 5)
    with pytest.raises(sc.DoesNotFit):
        sc.load("linear").encode(torch.rand(1, 3, 256, 256), sc.Budget(10_000, 5))
    with pytest.raises(sc.Missing):
        sc.load("nowhere.py:Thing")


# ---- photos ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def face() -> sc.Picture:
    return sc.photo(skimage.data.astronaut(), "astronaut").face()


def test_a_picture_is_a_tensor_that_knows_whose_it_is(face: sc.Picture, tmp_path: Path) -> None:
    assert isinstance(face, Tensor) and face.shape == (1, 3, 256, 256) and face.name == "astronaut" and face.faces_found == 1
    assert type(face.tensor) is Tensor and type(face * 2) is Tensor and type(face[0]) is Tensor
    assert np.array_equal(to_tensor(face.pixels), face.tensor) and face.pixels.dtype == np.uint8
    for again in (pickle.loads(pickle.dumps(face)), copy.deepcopy(face)):
        assert torch.equal(again.tensor, face.tensor) and again.name == "astronaut" and again.faces_found == 1
    face.save(tmp_path / "face.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "face.png")), face.pixels)
    assert read_mark(tmp_path / "face.png") is None


@pytest.mark.parametrize("kind", ["path", "text", "array", "grey", "floats", "pil", "palette", "planes", "batch"])
def test_photos_of_any_kind(kind: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    grey = pixels[..., 0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    given = {
        "path": tmp_path / "a.png", "text": str(tmp_path / "a.png"), "array": pixels, "grey": grey,
        "floats": pixels.astype(np.float32) / 255, "pil": Image.fromarray(pixels), "palette": Image.fromarray(grey).convert("P"),
        "planes": torch.from_numpy(pixels).permute(2, 0, 1), "batch": to_tensor(pixels),
    }[kind]  # fmt: skip
    picture = sc.photo(given).whole()
    wanted = np.repeat(grey[..., None], 3, -1) if kind in ("grey", "palette") else pixels
    assert np.array_equal(picture.pixels, wanted)
    assert picture.name == ("a.png" if kind in ("path", "text") else "the photo")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "a photo is a path, an array"),
        (np.zeros((2, 3, 4, 5)), r"\[H, W, 3\] or \[H, W\]"),
        (np.full((4, 4), 7.0), "between 0 and 1"),
        (np.zeros((4, 4), np.int64), "not int64"),
        (torch.zeros(2, 3, 4, 4), r"\[1, 3, H, W\]"),
    ],
)
def test_what_is_no_photo_is_refused(given: object, says: str) -> None:
    with pytest.raises(sc.BadInput, match=says):
        sc.photo(given)


def test_photos_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    lazy = sc.photo(tmp_path / "later.png")
    with pytest.raises(sc.SemcastError, match=r"later\.png does not exist"):
        lazy.whole()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "later.png")
    assert lazy.whole().shape == (1, 3, 20, 30)
    assert lazy.scene("street").shape == (1, 3, 256, 256)
    with pytest.raises(sc.SemcastError, match="must be square"):
        lazy.face(aligned=True)


def test_what_may_be_no_street_is_said(shared: Path) -> None:
    assert "may be no street" in sc.photo(skimage.data.coffee(), "cup").scene("street").notes[0]
    assert "cup" in sc.photo(skimage.data.coffee(), "cup").scene("street").notes[0]
    from semcast.sources import find_photos

    streets = find_photos([shared / "data" / "street256" / "test-000.tar"], 10)
    assert not any(doubts(source.scene(STREET), STREET) for source in streets)


# ---- systems by name -------------------------------------------------------------------------------------------------


def test_the_link_in_a_few_lines(face: sc.Picture, tmp_path: Path) -> None:
    link, channel = sc.load("generative", inversion=sc.Newton(steps=1)), sc.Rayleigh(pilots=8)
    sent = link.encode(face, sc.Budget(640, snr_db=5))
    assert sent.symbols.shape == (1, 640) and channel.uses(640) == 648 and sent.name == "astronaut"
    result = link.decode(channel(sent, seed=0))
    assert bool(result.ok.all()) and result.reason == "" and result.codes is not None and not result.image.requires_grad
    crossing = sc.transmit(link, face, channel, sc.Budget(640, 5), seed=0)
    assert torch.equal(crossing.reception.image, result.image), "the same noise, whichever way it is sent"
    worse = sc.transmit(link, face, channel, sc.Budget(640, 5), seed=0, snr_db=-5)
    assert not torch.equal(worse.reception.image, result.image) and torch.equal(worse.burst.symbols, sent.symbols)
    assert sc.metrics(face, result.image)["psnr_db"] > sc.metrics(face, worse.reception.image)["psnr_db"]
    result.save(tmp_path / "received.png")
    mark = read_mark(tmp_path / "received.png")
    assert mark is not None and (mark.system, mark.symbols, mark.snr_db) == ("generative", 640, 5.0)
    assert mark.fingerprint == link.fingerprint()


def test_what_no_network_painted_carries_no_mark(face: sc.Picture, tmp_path: Path) -> None:
    sc.transmit(sc.load("linear"), face, sc.AWGN(), sc.Budget(640, 5)).reception.save(tmp_path / "linear.png")
    assert read_mark(tmp_path / "linear.png") is None


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("bpg", {}, "unknown system 'bpg'; known: .*linear-gan"),
        ("linear", {"care": "face"}, "care belongs to linear-gan, not to linear"),
        ("linear", {"colour": 1}, "linear has no option 'colour'; it has none"),
        ("generative", {"scheme": "16qam-1/2"}, "scheme belongs to rl-asc, jpeg"),
        ("generative", {"inversion": "magic"}, "unknown inversion"),
        ("generative", {"domain": "street"}, "sends faces alone"),
        ("webp:16qam-1/2", {"scheme": "qpsk-1/2"}, "names its scheme already"),
        ("linear", {"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_bad_names_and_options_say_why(name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(sc.SemcastError, match=says):
        sc.load(name, **options)


def test_photos_of_another_size_are_refused_in_a_sentence() -> None:
    with pytest.raises(sc.BadInput, match="linear sends photos of 256 x 256 pixels, not 48 x 32"):
        sc.load("linear").encode(sc.photo(np.zeros((32, 48), np.uint8)).whole(), sc.Budget(64, 5))
    with pytest.raises(sc.BadInput, match=r"floats in \[0, 1\], not torch.uint8"):
        sc.load("linear").encode(torch.zeros(1, 3, 256, 256, dtype=torch.uint8), sc.Budget(64, 5))


MINE = '''
import torch
from semcast import Burst, Reception, System

class Tone(System):
    """Sends the mean grey as a phase."""

    def encode(self, image, budget):
        level = image.mean((1, 2, 3))[:, None].expand(-1, budget.symbols)
        return Burst(torch.polar(torch.ones_like(level), level), budget)

    def decode(self, received):
        level = received.symbols.mean(-1).angle().clamp(0, 1)[:, None, None, None]
        return Reception(level.expand(-1, 3, *received.budget.size), torch.ones(len(level), dtype=torch.bool))

class Broken:
    def __init__(self):
        raise KeyError("oops")

class Stretched(System):
    def __init__(self, factor=2):
        super().__init__()
        self.name = f"stretched-{factor}"
'''


def test_a_system_out_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    system = sc.load(f"{file}:Tone")
    assert system.name == "tone" and len(system.fingerprint()) == 12
    shown = sc.transmit(system, torch.full((1, 3, 20, 30), 0.25), sc.AWGN(), sc.Budget(64, 20)).reception
    assert shown.image.shape == (1, 3, 20, 30) and float(shown.image.mean()) == pytest.approx(0.25, abs=0.05)
    testing.check_system(system)
    assert sc.load(f"{file}:Stretched", factor=3).name == "stretched-3"
    assert sc.load(f"{file}:Stretched", domain="street").name == "stretched-2", "it does not ask what photos show"
    before = system.fingerprint()
    file.write_text(MINE.replace("clamp(0, 1)", "clamp(0, 0.5)"))
    import linecache

    linecache.checkcache()
    assert sc.load(f"{file}:Tone").fingerprint() != before, "results of other code are not taken for these"
    for name, says in (("Broken", "oops"), ("Nothing", "no 'Nothing'"), ("torch", "no system")):
        with pytest.raises(sc.BadInput, match=says):
            sc.load(f"{file}:{name}")
    file.write_text("this is no Python")
    with pytest.raises(sc.BadInput, match=r"mine\.py cannot be loaded \(SyntaxError"):
        sc.load(f"{file}:Tone")


def test_a_system_of_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(name="theirs", load=lambda: lambda **options: sc.load("linear"))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group, name=None: [point] if name in (None, "theirs") else [])
    assert sc.load("theirs").name == "linear"
    with pytest.raises(sc.BadInput, match="known: .*theirs"):
        sc.load("others")


def test_a_photo_is_framed_before_it_is_measured(face: sc.Picture) -> None:
    with pytest.raises(sc.BadInput, match="frame a photo first"):
        sc.metrics(sc.photo(face.pixels), face)


def test_errors_say_which_kind_of_wrong_it_is(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no photo")
    for name, kind in (("none.png", sc.Missing), ("empty.png", sc.Damaged), ("text.png", sc.BadInput)):
        with pytest.raises(kind):
            sc.photo(tmp_path / name).whole()
    with pytest.raises(sc.BadInput, match="force overwrites it"):
        check_file(tmp_path / "text.png", False, ".png")
    with pytest.raises(sc.BadInput, match="unknown domain"):
        sc.load_codec("webp", domain="sea")


# ---- codecs ----------------------------------------------------------------------------------------------------------


def test_codecs_take_what_a_photo_is(face: sc.Picture, tmp_path: Path) -> None:
    codec = sc.load_codec("webp")
    streams = {codec.compress(given, max_bytes=600) for given in (face, face.pixels, sc.photo(face.pixels))}
    assert len(streams) == 1
    shown = codec.decompress(streams.pop())
    assert shown.shape == face.shape and shown.mark is None
    face.save(tmp_path / "face.png")
    assert codec.compress(tmp_path / "face.png", 600) == codec.compress(face, 600)
    with pytest.raises(sc.BadInput, match="care belongs to rl-asc"):
        sc.load_codec("webp", care="skin")
    with pytest.raises(sc.BadInput, match="unknown codec 'bpg'"):
        sc.load_codec("bpg")


def test_the_semantic_codec_marks_what_it_paints(tmp_path: Path) -> None:
    pytest.importorskip("constriction")
    codec = sc.load_codec("rl-asc", domain="street", care="person=8")
    stream = codec.compress(skimage.data.coffee(), max_bytes=400)
    assert len(stream) <= 400
    codec.decompress(stream).save(tmp_path / "street.png")
    mark = read_mark(tmp_path / "street.png")
    assert mark is not None and mark.system == "rl-asc" and mark.symbols is None


# ---- the laws --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded() -> dict[str, sc.System]:
    return {}


@pytest.mark.parametrize(("name", "channel"), [
    pytest.param(name, channel, id=f"{name}-{channel.name}",
                 marks=[pytest.mark.slow] if name.startswith(("generative", "deepjscc")) and channel.name != "awgn" else [])
    for name, channel in product(OURS, CHANNELS)
])  # fmt: skip
def test_systems_keep_the_laws(name: str, channel: sc.Channel, loaded: dict[str, sc.System], face: sc.Picture) -> None:
    assert name in SYSTEMS
    system = loaded.setdefault(name, sc.load(name, device="cpu"))
    faces = torch.cat([face.tensor, face.tensor.flip(-1)])
    testing.check_system(system, channel=channel, images=faces, symbols=(640,) if name == "webp" else None)


@pytest.mark.parametrize("name", [name for name in CODECS if name != "hevc"])
def test_codecs_keep_the_laws(name: str) -> None:
    testing.check_codec(sc.load_codec(name).coder)


@pytest.mark.parametrize("domain", ["face", "street"])
def test_the_semantic_codec_keeps_the_laws(domain: str) -> None:
    pytest.importorskip("constriction")
    testing.check_codec(sc.load_codec("rl-asc", domain=domain).coder, max_bytes=(300, 1500))


class Tone(sc.System):
    """Honest: the mean of each quarter of the photo as a phase."""

    def encode(self, image: Tensor, budget: sc.Budget) -> sc.Burst:
        level = nn.functional.adaptive_avg_pool2d(image.mean(1, keepdim=True), 2).flatten(1)
        level = level.repeat(1, -(-budget.symbols // 4))[:, : budget.symbols]
        return sc.Burst(torch.polar(torch.ones_like(level), level), budget)

    def decode(self, received: sc.Received) -> sc.Reception:
        phases = nn.functional.pad(received.symbols, (0, -received.symbols.shape[1] % 4)).unflatten(1, (-1, 4)).sum(1)
        level = phases.angle().clamp(0, 1).view(-1, 1, 2, 2)
        image = nn.functional.interpolate(level, received.budget.size).expand(-1, 3, -1, -1)
        return sc.Reception(image, torch.ones(len(image), dtype=torch.bool))


class Loud(Tone):
    def encode(self, image: Tensor, budget: sc.Budget) -> sc.Burst:
        burst = super().encode(image, budget)
        return sc.Burst(10 * burst.symbols, burst.budget)


class Elephant(Tone):
    """Remembers the photo and shows it, whatever arrives."""

    def encode(self, image: Tensor, budget: sc.Budget) -> sc.Burst:
        self.seen = image
        return super().encode(image, budget)

    def decode(self, received: sc.Received) -> sc.Reception:
        seen = getattr(self, "seen", None)
        shown = super().decode(received)
        return shown if seen is None or len(seen) != len(shown.image) else sc.Reception(seen, shown.ok)


class Herd(Elephant):
    """Remembers it where every instance of the class finds it."""

    def encode(self, image: Tensor, budget: sc.Budget) -> sc.Burst:
        Herd.seen = image
        return Tone.encode(self, image, budget)


class Greedy(Tone):
    """Sends twice the symbols that it was given."""

    def encode(self, image: Tensor, budget: sc.Budget) -> sc.Burst:
        burst = super().encode(image, budget)
        return sc.Burst(burst.symbols.repeat(1, 2), burst.budget)


class Fixed(Tone):
    """Sends 64 symbols whatever k is, and says so."""

    def encode(self, image: Tensor, budget: sc.Budget) -> sc.Burst:
        return super().encode(image, sc.Budget(64, budget.snr_db))


class Deaf(Tone):
    def decode(self, received: sc.Received) -> sc.Reception:
        shown = super().decode(received)
        return sc.Reception(torch.full_like(shown.image, 0.5), shown.ok)


class Small(Tone):
    def decode(self, received: sc.Received) -> sc.Reception:
        shown = super().decode(received)
        return sc.Reception(shown.image[..., :8, :8], shown.ok)


class Wild(Tone):
    def decode(self, received: sc.Received) -> sc.Reception:
        shown = super().decode(received)
        return sc.Reception(shown.image * 3, shown.ok)


class Untrainable(Tone):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


class Silent(Tone):
    def decode(self, received: sc.Received) -> sc.Reception:
        shown = super().decode(received)
        return sc.Reception(shown.image, torch.zeros_like(shown.ok))


def test_an_honest_system_passes() -> None:
    for channel in CHANNELS:
        testing.check_system(Tone(), channel=channel)


@pytest.mark.parametrize(
    ("cheat", "says"),
    [
        (Loud, "loud promises mean power 1 of every burst and sends 100"),
        (Elephant, "elephant remembers the photo: the sender's own instance"),
        (Herd, "herd remembers the photo"),
        (Greedy, "greedy was given k = 1 and sends symbols of shape"),
        (Fixed, "fixed was given k = 1 and sends symbols of shape"),
        (Deaf, "deaf shows no more at 20 dB"),
        (Small, "small was sent images"),
        (Wild, r"wild shows pixels outside \[0, 1\]"),
        (Untrainable, "untrainable has parameters that no gradient reaches"),
        (Silent, "silent gives a reason exactly where"),
    ],
)
def test_cheats_fail(cheat: type[sc.System], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        testing.check_system(cheat())


TEN_LINES = """
import semcast as sc
face = sc.photo("me.jpg").face()                            # found and aligned; .tensor, .save()
link = sc.load("generative", inversion=sc.Newton(steps=2))  # or sc.load("avif", scheme="16qam-1/2")
channel = sc.Rayleigh(pilots=8)
sent = link.encode(face, sc.Budget(640, snr_db=5))          # 640 data symbols; pilots come on top
result = link.decode(channel(sent, seed=0))                 # .image, .ok, .reason
print(sc.metrics(face, result.image))                       # psnr_db, lpips, identity, ...
small = sc.load_codec("rl-asc", domain="street").compress(sc.photo("street.jpg"), max_bytes=500)
table = sc.evaluate([link, MySystem()], "photos/", channels=[sc.AWGN()], snr_db=[0, 10], symbols=[64], out="r.jsonl")
table.to_pandas().groupby(["system", "snr_db"]).mean(numeric_only=True)
safe = sc.protect(link, sc.Blind("eyes,hair"))              # the same System type
"""


def test_the_lines_that_a_researcher_wishes_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("constriction", "pandas"):
        pytest.importorskip(library)
    (tmp_path / "photos").mkdir()
    for name in ("me.jpg", "street.jpg", "photos/a.png"):
        Image.fromarray(skimage.data.astronaut()).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    given: dict[str, object] = {"MySystem": Tone}
    exec(TEN_LINES, given)
    assert "psnr_db" in capsys.readouterr().out and isinstance(given["safe"], sc.System)
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 4


def test_a_system_that_is_too_loud_is_not_measured() -> None:
    with pytest.raises(sc.BadInput, match="loud sends bursts of mean power 100 where it promises 1"):
        sc.transmit(Loud(), torch.rand(1, 3, 16, 16), sc.AWGN(), sc.Budget(64, 10))


class Blocks(sc.BitCodec):
    """Honest: the photo's mean in blocks, as many as fit."""

    def compress(self, image: np.ndarray, max_bytes: int) -> bytes:
        side = max((s for s in (1, 2, 4, 8, 16) if 5 + 3 * s * s <= max_bytes), default=0)
        if not side:
            raise sc.DoesNotFit(f"blocks need 8 bytes, not {max_bytes}")
        small = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
        return bytes([side]) + np.array(image.shape[:2], ">u2").tobytes() + small.tobytes()

    def decompress(self, stream: bytes) -> np.ndarray:
        side = stream[0] if stream else 0
        if side not in (1, 2, 4, 8, 16) or len(stream) != 5 + 3 * side * side:
            raise sc.Damaged("the blocks are damaged")
        height, width = np.frombuffer(stream[1:5], ">u2").tolist()
        if not 1 <= height <= 4096 or not 1 <= width <= 4096:
            raise sc.Damaged("the blocks are damaged")
        small = np.frombuffer(stream[5:], np.uint8).reshape(side, side, 3)
        return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))


class Boundless(Blocks):
    def compress(self, image: np.ndarray, max_bytes: int) -> bytes:
        return super().compress(image, 4 * max_bytes)


class Diary(Blocks):
    def compress(self, image: np.ndarray, max_bytes: int) -> bytes:
        self.seen = image
        return super().compress(image, max_bytes)

    def decompress(self, stream: bytes) -> np.ndarray:
        return getattr(self, "seen", super().decompress(stream))


class Careless(Blocks):
    def decompress(self, stream: bytes) -> np.ndarray:
        if not stream:
            raise IndexError("no byte")
        return super().decompress(stream)


@pytest.mark.parametrize(
    ("codec", "says"),
    [
        (Boundless, "boundless was given 150 bytes and makes 197"),
        (Diary, "diary remembers the photo: the sender's own instance"),
        (Careless, "careless raises IndexError on damaged bytes"),
    ],
)
def test_codecs_that_cheat_fail(codec: type[Blocks], says: str) -> None:
    testing.check_codec(Blocks(), max_bytes=(150, 2000))
    with pytest.raises(AssertionError, match=says):
        testing.check_codec(codec(), max_bytes=(150, 2000))


def test_help_says_what_there_is() -> None:
    command = [sys.executable, "-c", "import semcast; help(semcast)"]
    text = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True).stdout
    for word in ("sc.photo", "sc.load", "Conventions", "SemcastError", "semcast.testing"):
        assert word in text
