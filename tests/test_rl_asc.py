"""The semantic codec with tiny untrained networks: concepts, painter, allocations, files, and both trainings."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

pytest.importorskip("constriction")

from semcast.codec.allocation import PLAIN, care_for, exhaustive
from semcast.codec.bitstream import unpack
from semcast.codec.choice import Choice, Options
from semcast.codec.codec import ALLOCATIONS, Networks, RlAsc, receive
from semcast.codec.concepts import (
    CATEGORIES,
    GRID,
    SIDES,
    at_64,
    cells_of,
    find_concepts,
    map_features,
    map_levels,
    one_hot,
)
from semcast.codec.criterion import PLAIN_TASK, Criterion, Task, Weights, lpips_cells, weigh_cells
from semcast.codec.encoder import ConceptEncoderConfig, parse_layouts
from semcast.codec.feature_coder import FeatureCoder, count_contexts, default_tables
from semcast.codec.ladder import V1, V2, Ladder
from semcast.codec.layout_coder import NEAR, LayoutCoder, LayoutTables
from semcast.codec.painter import BRANCHES, CELL, SceneCodec, ScenePainterConfig, branch_of
from semcast.codec.policy import Policy, PolicyConfig, Walk, count_observed, list_fields
from semcast.codec.score import preview
from semcast.codec.tables import Tables, load_tables
from semcast.domains import DOMAINS, FACE, STREET
from semcast.errors import DoesNotFit, Missing, SemcastError
from semcast.metrics.perceptual import Lpips, missing
from semcast.networks.lapped import LappedBlocks
from semcast.networks.segmenter import SceneParser, SceneParserConfig
from semcast.photos import to_tensor
from semcast.rivals.bit_codecs import load_bit_codec
from semcast.train import RECIPES
from semcast.train.allocation import Settings, random_task, teach
from semcast.train.context import ContextNetwork
from semcast.train.recipes import run
from semcast.train.scene_parts import fit_estimate, layout_of, random_table, start_encoder, upsample
from semcast.weights import save

PAINTER = ScenePainterConfig(widths=(16, 16, 8, 8, 4), local=(8, 4, 4), own=2)
PARSER = SceneParserConfig(widths=(8, 8, 16, 16, 16))


def codec_of(ladder: Ladder) -> SceneCodec:
    """A small one of a version."""
    encoder = ConceptEncoderConfig(widths=(8, 8, 16, 16), embedding=4, version=ladder.version)
    return SceneCodec(encoder, replace(PAINTER, version=ladder.version))


def coder_of(ladder: Ladder) -> FeatureCoder:
    """One of its features for which nothing was learned."""
    return default_tables() if ladder is V1 else ContextNetwork(4).whole()


def photo_of(seed: int = 0) -> np.ndarray:
    """A few flat areas."""
    tiles = np.random.default_rng(seed).integers(0, 255, (4, 4, 1)).astype(np.uint8)
    return tiles.repeat(64, 0).repeat(64, 1).repeat(3, 2)


def layout_tables(side: int, hidden: int = 4) -> LayoutTables:
    """Expect the category to the left."""
    rng = np.random.default_rng(side)
    near = rng.integers(-50, 50, (len(NEAR), CATEGORIES + 1, hidden + CATEGORIES))
    left = NEAR.index((0, -1))
    for category in range(CATEGORIES):
        near[left, category, hidden + category] += 3000
    return LayoutTables(
        near=near.astype(np.int16), seen=np.zeros((CATEGORIES, hidden + CATEGORIES), np.int64),
        row=np.zeros((side, hidden + CATEGORIES), np.int64), column=np.zeros((side, hidden + CATEGORIES), np.int64),
        inner=np.zeros((hidden, hidden), np.int64), bias=np.zeros(hidden, np.int64),
        outer=np.zeros((hidden, CATEGORIES), np.int64),
        power=np.round(2.0**20 * 2.0 ** (-np.arange(1281) / 64)).astype(np.int32),
    )  # fmt: skip


def bold(module: torch.nn.Module) -> torch.nn.Module:
    """Untrained networks change next to nothing: here every parameter matters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3 / max(1, parameter[0].numel()) ** 0.5)
    return module.eval()


