"""Privacy: eq. 4 and 5 in closed form, and a photo whose private pixels change no symbol, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semcast.api import CODED, SYSTEMS, load
from semcast.bench.records import parse, read
from semcast.channels import make_channel
from semcast.cli import main
from semcast.cli.build import _mask_of
from semcast.crossing import cross
from semcast.domains import PARTS
from semcast.errors import SemcastError
from semcast.generative.encoder import BOUND
from semcast.generative.generator import BOXES
from semcast.generative.inversion import Guess
from semcast.generative.refinement import Refine
from semcast.generative.system import Generative
from semcast.hashes import generator_for
from semcast.link import Budget, System
from semcast.metrics.identity import Identity, kind_of
from semcast.metrics.report import Metrics
from semcast.photos import read_aligned, read_mask, to_tensor
from semcast.privacy.blind import Blind, blend, box_of, find_region, fit_region, hide
from semcast.privacy.filter import Filter
from semcast.privacy.knowledge import KnowledgeBase, KnowledgeConfig
from semcast.privacy.parts import PartChoice
from semcast.privacy.receipt import receipt, table
from semcast.privacy.system import Private
from semcast.train.knowledge import Settings, learn

EYES = PartChoice.parse("eyes")
ALL_BUT_EYES = PartChoice.parse("all-but-eyes")
CODES = torch.randn(28, 48, generator=torch.Generator().manual_seed(0)).clamp(-BOUND, BOUND)
MEAN = 0.5 * torch.randn(28, 48, generator=torch.Generator().manual_seed(1))


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_parts_by_name() -> None:
    assert PartChoice.parse(" Hair,eyes ").parts == ("eyes", "hair")
    assert PartChoice.parse("eyes,hair").name == "eyes+hair"
    assert ALL_BUT_EYES.name == "all-but-eyes" and set(ALL_BUT_EYES.parts) == set(PARTS) - {"eyes"}
    assert set(PartChoice.parse("all-but-eyes,mouth").parts) == set(PARTS) - {"eyes", "mouth"}


def test_each_part_has_its_two_codes_and_the_base_codes_go_with_the_skin() -> None:
    assert EYES.codes.nonzero().flatten().tolist() == [6, 7]
    assert int(ALL_BUT_EYES.codes.sum()) == 26 and not ALL_BUT_EYES.codes[6:8].any()


@pytest.mark.parametrize(
    "text", ["eye", "", ",", "all-but-", "all-but-eye", "eyes,ear", ",".join(PARTS), "all-but-" + ",".join(PARTS)]
)
def test_unknown_parts_list_the_known(text: str) -> None:
    with pytest.raises(SemcastError, match="known: background, skin, eyes|some of the parts"):
        PartChoice.parse(text)


# ---- filter ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [EYES, ALL_BUT_EYES], ids=lambda c: c.name)
@pytest.mark.parametrize("lambda1", [0.2, 1.0, 1.5])
@pytest.mark.parametrize("lambda2", [0.0, 0.5, 0.9])
def test_both_equations_hold(choice: PartChoice, lambda1: float, lambda2: float) -> None:
    private = choice.codes
    found = Filter(",".join(choice.parts), lambda1, lambda2).move(CODES, MEAN, np.random.default_rng(0))
    own, result = CODES[private], found.codes[private]
    assert float((result - own).norm()) > lambda1 * float(own.norm())  # eq. 4, after the pull-back
    assert found.pulled < lambda2 * found.left or (lambda2 == 0 and found.pulled < 1e-5)  # eq. 5; no pull at 0
    assert found.kept == pytest.approx(float((result - own).norm()), rel=1e-4)
    assert torch.equal(found.codes[~private], CODES[~private])
    assert float(found.codes.abs().max()) <= BOUND


@pytest.mark.parametrize(("lambda2", "limit"), [(0.5, 1 / 3), (0.9, 9 / 19)])
def test_pull_is_as_far_as_eq_5_lets_it(lambda2: float, limit: float) -> None:
    """||P - L'|| = λ2 ||P - L_m|| at t* = λ2 / (1 + λ2): just below it holds, just above it does not."""
    start, mean = CODES[0], MEAN[0]
    assert Filter("eyes", 1.0, lambda2).pull == pytest.approx(limit, rel=2e-3) and Filter("eyes", 1.0, lambda2).pull < limit
    for t, holds in ((limit - 1e-3, True), (limit + 1e-3, False)):
        moved = start + t * (mean - start)
        assert bool((moved - start).norm() < lambda2 * (moved - mean).norm()) is holds


