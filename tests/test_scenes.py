"""Domains, their shards, the codec's parser and the judge: laws with random weights, and a training of a few steps."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semcast.domains import DOMAINS, FACE, STREET, domain_named
from semcast.errors import SemcastError
from semcast.networks.segmenter import Judge, SceneParser, SceneParserConfig
from semcast.train.data import load_scenes, random_crop, random_mirror
from semcast.train.recipes import run
from semcast.train.segmenter import class_weights, rare_often
from semcast.weights import load

SEGMENTERS = {"scene-parser": SceneParser, "judge": Judge}


def shard(path: Path, count: int = 3, seed: int = 0) -> Path:
    """A shard of photos that are their labels in grey, and one photo without a mask."""
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i in range(count + 1):
            mask = np.kron(random.integers(0, 19, (8, 8)), np.ones((32, 32))).astype(np.uint8)
            mask[:8] = 255
            photo = np.repeat(mask[..., None] * 10, 3, 2).astype(np.uint8)
            for kind, pixels in (("jpg", photo), ("mask.png", mask)):
                if i == count and kind == "mask.png":
                    continue
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                member = tarfile.TarInfo(f"{i:04d}.{kind}")
                member.size = buffer.tell()
                tar.addfile(member, io.BytesIO(buffer.getvalue()))
    return path


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=str)
def test_a_domain_says_as_much_of_each_category(domain) -> None:
    assert len(domain.classes) == len(domain.colours) == len(domain.importance) == 19
    assert len(set(domain.classes)) == len(set(domain.colours)) == 19
    assert all(type(value) is int and value > 0 for value in domain.importance)
    flipped = domain.flipped
    assert [flipped[category] for category in flipped] == list(range(19))
    assert all(domain.importance[a] == domain.importance[b] for a, b in domain.mirrored)
    for a, b in domain.mirrored:
        assert domain.classes[a].replace("left", "right") == domain.classes[b]
    assert domain_named(domain.name) is domain
    assert domain.category(domain.classes[7]) == 7
    painted = domain.paint(np.array([[3, 255]], np.uint8))
    assert painted.tolist() == [[list(domain.colours[3]), [0, 0, 0]]]


def test_unknown_names_are_said() -> None:
    with pytest.raises(SemcastError, match="the known are street, face"):
        domain_named("sea")
    with pytest.raises(SemcastError, match="no 'boat' in the domain street"):
        STREET.category("boat")


def test_shards_keep_the_labels_of_the_dataset(tmp_path: Path) -> None:
    shard(tmp_path / "street256" / "train-000.tar")
    scenes = load_scenes(tmp_path, STREET, "train")
    assert len(scenes) == 3 and scenes.images.shape == (3, 3, 256, 256)
    assert set(np.unique(scenes.masks)) <= {*range(19), 255}
    known = scenes.masks != 255
    assert torch.equal((scenes.masks * 10)[known], scenes.images[:, 0][known])
    assert len(load_scenes(tmp_path, STREET, "train", 64, limit=2)) == 2
    with pytest.raises(SemcastError, match=r"no val-\*.tar"):
        load_scenes(tmp_path, STREET, "val")
    with pytest.raises(SemcastError, match="no train"):
        load_scenes(tmp_path, FACE, "train")


def test_a_mirrored_face_has_its_eyes_exchanged() -> None:
    image = torch.rand(16, 3, 8, 8)
    mask = torch.full((16, 8, 8), 255, dtype=torch.uint8)
    mask[:, :, 0], mask[:, :, 6] = 5, 13  # the person's right eye is on the image's left
    out, labels = random_mirror(image, mask, FACE, torch.Generator().manual_seed(0))
    was = torch.tensor([torch.equal(a, b) for a, b in zip(image, out, strict=True)])
    assert 0 < was.sum() < 16
    assert torch.equal(labels[was], mask[was])
    assert torch.equal(out[~was], image[~was].flip(-1))
    assert (labels[~was][:, :, 7] == 4).all() and (labels[~was][:, :, 1] == 13).all()
    assert (labels[~was][:, :, 2] == 255).all()
    _, street = random_mirror(image, mask, STREET, torch.Generator().manual_seed(0))
    assert torch.equal(street[~was], mask[~was].flip(-1))


def test_a_crop_takes_the_same_place_of_photo_and_mask() -> None:
    mask = torch.arange(256).view(16, 16).to(torch.uint8).repeat_interleave(16, 0).repeat_interleave(16, 1)[None]
    image = mask[:, None].float() / 255
    for seed in range(5):
        photo, labels = random_crop(image, mask, torch.Generator().manual_seed(seed), side=96, zoom=(0.2, 2.0))
        assert photo.shape == (1, 1, 96, 96) and labels.shape == (1, 96, 96)
        assert ((photo[:, 0] * 255 - labels).abs() < 0.5).float().mean() > 0.6  # all but the edges of tiles
    whole, labels = random_crop(image, mask, torch.Generator(), side=256, zoom=(1.0, 1.0))
    assert torch.equal(labels, mask) and torch.allclose(whole, image, atol=1e-5)


def test_rare_classes_weigh_more_and_a_pixel_weighs_one() -> None:
    masks = torch.zeros(2, 10, 10, dtype=torch.uint8)
    masks[:, 0, :5], masks[:, 1] = 1, 255
    weight = class_weights(masks, 3)
    assert weight[1] > weight[0] and weight.max() <= 6
    share = torch.bincount(masks[masks != 255].long(), minlength=3)
    assert (weight * share).sum() / share.sum() == pytest.approx(1, abs=1e-4)


def test_photos_with_rare_classes_come_more_often() -> None:
    masks = torch.zeros(40, 16, 16, dtype=torch.uint8)
    masks[:2] = 1  # one photo in 20 shows class 1, so it counts sqrt(0.3 / 0.05) = 2.45 times
    masks[2, 0, 0] = 2  # too small to see
    masks[3] = 255
    times = torch.stack([torch.bincount(rare_often(masks, 3, seed), minlength=40) for seed in range(200)]).float().mean(0)
    assert times[2:].tolist() == [1.0] * 38
    assert times[:2].mean() == pytest.approx((0.3 / 0.05) ** 0.5, abs=0.1)
    assert torch.equal(rare_often(masks, 3, 7), rare_often(masks, 3, 7))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_segmenter_gives_logits_of_each_pixel(name: str) -> None:
    torch.manual_seed(0)
    network = SEGMENTERS[name]()
    image = torch.rand(2, 3, 64, 96)
    logits = network(image)
    assert logits.shape == (2, 19, 64, 96)
    assert torch.equal(network.labels(image), logits.argmax(1).to(torch.uint8))
    logits.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    both, alone = network(image[:1]), logits[:1]
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-4)  # a photo does not depend on its batch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 256, 256))
    assert counter.get_total_flops() < 2 * 1.4e9


def test_an_odd_side_is_said() -> None:
    with pytest.raises(SemcastError, match="multiples of 32"):
        SceneParser()(torch.rand(1, 3, 60, 60))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_missing_weights_are_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semcast.weights.store._HERE", tmp_path)
    monkeypatch.delenv("SEMCAST_WEIGHTS", raising=False)
    with pytest.raises(SemcastError, match="there are no weights called"):
        SEGMENTERS[name].load("street")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), [("scene-parser", "parser-face"), ("judge", "judge-face")])
def test_a_recipe_trains_saves_and_resumes(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        shard(tmp_path / "faces256" / f"{split}-000.tar", 4)
    out = tmp_path / "run"
    settings = ["domain=face", "batch=2", "small=0.5"]
    run(name, tmp_path, out, overrides=[*settings, "steps=2"])
    run(name, tmp_path, out, resume=True, overrides=[*settings, "steps=3"])
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_miou" in line] == [2, 3]
    assert load(str(out / f"{file}.safetensors"), kind=name).config["classes"] == 19
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(out))
    assert SEGMENTERS[name].load("face").labels(torch.rand(1, 3, 256, 256)).shape == (1, 256, 256)
    if name == "scene-parser":
        assert SceneParser.load(FACE).config == SceneParserConfig()