class ByBrightness(torch.nn.Module):
    """A parser that takes brightness for the category, in five steps."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(19.0).view(1, -1, 1, 1)
        return -50 * ((image.mean(1, keepdim=True) * 5).round() * 3 - steps).square().clamp_max(1)


@pytest.fixture(scope="module", params=[V1, V2], ids=["v1", "v2"])
def ladder(request: pytest.FixtureRequest) -> Ladder:
    return request.param


@pytest.fixture(scope="module")
def networks(ladder: Ladder) -> Networks:
    torch.manual_seed(1)
    codec = codec_of(ladder)
    codec.fingerprint = "tiny"
    coders = {side: LayoutCoder(layout_tables(side)) for side in SIDES}
    tables = Tables("street", coders, coder_of(ladder), "tiny", ladder)
    return Networks(STREET, bold(codec), ByBrightness(), tables, Lpips.load("squeeze"))


@pytest.fixture(scope="module")
def options(networks: Networks) -> Options:
    """A photo, and a J that likes high levels of each concept by its number, without decoding."""
    found = RlAsc(networks, PLAIN["uniform"], "uniform").options(photo_of())
    gains = np.sqrt(np.array([0.0, 2, 3, 5, 9, 17, 33, 65, 129]))

    def score(choices):
        return [sum(gains[level] * (1 + i % 3) for i, level in enumerate(c.levels)) - found.size(c) / 100 for c in choices]

    return Options(found.sides, score)


def roomy(options: Options) -> int:
    """A budget that every side fits into with some features."""
    return max(options.size(options.empty(side)) for side in options.sides) + 60


# ---- concepts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_constants_agree_with_the_tables_that_ship(domain: str) -> None:
    tables = Tables.load(domain)
    assert {side: coder.side for side, coder in tables.layouts.items()} == {side: side for side in SIDES}
    shapes = {level: table.shape for level, table in tables.features.frequencies.items()}
    assert shapes == {level: (CATEGORIES, V1.channels, count_contexts(level), V1.steps[level]) for level in range(1, V1.levels)}
    assert len(tables.importance) == CATEGORIES


@pytest.mark.parametrize("side", SIDES)
def test_cells_are_majorities(side: int) -> None:
    layouts = np.random.default_rng(side).integers(0, 4, (3, side, side)).astype(np.uint8)
    cells = cells_of(layouts)
    for layout, found in zip(layouts, cells, strict=True):
        assert np.array_equal(found, cells_of(layout))
        block = side // GRID
        for y, x in ((0, 0), (7, 3), (15, 15)):
            values = layout[y * block : (y + 1) * block, x * block : (x + 1) * block]
            assert found[y, x] == np.bincount(values.ravel()).argmax()  # argmax takes the lower of two
    assert np.array_equal(cells_of(at_64(layouts)), cells)  # what the painter sees tells the same cells


def test_cells_refuse_what_is_no_layout() -> None:
    with pytest.raises(SemcastError, match="side"):
        cells_of(np.zeros((20, 20), np.uint8))
    with pytest.raises(SemcastError, match="below 19"):
        cells_of(np.full((16, 16), 255, np.uint8))


def test_layout_of_labels_fills_what_is_ignored() -> None:
    labels = torch.full((1, 64, 64), 255, dtype=torch.uint8)
    labels[:, :40] = 3
    labels[:, 40:44, :10] = 5
    for side in SIDES:
        layout = layout_of(labels, side, 19)
        assert layout.shape == (1, side, side) and layout.dtype == torch.uint8
        assert set(layout.unique().tolist()) <= {3, 5} and layout[0, 0, 0] == 3
    assert torch.equal(upsample(layout_of(labels, 16, 19))[:, ::4, ::4], layout_of(labels, 16, 19))


# ---- networks --------------------------------------------------------------------------------------------------------


def test_painter_shapes_branches_and_gradients(ladder: Ladder) -> None:
    torch.manual_seed(0)
    codec = bold(codec_of(ladder)).train()
    layout = torch.randint(0, 19, (2, 64, 64), dtype=torch.uint8)
    levels = torch.randint(1, ladder.levels, (2, GRID, GRID))
    levels[0, 0, 0] = ladder.levels - 1  # which sends all features
    made = codec.encoder(torch.rand(2, 3, 256, 256), layout)
    assert made.shape == (2, ladder.channels, GRID, GRID) and (made.abs().max() < 1 or ladder is V2)
    painted = codec.painter(layout, ladder.quantise(made, levels), one_hot(levels, ladder.levels))
    assert painted.image.shape == (2, 3, 256, 256) and painted.share.shape == (2, 1, 256, 256)
    assert painted.share.min() >= 0 and painted.share.max() <= 1
    mixture = painted.share * painted.whole + (1 - painted.share) * painted.parts
    assert torch.allclose(painted.image, mixture, atol=1e-5)
    assert [branch_of(painted, b) is p for b, p in zip(BRANCHES, painted[:3], strict=True)] == [True] * 3
    with pytest.raises(SemcastError, match="unknown branch"):
        branch_of(painted, "both")
    painted.image.square().mean().backward()
    silent = [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_no_branch_is_shut_out_from_version_2_on(ladder: Ladder) -> None:
    """Whatever the attention learns: a branch without a share of the picture learns nothing more."""
    torch.manual_seed(0)
    codec = codec_of(ladder)
    layout, levels = torch.zeros(1, 64, 64, dtype=torch.uint8), torch.zeros(1, GRID, GRID, dtype=torch.long)
    shares = []
    with torch.no_grad():
        for way in (1e4, -1e4):
            codec.painter.attend.bias.copy_(torch.tensor([way, -way]))
            features = torch.zeros(1, ladder.channels, GRID, GRID)
            shares.append(float(codec.painter(layout, features, one_hot(levels, ladder.levels)).share.mean()))
    assert shares == pytest.approx([0.9, 0.1] if ladder is V2 else [1.0, 0.0], abs=1e-4)


def test_the_linear_paths_start_as_a_transform_code() -> None:
    """Before any training, finer steps of the features give a better estimate of photos that were not among those fitted."""
    torch.manual_seed(0)
    codec = codec_of(V2)
    photos = F.interpolate(torch.rand(24, 3, 24, 24), (256, 256), mode="bicubic").clamp(0, 1)
    start_encoder(codec, photos[:16])
    with torch.no_grad():
        fit_estimate(codec, codec.encoder.linear(photos[:16]), photos[:16], torch.Generator().manual_seed(0))
        features = codec.encoder.linear(photos[16:])
        made = [V2.quantise(features, torch.full((8, GRID, GRID), level)) for level in range(V2.levels)]
        errors = [float((codec.painter.linear(each) - photos[16:]).square().mean()) for each in made]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.4 * errors[0]
    flat = photos[:16].mean((0, 2, 3))
    assert errors[0] == pytest.approx(float((photos[16:] - flat[:, None, None]).square().mean()), rel=1e-3)


def test_lapped_blocks_are_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    blocks, features = LappedBlocks(5), torch.randn(2, 5, 4, 6)
    plain = F.conv_transpose2d(features, blocks.weight, blocks.bias, stride=CELL, padding=CELL)
    assert plain.shape == (2, 3, 4 * CELL, 6 * CELL) and torch.allclose(blocks(features), plain, atol=1e-5)


def test_local_branch_keeps_categories_apart() -> None:
    """Before the shared layers a place depends on its own category's filters alone."""
    torch.manual_seed(0)
    branch = bold(codec_of(V1).painter.parts)
    layout = torch.zeros(1, 64, 64, dtype=torch.uint8)
    layout[:, :, 32:] = 7
    seen = []
    branch.shared.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    x = torch.randn(1, PAINTER.widths[1] + V1.channels, 32, 32)
    with torch.no_grad():
        branch(x, one_hot(layout, 19))
        branch.first.weight[7 * PAINTER.own : 8 * PAINTER.own] += 1  # the filters of category 7
        branch(x, one_hot(layout, 19))
        branch(torch.cat((x[..., :16], x[..., 16:] + 1), -1), one_hot(layout, 19))
    assert torch.equal(seen[0][..., :32], seen[1][..., :32]) and not torch.equal(seen[0][..., 32:], seen[1][..., 32:])
    assert torch.equal(seen[1][..., :32], seen[2][..., :32])  # what lies beyond the border is masked