def test_eq_4_is_checked_after_the_pull_back() -> None:
    """A mean that pulls P straight back at L: the first step is too small, a larger one is taken."""

    class Fixed:
        def standard_normal(self, size: tuple[int, ...]) -> np.ndarray:
            return np.ones(size)

    codes = torch.zeros(28, 48) + 0.5
    found = Filter("eyes", 1.0, 0.9).move(codes, codes - 1.0, Fixed())
    assert found.tries > 0 and found.kept > found.length


def test_directions_are_fresh() -> None:
    random = np.random.default_rng(0)
    first, second = (Filter("eyes").move(CODES, MEAN, random).codes[6:8].flatten() for _ in range(2))
    angle = torch.cosine_similarity(first - CODES[6:8].flatten(), second - CODES[6:8].flatten(), dim=0)
    assert float(angle) < 0.7


def test_a_direction_towards_a_natural_face_keeps_the_equations() -> None:
    own, natural, private = 0.3 * CODES, 0.3 * MEAN, ALL_BUT_EYES.codes  # small: nothing meets the bound of the codes
    towards = 0.3 * CODES.flip(0) + 0.1
    found = Filter("all-but-eyes", 1.0, 0.9).move(own, natural, np.random.default_rng(1), towards)
    assert found.kept > found.length and found.pulled < 0.9 * found.left
    step = (found.codes - own)[private].flatten()
    # P - L lies in the plane of (towards - L) and (natural - L): nothing is left once both are taken out
    basis = torch.linalg.qr(torch.stack([(x - own)[private].flatten() for x in (towards, natural)], 1)).Q
    assert float((step - basis @ (basis.T @ step)).norm()) < 1e-3 * float(step.norm())


def test_impossible_filters() -> None:
    with pytest.raises(SemcastError, match="outside the generator's range"):
        Filter("eyes", 3.0, 0.9).move(torch.full((28, 48), 2.9), MEAN, np.random.default_rng(0))
    for values in ((0.0, 0.5), (-1.0, 0.5), (4.0, 0.5), (float("nan"), 0.5), (1.0, 1.0), (1.0, -0.1), (1.0, float("nan"))):
        with pytest.raises(SemcastError, match="lambda"):
            Filter("eyes", *values)


# ---- knowledge base --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt() -> tuple[Tensor, KnowledgeBase, dict[str, float]]:
    """Codes with five factors that all parts share, and what is learnt of them."""
    random = torch.Generator().manual_seed(2)
    factors = torch.randn(5, 28 * 8, generator=random)
    codes = 0.25 * (torch.randn(600, 5, generator=random) @ factors + 0.5 * torch.randn(600, 28 * 8, generator=random))
    codes = codes.view(600, 28, 8)
    return codes, *learn(codes, torch.ones(28, 8), Settings(factors=8, donors=32))


def test_replacement_fits_the_rest_and_sees_nothing_private(learnt: tuple[Tensor, KnowledgeBase, dict[str, float]]) -> None:
    codes, base, _ = learnt
    private = PartChoice.parse("hair").codes
    natural = base.replace(codes[:50], private)
    assert torch.equal(natural[:, ~private], codes[:50, ~private])
    assert float(natural.abs().max()) <= BOUND
    error = (natural - codes[:50])[:, private].square().mean()
    assert float(error) < 0.5 * float((base.mean - codes[:50])[:, private].square().mean())  # the five factors are found again
    other = codes[:50].clone()
    other[:, private] = torch.randn(50, int(private.sum()), 8)
    assert torch.equal(base.replace(other, private), natural)


def test_donors_are_nobody(learnt: tuple[Tensor, KnowledgeBase, dict[str, float]]) -> None:
    codes, base, numbers = learnt
    assert float(torch.cdist(base.donors.flatten(1), codes.flatten(1)).min()) > 0.5
    assert numbers["donors"] == 32 and numbers["photos"] == 300
    with pytest.raises(SemcastError, match="at least 3"):
        learn(codes, torch.ones(28, 8), Settings(mixed=2))
    with pytest.raises(SemcastError, match="more than"):
        learn(codes[:4], torch.ones(28, 8), Settings())


def test_knowledge_as_weights(learnt: tuple[Tensor, KnowledgeBase, dict[str, float]], tmp_path: Path) -> None:
    base = learnt[1]
    base.save(tmp_path / "knowledge.safetensors")
    back = KnowledgeBase.load(str(tmp_path / "knowledge.safetensors"))
    assert back.config == base.config == KnowledgeConfig(8, 8, 32)
    torch.testing.assert_close(back.donors, base.donors, rtol=1e-3, atol=1e-3)
    with pytest.raises(SemcastError, match="train knowledge"):
        back.check(48)


# ---- regions ---------------------------------------------------------------------------------------------------------


def test_masks_never_shrink() -> None:
    mask = torch.zeros(300, 300, dtype=torch.bool)
    mask[101, 157] = True
    region = fit_region(mask, 256).mask
    y, x = 101 * 256 // 300, 157 * 256 // 300
    assert bool(region[0, 0, y - 3 : y + 4, x - 3 : x + 4].all()) and int(region.sum()) < 200
    same = torch.rand(256, 256) > 0.5
    assert torch.equal(fit_region(same, 256).mask[0, 0], same)
    small = torch.zeros(64, 64, dtype=torch.bool)
    small[20, 20] = True
    assert bool(fit_region(small, 256).mask[0, 0, 80 - 12 : 84 + 12, 80 - 12 : 84 + 12].all())


def test_a_part_that_everybody_has_is_hidden_though_the_parser_misses_it() -> None:
    labels = torch.full((1, 256, 256), PARTS.index("skin"), dtype=torch.uint8)
    region = find_region(labels, PartChoice.parse("eyes,hat"))
    y0, y1, x0, x1 = (4 * edge for edge in BOXES[2])
    assert region.boxed == ("eyes",) and region.absent == ("hat",)
    assert bool(region.mask[0, 0, y0:y1, x0:x1].all())


def test_dilation_leaves_half_of_what_is_shown() -> None:
    labels = torch.full((1, 256, 256), PARTS.index("skin"), dtype=torch.uint8)
    labels[:, 115:125, 80:110] = labels[:, 115:125, 145:175] = PARTS.index("eyes")
    shown = ~find_region(labels, ALL_BUT_EYES).mask
    assert 300 <= int(shown.sum()) < 600 and not shown[0, 0, :115].any()
    labels[:] = PARTS.index("skin")
    with pytest.raises(SemcastError, match="nothing would be left"):
        find_region(labels, PartChoice.parse("all-but-hat,glasses"))


def test_seams_close_and_nothing_private_is_read() -> None:
    random = torch.Generator().manual_seed(0)
    outside, inside = torch.rand(1, 3, 64, 64, generator=random) * 0.1 + 0.6, torch.full((1, 3, 64, 64), 0.2)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[:, :, 28:36, 28:36] = True
    joined = blend(outside, inside, mask)
    assert torch.equal(joined[~mask.expand_as(joined)], outside[~mask.expand_as(joined)])
    assert float((joined - 0.65)[mask.expand_as(joined)].abs().max()) < 0.2  # far nearer to its surroundings than .2 was
    assert torch.equal(blend(torch.where(mask, torch.tensor(9.0), outside), inside, mask), joined)