def test_one_photo_and_many_agree(networks: Networks) -> None:
    sides = networks.sides(torch.rand(1, 3, 256, 256))
    choices = [Choice(side, (level,) * len(sides[side].empty())) for side in SIDES for level in (0, 3)]
    together = preview(networks.codec, sides, choices)
    for choice, picture in zip(choices, together, strict=True):
        assert (preview(networks.codec, sides, [choice])[0] - picture).abs().max() < 0.02  # bfloat16


def test_errors_are_what_the_file_loses(options: Options, ladder: Ladder) -> None:
    side = options.sides[32]
    for concept, errors in zip(side.concepts, side.errors, strict=True):
        values = side.features.reshape(ladder.channels, -1)[:, concept.cells].T
        assert errors[0] == pytest.approx(float(np.square(values, dtype=np.float64).sum()))
        for level in range(1, ladder.levels):
            sent = ladder.dequantise(ladder.to_indices(values, level), level)
            assert errors[level] == pytest.approx(float(np.square(values - sent, dtype=np.float64).sum()), abs=1e-4)


def test_random_levels_are_one_a_category_or_one_for_all() -> None:
    table = random_table(200, 19, torch.Generator().manual_seed(0))
    same = (table == table[:, :1]).all(1)
    assert table.shape == (200, 19) and set(table.unique().tolist()) == set(range(V2.levels))
    assert 50 < int(same.sum()) < 150 and 0 < int((table == 0).all(1).sum()) < 40


# ---- allocations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uniform", "random", "area", "greedy"])
def test_an_allocation_fits_and_uses_its_budget(name: str, options: Options) -> None:
    least = min(options.size(options.empty(side)) for side in options.sides)
    for budget in (least, least + 40, roomy(options), 4000):
        choice = PLAIN[name](options, budget)
        assert options.size(choice) <= budget
        assert len(choice.levels) == len(options.sides[choice.side].concepts)
        assert PLAIN[name](options, budget) == choice
    with pytest.raises(SemcastError, match=f"at least {least} bytes"):
        PLAIN[name](options, least - 1)
    if name in ("uniform", "area"):
        assert set(PLAIN[name](options, 100_000).levels) == {options.levels - 1}