@pytest.mark.parametrize("text", ["hair", "skin,eyes", "all-but-eyes", "background"])
def test_coarse_masks_that_cover_the_face_are_refused(text: str) -> None:
    with pytest.raises(SemcastError, match="covers the whole face"):
        Blind(text, coarse=True)


def test_protections_cannot_be_wrong(eyes_mask: Tensor) -> None:
    assert Blind("eyes,hair") == Blind("hair, eyes") != Blind("hair") and Filter("eyes") == Filter(" EYES ")
    assert [p.name for p in (Blind("hair,eyes"), Blind("eyes", coarse=True), Filter("all-but-eyes", 0.5))] == [
        "blind:eyes+hair", "blind-coarse:eyes", "filter(0.5,0.9):all-but-eyes",
    ]  # fmt: skip
    masked, other = Blind("eyes", eyes_mask.numpy()), Blind("eyes", ~eyes_mask)
    assert masked == Blind("eyes", eyes_mask) != other and masked.name.startswith("blind-mask-") and masked.name != other.name
    for given, words in (
        ({"mask": eyes_mask, "coarse": True}, "a mask and coarse exclude each other"),
        ({"mask": eyes_mask[:, :9]}, "bool .H, H."),
        ({"mask": eyes_mask.float()}, "bool .H, H."),
        ({"mask": eyes_mask & False}, "empty"),
        ({"mask": eyes_mask | True}, "covers everything"),
        ({"parts": "eye"}, "unknown part 'eye'"),
    ):
        with pytest.raises(SemcastError, match=words):
            Blind(**{"parts": "eyes"} | given)


# ---- the guarantee ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def link() -> Generative:
    return Generative.load()


@pytest.fixture(scope="module")
def face() -> Tensor:
    from skimage.data import astronaut

    return to_tensor(np.asarray(Image.fromarray(astronaut()[:230, 110:340]).resize((256, 256))))


@pytest.fixture(scope="module")
def eyes_mask() -> Tensor:
    mask = torch.zeros(256, 256, dtype=torch.bool)
    mask[96:148, 64:192] = True
    return mask


def repainted(face: Tensor, mask: Tensor) -> list[Tensor]:
    """Noise, black and another picture in the place of the private pixels."""
    noise = torch.rand(face.shape, generator=torch.Generator().manual_seed(3))
    return [torch.where(mask, other, face) for other in (noise, torch.zeros_like(face), face.flip(-2))]


@pytest.mark.parametrize("name", SYSTEMS)
def test_private_pixels_change_no_symbol(name: str, link: Generative, face: Tensor, eyes_mask: Tensor) -> None:
    try:
        system = link if name == "generative" else load(name, device="cpu")
    except SemcastError as error:
        pytest.skip(str(error))
    symbols = 2000 if name in CODED else max(64, system.min_symbols)  # 64 carry no photo of a codec: nothing to compare
    budget = Budget(symbols, 10.0)
    protections = [Blind("eyes", mask=eyes_mask), Blind("eyes", coarse=True)]
    for protection in protections[: 2 if name == "generative" else 1]:
        private = Private.around(system, protection, link=link)
        with torch.no_grad():
            burst = private.encode(face, budget)
            sent, hidden = burst.symbols, burst.protected.regions[0].mask
            assert not torch.equal(sent, system.encode(face, budget).symbols)
            for other in repainted(face, hidden):
                assert torch.equal(private.encode(other, budget).symbols, sent)
            outside = torch.where(hidden, face, 1 - face)
            assert not torch.equal(private.encode(outside, budget).symbols, sent)


def test_everything_but_the_eyes(link: Generative, face: Tensor, eyes_mask: Tensor) -> None:
    private = Private.around(link, Blind("all-but-eyes", mask=~eyes_mask))
    with torch.no_grad():
        sent = private.encode(face, Budget(64, 10.0)).symbols
        for other in repainted(face, ~eyes_mask):
            assert torch.equal(private.encode(other, Budget(64, 10.0)).symbols, sent)


def test_the_private_codes_are_the_knowledge_bases(link: Generative, face: Tensor, eyes_mask: Tensor) -> None:
    private = Private.around(link, Blind("eyes", mask=eyes_mask))
    mask = eyes_mask[None, None]
    with torch.no_grad():
        rest = hide(face, mask)
        codes = private.natural(rest, mask)
        inverted = link.invert(blend(rest, private.neutral, mask), ~mask)
        assert torch.equal(codes[:, ~EYES.codes], inverted[:, ~EYES.codes])
        assert torch.equal(codes, private.knowledge.replace(codes, EYES.codes))
        sent = private.encode(face, Budget(64, 10.0)).symbols
        assert torch.equal(sent, link.send(codes, Budget(64, 10.0)).symbols)


def test_filter_moves_another_way_each_time_unless_it_is_to_be_repeated(link: Generative, face: Tensor) -> None:
    budget, usual = Budget(64, 10.0), link.inversion
    link.inversion = Guess()
    try:
        with torch.no_grad():
            one, two = Private.around(link, Filter("eyes")), Private.around(link, Filter("eyes"), 0)
            a, b = (one.encode(face, budget).symbols for _ in range(2))
            c, d = (two.encode(face, budget).symbols for _ in range(2))
            assert not torch.equal(a, b) and torch.equal(c, d)
            (moved,) = one.encode(face, budget).protected.filtered
            assert moved.kept > moved.length
            link.refinement = Refine(2)
            with pytest.raises(SemcastError, match="refinement fits the symbols to the photo"):
                Private.around(link, Filter("eyes"))
    finally:
        link.inversion, link.refinement = usual, None


def test_what_was_protected_stays_with_its_burst(link: Generative, face: Tensor) -> None:
    """A receipt is of one transmission: nothing of another photo that the system sent meanwhile gets into it."""
    private, budget = Private.around(load("linear", device="cpu"), Blind("eyes", coarse=True), link=link), Budget(64, 5.0)
    channel, metrics = make_channel("awgn"), Metrics({}, None, [])
    first, plain = (cross(s, channel, face, budget, generator_for(0, "a")) for s in (private, private.system))
    told = receipt(private, face, first, plain, metrics, aligned=True)
    cross(private, channel, face.flip(-1), budget, generator_for(0, "b"))
    assert receipt(private, face, first, plain, metrics, aligned=True) == told
    assert told["mode"] == "blind" and told["derived_from_private_pixels"] == []
    with pytest.raises(SemcastError, match="not from one"):
        receipt(private, face, plain, plain, metrics, aligned=True)


def test_a_receipt_goes_by_the_threshold_of_each_recogniser(link: Generative, face: Tensor) -> None:
    class Recogniser(Identity):
        def __init__(self, name: str, says: float) -> None:
            self.path, self.kind, self.says = Path(name), kind_of(name), says

        def similarity(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.full((len(a),), self.says)

    private, budget = Private.around(load("linear", device="cpu"), Blind("eyes", coarse=True), link=link), Budget(64, 5.0)
    channel = make_channel("awgn")
    sent, plain = (cross(s, channel, face, budget, generator_for(0, "a")) for s in (private, private.system))
    known = [Recogniser("mobileface_v2.onnx", 0.45), Recogniser("dlib_resnet.onnx", 0.45), Recogniser("mine.onnx", 0.9)]
    told = receipt(private, face, sent, plain, Metrics({}, known, []), aligned=True)
    assert [told[name].get("same_person_after") for name in ("identity", "identity_2", "identity_3")] == [False, True, None]
    assert [told[name]["threshold"] for name in ("identity", "identity_2", "identity_3")] == [0.47, pytest.approx(0.4), None]
    shown = str([list(column.cells) for column in table(told).columns])
    assert "somebody else (threshold 0.47)" in shown and "the same person (threshold 0.40)" in shown
    assert "face match (identity 3)" in shown and "its threshold is not known" in shown


def test_filter_is_for_codes(link: Generative, face: Tensor) -> None:
    with pytest.raises(SemcastError, match="filter works on the codes"):
        Private.around(load("linear", device="cpu"), Filter("eyes"), link=link)


# ---- files, command line ---------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *given: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in given])
    return (int(exit_.value.code or 0), *capsys.readouterr())


@pytest.fixture
def portrait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from skimage.data import astronaut

    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut()[:230, 110:340]).resize((300, 300)).save("me.png")
    mask = np.zeros((300, 300), np.uint8)
    mask[113:173, 75:225] = 255
    Image.fromarray(mask).save("mask.png")
    return tmp_path / "me.png"