def test_uniform_differs_by_one_level_at_most(options: Options) -> None:
    for budget in range(roomy(options), roomy(options) + 500, 50):
        levels = PLAIN["uniform"](options, budget).levels
        assert max(levels) - min(levels) <= 1


def test_exhaustive_is_the_best_and_greedy_is_near(options: Options) -> None:
    budget, levels = roomy(options), (0, 1, 3)
    best = exhaustive(options, budget, levels=levels)
    (top,) = options.score([best])
    assert options.size(best) <= budget
    side = options.sides[SIDES[1]]
    for chosen in itertools.product(levels, repeat=len(side.empty())):
        choice = Choice(SIDES[1], chosen)
        assert options.size(choice) > budget or options.score([choice])[0] <= top + 1e-9
    climbed, plain = options.score([PLAIN["greedy"](options, budget), PLAIN["uniform"](options, budget)])
    assert climbed >= plain - 1e-9
    with pytest.raises(SemcastError, match="too many"):
        exhaustive(options, budget, most=2)


def test_a_walk_never_exceeds_its_budget(options: Options, ladder: Ladder) -> None:
    rng = np.random.default_rng(0)
    for budget in (roomy(options) - 60, roomy(options), 2000):
        for _ in range(5):
            walk = Walk(options, budget)
            while not walk.done:
                seen, mask = walk.observation(), walk.allowed()
                assert seen.shape == (count_observed(ladder),) and seen.dtype == np.float32 and np.isfinite(seen).all()
                assert np.abs(seen).max() <= 4 and mask.any()
                walk.take(int(rng.choice(np.flatnonzero(mask))))
            assert options.size(walk.choice) <= budget
    assert sum(count for _, count in list_fields(ladder)) == count_observed(ladder)


def test_a_policy_follows_its_preference_within_the_budget(options: Options, ladder: Ladder) -> None:
    policy = Policy(PolicyConfig(hidden=(8,), inputs=count_observed(ladder), version=ladder.version))
    with torch.no_grad():
        policy.layers[-1].weight.zero_()
        policy.layers[-1].bias.zero_()[1:3].copy_(torch.tensor([1.0, 2.0]))
    choice = policy.allocate(options, 100_000)
    assert choice.side == SIDES[2] and set(choice.levels) == {2}
    tight = policy.allocate(options, roomy(options))
    assert options.size(tight) <= roomy(options)


def test_care_raises_what_is_cared_for(options: Options) -> None:
    budget = roomy(options) + 200
    choice = PLAIN["uniform"](options, budget)
    concepts = options.sides[choice.side].concepts
    last = min(range(len(concepts)), key=lambda i: len(concepts[i].cells))
    cared = care_for(options, choice, budget, {concepts[last].category: 4})
    assert cared.levels[last] > choice.levels[last] and options.size(cared) <= budget
    assert care_for(options, choice, budget, {concepts[last].category: 1}) == choice


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uniform", "random", "area"])
def test_a_file_shows_what_the_sender_expected(name: str, networks: Networks) -> None:
    codec, photo = RlAsc(networks, PLAIN[name], name), photo_of(3)
    options = codec.options(photo)
    for budget in (roomy(options), 1500):
        stream = codec.compress(photo, budget)
        choice = PLAIN[name](options, budget)
        assert len(stream) <= options.size(choice) <= budget
        picture = codec.decompress(stream)
        assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
        expected = preview(networks.codec, options.sides, [choice])[0]
        assert np.abs(picture / 255.0 - expected.permute(1, 2, 0).numpy()).max() < 0.01
        assert codec.decompress(stream).tobytes() == picture.tobytes()
        alone = RlAsc(networks, PLAIN[name], name, branch="local")
        assert alone.compress(photo, budget) == stream and (alone.decompress(stream) != picture).any()


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
def test_greedy_decodes_and_gains(networks: Networks) -> None:
    codec, photo = RlAsc(networks, PLAIN["greedy"], "greedy"), photo_of(3)
    options = codec.options(photo)
    budget = min(options.size(options.empty(side)) for side in options.sides) + 30
    choice = PLAIN["greedy"](options, budget)
    found, empty = options.score([choice, options.empty(options.open_sides(budget)[0])])
    assert found >= empty
    assert len(codec.compress(photo, budget)) <= budget


def test_a_photo_told_of_care_is_as_one_made_with_it(networks: Networks) -> None:
    """Training tells one photo of many tasks; the codec makes it anew for each."""
    layout, features = networks.describe(to_tensor(photo_of()))[0]
    plain = networks.side(layout, features)
    care = {plain.concepts[-1].category: 200, plain.concepts[0].category: 2}
    told, made = plain.told(care), networks.side(layout, features, care=care)
    order = [concept.category for concept in made.concepts]
    assert [concept.category for concept in told.concepts] == order != [concept.category for concept in plain.concepts]
    np.testing.assert_array_equal(told.sizes.bits, made.sizes.bits)
    np.testing.assert_array_equal(told.errors, made.errors)
    for seed in range(5):
        levels = np.random.default_rng(seed).integers(0, plain.ladder.levels, len(order)).tolist()
        assert told.sizes.at_most(levels) == made.sizes.at_most(levels)


def test_another_size_and_care_are_in_the_file(networks: Networks) -> None:
    codec = RlAsc(networks, PLAIN["uniform"], "uniform", care={11: 4, 13: 2})
    wide = np.asarray(Image.fromarray(photo_of(5)).resize((400, 200)))
    stream = codec.compress(wide, 2000)
    received = codec.receive(stream)
    assert received.size == (400, 200) and received.stretch().shape == (200, 400, 3) and not received.notes
    assert unpack(stream, networks.tables).care == {11: 4, 13: 2}
    assert codec.version != RlAsc(networks, PLAIN["uniform"], "uniform").version


def test_damage_costs_concepts_or_is_said(networks: Networks) -> None:
    codec = RlAsc(networks, PLAIN["uniform"], "uniform")
    stream = codec.compress(photo_of(3), 1500)
    whole = codec.receive(stream)
    assert not whole.notes
    received = codec.receive(stream[:-20])
    assert received.notes and received.pixels.shape == (256, 256, 3)
    shown_at_all = 0
    for place in range(0, len(stream), len(stream) // 24):
        damaged = bytearray(stream)
        damaged[place] ^= 0x55
        try:
            shown_at_all += bool(codec.receive(bytes(damaged)).notes)
        except SemcastError:
            continue
    assert shown_at_all
    for junk in (b"", b"\x00" * 40, stream[:10]):
        with pytest.raises(SemcastError):
            codec.decompress(junk)


def test_other_networks_are_refused(networks: Networks) -> None:
    stream = RlAsc(networks, PLAIN["uniform"], "uniform").compress(photo_of(), 1500)
    other = codec_of(networks.codec.ladder)
    other.fingerprint = "other"
    with pytest.raises(SemcastError):
        RlAsc(Networks(STREET, other, networks.parser, networks.tables, None), PLAIN["uniform"], "uniform").decompress(stream)
    faces = Tables("face", networks.tables.layouts, networks.tables.features, "tiny")
    with pytest.raises(SemcastError, match="domain"):
        RlAsc(Networks(FACE, networks.codec, networks.parser, faces, None), PLAIN["uniform"], "uniform").decompress(stream)


def test_nothing_fits(networks: Networks) -> None:
    with pytest.raises(DoesNotFit, match="at least"):
        RlAsc(networks, PLAIN["uniform"], "uniform").compress(photo_of(), 12)


# ---- trainings and names ---------------------------------------------------------------------------------------------


def shard(path: Path, count: int) -> None:
    """Photos that are their labels in grey."""
    random = np.random.default_rng(count)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i in range(count):
            mask = random.integers(0, 19, (8, 8)).astype(np.uint8).repeat(32, 0).repeat(32, 1)
            mask[:8] = 255
            for kind, pixels in (("jpg", np.repeat(mask[..., None] * 10, 3, 2)), ("mask.png", mask)):
                buffer = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
                member = tarfile.TarInfo(f"{i:04d}.{kind}")
                member.size = buffer.tell()
                tar.addfile(member, io.BytesIO(buffer.getvalue()))


@pytest.fixture
def shipped(networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny weights of a street codec where weights are looked for, and shards; → the folder of the shards."""
    weights = tmp_path / "weights"
    weights.mkdir()
    save(weights / "codec-street.safetensors", networks.codec.state_dict(), kind="scene-codec",
         config={"encoder": asdict(networks.codec.encoder.config), "painter": asdict(networks.codec.painter.config),
                 "version": networks.codec.ladder.version}, int8=("",))  # fmt: skip
    save(
        weights / "parser-street.safetensors", bold(SceneParser(PARSER)).state_dict(), kind="scene-parser", config=asdict(PARSER)
    )
    tables = {
        f"layout{side}.{name}": torch.from_numpy(np.ascontiguousarray(value))
        for side in SIDES for name, value in vars(layout_tables(side)).items()
    }  # fmt: skip
    version = networks.codec.ladder.version
    if version == V2.version:
        packed = networks.tables.features.pack()
        tables |= {f"features.{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in packed.items()}
    save(weights / "bits-street.safetensors", tables, kind="bits", config={"version": version})
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(weights))
    load_tables.cache_clear()
    data = tmp_path / "data"
    shard(data / "street256" / "train-000.tar", 4)
    shard(data / "street256" / "val-000.tar", 2)
    yield data
    load_tables.cache_clear()


@pytest.fixture
def no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the weights that ship, which have one."""
    monkeypatch.setattr("semcast.weights.store._HERE", tmp_path)


def test_codecs_by_name(shipped: Path, no_policy: None) -> None:
    for name in ("uniform", "greedy", "random", "area"):
        assert load_bit_codec(name, "street").name == name
    stream = load_bit_codec("uniform", "street").compress(photo_of(), 1500)
    assert load_bit_codec("area", "street").decompress(stream).shape == (256, 256, 3)
    with pytest.raises(Missing, match="allocation-street"):
        load_bit_codec("rl-asc", "street")
    with pytest.raises(SemcastError, match="unknown allocation"):
        RlAsc.load("best", "street")
    assert set(PLAIN) < set(ALLOCATIONS) and "scene-codec" in RECIPES and "allocation" in RECIPES


def test_a_codec_computes_where_it_is_told(shipped: Path) -> None:
    """By default on the processor, with the same bytes; elsewhere all of its networks are there, and nothing stays behind."""
    usual, told = load_bit_codec("uniform", "street"), load_bit_codec("uniform", "street", device="cpu")
    stream = usual.compress(photo_of(), 1500)
    assert told.compress(photo_of(), 1500) == stream and told.version == usual.version
    picture = receive(stream)
    assert np.array_equal(receive(stream, device="cpu").pixels, picture.pixels)
    assert np.array_equal(usual.decompress(stream), picture.pixels)
    networks = Networks.load("street", "meta")
    assert networks.device.type == "meta"
    for network in (networks.codec, networks.parser):
        assert {value.device.type for value in network.state_dict().values()} == {"meta"}


def test_little_sent_is_painted_and_much_is_faithful() -> None:
    from semcast.train.scene_codec import weigh_errors

    weights = weigh_errors(torch.arange(V2.levels).view(1, 1, -1))[0, 0]
    assert (weights.diff() > 0).all() and 0 < weights[0] < 0.1 and weights[-1] == 1



@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
def test_recipe_scene_codec(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import semcast.train.scene_codec as recipe

    monkeypatch.setattr(recipe, "SceneCodec", lambda *a: codec_of(V2))
    out = tmp_path / "run"
    few = ["batch=2", "judged_from=1", "bits_from=1"]
    run("scene-codec", shipped, out, overrides=[*few, "steps=3"])
    run("scene-codec", shipped, out, resume=True, overrides=[*few, "steps=4"])
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {"mse", "lpips", "parsing", "bits", "discriminator", "matching", "psnr"} <= set(lines[-2])
    assert {"val_miou_0", "val_lpips_2", "val_bytes_5"} <= set(lines[-1])
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(out))
    assert SceneCodec.load("street").painter.config == replace(PAINTER, version=V2.version)


def test_recipe_features(shipped: Path, tmp_path: Path, ladder: Ladder) -> None:
    run("features", shipped, tmp_path / "out")
    with np.load(tmp_path / "out" / "features.npz") as file:
        assert file["features"].shape == (4 * len(SIDES), ladder.channels, GRID, GRID)
        assert file["cells"].shape == (4 * len(SIDES), GRID, GRID)


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
@pytest.mark.slow
def test_table_is_exact_for_uniform_levels(networks: Networks, shipped: Path) -> None:
    from semcast.train.data import load_scenes
    from semcast.train.photo_table import Exact, PhotoTable

    scenes = load_scenes(shipped, STREET, "val", 256)
    table = PhotoTable.of(networks, scenes)
    exact = Exact(networks, scenes, table)
    for i in range(len(scenes)):
        looked_up, true = table.options(networks, i), exact(i)
        choices = [Choice(side, (level,) * len(looked_up.sides[side].empty())) for side in SIDES for level in (0, 1, 5)]
        assert looked_up.score(choices) == pytest.approx(true.score(choices), abs=0.01)  # bfloat16


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
@pytest.mark.slow
def test_a_table_goes_on_after_the_photos_that_it_had(
    networks: Networks, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semcast.train import photo_table
    from semcast.train.data import load_scenes

    made = list[int]()
    row = photo_table._row
    monkeypatch.setattr(photo_table, "_KEPT", 1)
    monkeypatch.setattr(photo_table, "_row", lambda *given: made.append(1) or row(*given))
    scenes, path = load_scenes(shipped, STREET, "val", 256), tmp_path / "table.npz"
    few = replace(scenes, images=scenes.images[:1], masks=scenes.masks[:1], names=scenes.names[:1])
    whole = photo_table.kept_table(path, networks, scenes, resume=True)
    assert len(made) == len(whole) == len(scenes) > 1
    again = photo_table.kept_table(path, networks, scenes, resume=True)
    assert len(made) == len(scenes) and np.array_equal(again.lpips, whole.lpips) and np.array_equal(again.truth, whole.truth)
    photo_table.PhotoTable.of(networks, scenes, [0]).save(path, _said(path))
    stopped = photo_table.kept_table(path, networks, scenes, resume=True)
    assert len(made) == 2 * len(scenes) and np.array_equal(stopped.counts, whole.counts)
    assert len(photo_table.kept_table(path, networks, few, resume=True)) == 1  # of other photos: made anew
    path.write_bytes(b"PK")
    assert len(photo_table.kept_table(path, networks, few, resume=True)) == 1


def _said(path: Path) -> str:
    with np.load(path) as file:
        return str(file["of"])


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
@pytest.mark.slow
def test_recipe_allocation(shipped: Path, tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    out = tmp_path / "run"
    few = ["envs=2", "horizon=64", "batch=32", "epochs=1", "low=1200", "high=1500", "exact_from=2", "checked=2"]
    run("allocation", shipped, out, overrides=[*few, "steps=2"])
    run("allocation", shipped, out, resume=True, overrides=[*few, "steps=3"])
    found = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert -1 <= found["val_r"] <= 1 and "val_rl-asc_1000" in found and "val_greedy_1000" in found
    (Path(tmp_path) / "weights" / "allocation-street.safetensors").write_bytes(
        (out / "allocation-street.safetensors").read_bytes()
    )
    codec = load_bit_codec("rl-asc", "street")
    stream = codec.compress(photo_of(), 1500)
    assert len(stream) <= 1500 and codec.decompress(stream).shape == (256, 256, 3)


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
def test_environment_rewards_add_up_to_j_less_that_of_uniform(options: Options) -> None:
    pytest.importorskip("gymnasium")
    from semcast.train.allocation import allocation_env

    settings = Settings(low=roomy(options), high=roomy(options) + 400)
    env = allocation_env(lambda i, task=None: options, 1, settings, 0)
    rng = np.random.default_rng(0)
    for _ in range(3):
        env.reset()
        (plain,), total, done = options.score([PLAIN["uniform"](options, env.walk.max_bytes)]), 0.0, False
        while not done:
            action = int(rng.choice(np.flatnonzero(env.action_masks())))
            _, reward, done, _, info = env.step(action)
            total += reward / settings.scale * 300 / env.walk.max_bytes
        assert total == pytest.approx(info["score"] - plain, abs=1e-6)
        assert info["score"] == pytest.approx(options.score([env.walk.choice])[0])


def test_an_actor_can_be_taught_to_begin_as_uniform(options: Options, ladder: Ladder) -> None:
    torch.manual_seed(0)
    policy = SimpleNamespace(
        mlp_extractor=SimpleNamespace(
            policy_net=torch.nn.Sequential(torch.nn.Linear(count_observed(ladder), 32), torch.nn.Tanh())
        ),
        action_net=torch.nn.Linear(32, ladder.levels),
    )
    settings = Settings(low=roomy(options), high=roomy(options) + 400)
    assert teach(policy, lambda i, task=None: options, 12, settings, steps=200) > 0.6  # chance: 0.2


# ---- tasks -----------------------------------------------------------------------------------------------------------


def test_tasks_are_cares_by_name() -> None:
    assert STREET.cares_for("pedestrians") == {11: 8, 12: 8, 18: 4}
    assert STREET.cares_for("pedestrians", "person=2,car") == {11: 2, 12: 8, 18: 4, 13: 4}
    assert STREET.cares_for(None, "car") == {13: 4} and FACE.cares_for(None) == {}
    with pytest.raises(SemcastError, match="no task 'identity'; it has pedestrians, traffic, vehicles"):
        STREET.cares_for("identity")
    for domain in (STREET, FACE):
        for name, text in domain.tasks:
            cares = domain.cares_for(name)
            assert domain.name_task(cares) == name and domain.cares(domain.spell(cares)) == cares == domain.cares(text)


class Flat(torch.nn.Module):
    """An LPIPS whose only layer is the picture."""

    heads = [torch.ones(1, 3, 1, 1)]

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]

    def distance(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        return (a[0] - b[0]).square().sum(1).mean((1, 2))


def test_j_of_a_task_looks_where_it_cares() -> None:
    photo = torch.zeros(1, 3, 64, 64)
    truth = torch.zeros(1, 64, 64, dtype=torch.long)
    truth[:, :, 32:] = 5
    left, right = photo.clone(), photo.clone()
    left[..., :32] += 0.5
    right[..., 32:] += 0.5
    shown = torch.cat((left, right))

    def labels(image: torch.Tensor) -> torch.Tensor:  # bright pixels are seen as 7
        return torch.where(image.mean(1) > 0.25, 7, truth.expand(len(image), -1, -1))

    sent = torch.zeros(2)
    plain = Criterion(labels, Flat()).measure(photo, truth, shown, sent)
    cared = Criterion(labels, Flat(), 19, Task.of({5: 9.0})).measure(photo, truth, shown, sent)
    assert plain.miou[0] == plain.miou[1] and plain.lpips[0] == pytest.approx(float(plain.lpips[1]))
    # 0 is right (1 of 1 + 9 + 1), or 5 is (9 of them); the error lies where one weight in ten lies, or nine
    assert cared.miou.tolist() == pytest.approx([9 / 11, 1 / 11])
    assert cared.lpips[1] / cared.lpips[0] == pytest.approx(9.0) and cared.lpips.mean() == pytest.approx(float(plain.lpips[0]))
    assert cared.score[0] > plain.score[0] > cared.score[1]
    paid = Task(Weights(rate=1.0, semantic=0.0, perceptual=0.0))
    other = Criterion(labels, Flat(), 19, paid).measure(photo, truth, shown, sent + 64)
    assert other.score.tolist() == pytest.approx([-64 * 8 / 64**2] * 2)


def test_cells_of_lpips_sum_to_it() -> None:
    a, b = torch.rand(2, 3, 64, 64), torch.rand(1, 3, 64, 64)
    cells = lpips_cells(Flat(), [b], [a])
    assert cells.shape == (2, GRID, GRID) and torch.allclose(cells.sum((1, 2)), Flat().distance([a], [b]), rtol=1e-5)
    even = weigh_cells(cells, torch.zeros(1, 64, 64, dtype=torch.long), torch.full((19,), 3.0))
    assert torch.allclose(even, cells.sum((1, 2)), rtol=1e-5)


def test_a_policy_of_version_2_sees_the_task(options: Options, ladder: Ladder) -> None:
    concepts = options.sides[16].concepts
    told = Options(options.sides, options.score, Task.of({concepts[0].category: 16.0}, Weights(rate=0.8)))
    seen = []
    for each in (options, told):
        walk = Walk(each, 4000)
        walk.take(0)
        seen.append(walk.observation())
    if ladder is V1:
        assert np.array_equal(*seen)
    else:
        (changed,) = np.nonzero(seen[0] != seen[1])
        assert set(changed) <= set(range(len(seen[0]) - 6, len(seen[0]))) and changed.size >= 2
        assert seen[1][-6] == pytest.approx(1.0) and seen[1][-3] == pytest.approx(2.0)


def test_tasks_are_drawn_for_training() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_task(rng) for _ in range(200)]
    assert 60 < sum(task == PLAIN_TASK for task in drawn) < 140
    assert any(len(task.care) == 3 for task in drawn) and any(task.weights != Weights() for task in drawn)
    assert all(2 <= factor <= 16 for task in drawn for _, factor in task.care)


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
def test_greedy_of_version_2_spends_for_what_is_cared_for(networks: Networks, ladder: Ladder) -> None:
    """The search that looks at true J gives more bits to a category when that is what J is about."""
    if ladder is V1:
        pytest.skip("version 1 raises what is cared for afterwards")
    photo = photo_of(4)
    plain = RlAsc(networks, PLAIN["greedy"], "greedy")
    options = plain.options(photo)
    room = min(options.size(options.empty(side)) for side in options.sides) + 60
    category = options.sides[16].concepts[-1].category
    cared = RlAsc(networks, PLAIN["greedy"], "greedy", care={category: 200})
    assert cared.told and not RlAsc(networks, PLAIN["area"], "area").told
    told = cared.options(photo)
    assert told.task.care == ((category, 200),) and told.task != options.task
    data = cared.compress(photo, room)
    assert len(data) <= room and unpack(data, networks.tables).care == {category: 200}


def test_maps_give_each_cell_what_its_concept_has() -> None:
    layout = np.zeros((16, 16), np.uint8)
    layout[4:] = 2
    features = np.random.default_rng(0).uniform(-1, 1, (V1.channels, GRID, GRID))
    first, second = (
        c.code(features, level, V1) for c, level in zip(find_concepts(layout, STREET.importance), (3, 1), strict=True)
    )
    levels = map_levels([first, second])
    assert levels[0, 0] == (1 if first.category == 2 else 3) and levels.shape == (GRID, GRID)
    made = map_features([first, second], V1)
    assert np.abs(made - features)[:, levels == 3].max() <= 1 / V1.steps[3] < np.abs(made - features)[:, levels == 1].max()
    lost = replace(first, indices=None)
    assert lost.lost and not second.lost and lost.level == 3
    here = map_levels([first]) == 3
    assert not map_levels([lost, second])[here].any() and not map_features([lost, second], V1)[:, here].any()
    skipped = first.code(features, 0, V1)
    assert skipped.indices is None and not skipped.lost and not map_levels([skipped]).any()


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_networks_make_nothing_on_another_device(ladder: Ladder) -> None:
    """On torch's meta device a tensor made elsewhere raises."""
    codec, parser = codec_of(ladder).to("meta"), SceneParser(PARSER).to("meta")
    photo = torch.rand(2, 3, 256, 256, device="meta")
    assert [x.device.type for x in parse_layouts(parser, photo, SIDES)] == ["meta"] * 3
    layout = torch.zeros(2, 64, 64, dtype=torch.uint8, device="meta")
    levels = torch.zeros(2, GRID, GRID, dtype=torch.long, device="meta")
    features = codec.encoder(photo, layout)
    for noise in (None, torch.Generator()):
        painting = codec.painter(layout, ladder.quantise(features, levels, noise), one_hot(levels, ladder.levels))
        assert painting.image.shape == (2, 3, 256, 256) and {part.device.type for part in painting} == {"meta"}
    painting.image.mean().backward()
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in codec.painter.parameters())
    assert codec.device.type == "meta"