def test_guarantee_from_the_file_on(capsys: pytest.CaptureFixture[str], portrait: Path) -> None:
    """At 300 x 300 pixels, so that the photo is resized: private pixels must not reach beyond the mask by it."""
    given = ("--aligned", "--private", "eyes", "--private-mask", "mask.png", "--system", "linear", "--json", "--save-symbols")
    code, out, err = run(capsys, "transmit", "me.png", *given, "a.npy")
    assert code == 0, err
    values = json.loads(out)["privacy"]
    assert values["derived_from_private_pixels"] == [] and values["parts"] == ["eyes"]
    assert values["outside_psnr_db"] > 25 > values["inside_psnr_db"]["after"]
    pixels, mask = np.asarray(Image.open("me.png")).copy(), read_mask("mask.png")
    pixels[mask] = np.random.default_rng(0).integers(0, 255, (int(mask.sum()), 3), np.uint8)
    Image.fromarray(pixels).save("other.png")
    assert not np.array_equal(read_aligned("other.png"), read_aligned("me.png"))
    assert run(capsys, "transmit", "other.png", *given, "b.npy")[0] == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))


def test_readable_receipt_and_evaluation(capsys: pytest.CaptureFixture[str], portrait: Path) -> None:
    code, out, err = run(capsys, "transmit", "me.png", "--aligned", "--private", "eyes", "--coarse-mask", "--symbols", 64,
                         "--system", "linear")  # fmt: skip
    assert code == 0, err
    assert "privacy receipt" in out and "nothing: no symbol depends on them" in out
    given = ("evaluate", "me.png", "--aligned", "--systems", "linear", "--snr", 5, "--symbols", 64, "-o", "r.jsonl")
    assert run(capsys, *given)[0] == 0
    code, out, err = run(capsys, *given, "--private", "eyes", "--coarse-mask")
    assert code == 0 and "1 measured" in err, err
    records = read(Path("r.jsonl"))
    assert [record.private for record in records] == [None, "blind-coarse:eyes"]
    assert records[0].key != replace(records[0], private="blind:eyes").key
    assert "0 measured" in run(capsys, *given, "--private", "eyes", "--coarse-mask")[2]


def test_a_photo_of_nothing_but_private_parts_is_skipped(tmp_path: Path, link: Generative) -> None:
    from semcast.bench.sweep import Plan, Sweep
    from semcast.channels import make_channel
    from semcast.metrics.report import Metrics
    from semcast.networks.segmenter import FaceParser
    from semcast.sources import find_photos

    Image.new("RGB", (256, 256), (90, 60, 50)).save(tmp_path / "plain.png")
    protection = Blind("all-but-earring")
    plan = Plan(snr_db=(5.0, 10.0), symbols=(64,), aligned=True)
    private = Private.around(load("linear", device="cpu"), protection, link=link)
    sweep = Sweep(plan, [private], [make_channel("awgn")], Metrics({}, None, []), FaceParser)
    with pytest.raises(SemcastError, match="plain.png: .*nothing would be left"):
        sweep.run(find_photos([tmp_path / "plain.png"]), tmp_path / "r.jsonl")


def test_a_mask_over_faces_that_may_be_resized_grows(portrait: Path) -> None:
    """An evaluation knows only that it is over the aligned face: a photo of another size is resized before it is hidden."""
    mask = np.zeros((256, 256), np.uint8)
    mask[100:150, 60:200] = 255
    Image.fromarray(mask).save("face.png")
    grown = _mask_of(Path("face.png"), True, None)
    assert grown[96:154, 56:204].sum() > 0.97 * 58 * 148 and grown.sum() <= 58 * 148
    assert np.array_equal(_mask_of(Path("mask.png"), True, portrait), read_mask("mask.png"))


def test_lines_from_before_parts_could_be_private(capsys: pytest.CaptureFixture[str], portrait: Path) -> None:
    given = ("evaluate", "me.png", "--aligned", "--systems", "linear", "--snr", 5, "--symbols", 64, "-o", "r.jsonl")
    assert run(capsys, *given)[0] == 0
    values = json.loads(Path("r.jsonl").read_text())
    del values["private"]
    record = parse(json.dumps(values))
    assert record is not None and record.private is None and record == read(Path("r.jsonl"))[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--private", "eye"], "unknown part 'eye'; known: background, skin, eyes"),
        (["--private", "eyes", "--privacy", "hope"], "blind or filter"),
        (["--private", "eyes", "--privacy", "filter", "--system", "linear"], "filter works on the codes"),
        (["--private", "eyes", "--lambda1", "2"], "are for --privacy filter"),
        (["--private", "eyes", "--privacy", "filter", "--lambda2", "1"], "lambda2 must be"),
        (["--private", "eyes", "--privacy", "filter", "--coarse-mask"], "for --privacy blind"),
        (["--private", "hair", "--coarse-mask"], "covers the whole face"),
        (["--private-mask", "mask.png"], "need --private"),
        (["--coarse-mask"], "need --private"),
        (["--lambda1", "1"], "need --private"),
        (["--private", "eyes", "--private-mask", "nowhere.png"], "does not exist"),
        (["--private", "eyes", "--private-mask", "small.png"], "128 x 128 pixels, the photo 300 x 300"),
        (["--private", "eyes", "--private-mask", "me.png"], "not binary"),
        (["--private", "eyes", "--private-mask", "all.png"], "covers everything"),
        (["--private", "eyes", "--private-mask", "none.png"], "empty"),
        (["--private", "eyes", "--private-mask", "text.png"], "not a mask"),
        (["--private", "eyes", "--private-mask", "mask.png", "--coarse-mask"], "exclude each other"),
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], portrait: Path, options: list[str], words: str) -> None:
    Image.new("L", (128, 128)).save("small.png")
    Image.new("L", (300, 300), 255).save("all.png")
    Image.new("L", (300, 300), 0).save("none.png")
    Path("text.png").write_text("hello")
    code, out, err = run(capsys, "transmit", "me.png", "--aligned", *options)
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err, err


def test_a_mask_needs_an_aligned_photo(capsys: pytest.CaptureFixture[str], portrait: Path) -> None:
    code, _, err = run(capsys, "transmit", "me.png", "--private", "eyes", "--private-mask", "mask.png")
    assert code == 2 and "--aligned" in err


def test_box_names() -> None:
    assert box_of(2, 256).sum() == (37 - 24) * (48 - 16) * 16


def test_a_private_system_is_a_system(link: Generative, face: Tensor, eyes_mask: Tensor) -> None:
    from semcast.bench.sweep import fingerprint

    system: System = Private.around(link, Blind("eyes", mask=eyes_mask))
    assert (system.name, system.min_symbols, system.max_symbols) == (link.name, link.min_symbols, link.max_symbols)
    assert fingerprint(system) != fingerprint(link)
    with pytest.raises(SemcastError, match="works with"):
        system.check(Budget(1, 10.0))
