"""Each recipe of the links takes a few steps on made-up faces, resumes, and writes weights that load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from semcast.domains import FACE
from semcast.generative.system import Generative
from semcast.linear.learned import LearnedSketch
from semcast.linear.sketch import SketchConfig, to_image
from semcast.linear.system import LinearGan
from semcast.metrics.perceptual import find_weights, missing
from semcast.rivals.deepjscc import DeepJscc
from semcast.rivals.hyperprior_codec import HyperpriorCodec
from semcast.train.data import load_faces
from semcast.train.linear import Settings, moments, person_directions, transform
from semcast.train.losses import TRAINED_ON, IdentityLoss
from semcast.train.recipes import run
from semcast.train.shards import write_shards
from semcast.weights import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled and four further faces to train on, two to choose by: smooth noise with labels in blocks."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def members(count: int):
        for i in range(count):
            grey = np.kron(random.integers(60, 200, (8, 8, 3)), np.ones((32, 32, 1))).astype(np.uint8)
            yield f"{i:05d}", grey, np.kron(random.integers(0, 19, (8, 8)), np.ones((32, 32))).astype(np.uint8)

    write_shards(folder / FACE.folder, "train", members(4))
    write_shards(folder / FACE.folder, "val", members(2))
    write_shards(folder / "faces160-unlabelled", "train", members(4))
    return folder


def trained(name: str, data: Path, out: Path, *settings: str, steps: int = 3) -> list[dict[str, float]]:
    """A run that is interrupted before its last step; → its log."""
    few = ["batch=2", *settings]
    run(name, data, out, overrides=[*few, f"steps={steps - 1}"], device="cpu")
    run(name, data, out, overrides=[*few, f"steps={steps}"], device="cpu", resume=True)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [steps - 1, steps - 1, steps, steps]
    return lines


def test_linear_gan(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = trained("linear-gan", data, tmp_path, "small_steps=1", "judge_from=1", "warm_start=True")
    assert {"mse", "lpips", "adversarial", "matching", "discriminator"} <= set(lines[-2]) and "lpips_640_10" in lines[-1]
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path))
    assert LinearGan.load().painter.octaves == 2
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["0000002.png", "0000003.png"]


def test_sketch(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = trained("sketch", data, tmp_path, "more_every=2", "persons=1")
    assert {"mse", "mse_whole", "person", "texture", "discriminator", "lpips_more"} <= set(lines[-2]) | set(lines[0])
    assert "psnr_64_0" in lines[-1]
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path))
    assert LearnedSketch.load().painter.octaves == 2


def test_generator_then_flow_then_link(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ["judge_from=1", "more_every=0"]
    lines = trained("generator", data, tmp_path / "generator", *few)
    assert {"swap", "coarse", "discriminator"} <= set(lines[-2]) and {"psnr_inverted", "val_miou", "val_swap"} <= set(lines[-1])
    source = f"source={tmp_path / 'generator' / 'generator.safetensors'}"
    lines = trained("flow", data, tmp_path / "flow", source, "probes=4")
    assert lines[-1]["round_trip"] < 1e-2 and "nll" in lines[-2]
    flow = [source, f"flow={tmp_path / 'flow' / 'flow.safetensors'}", f"codes={tmp_path / 'flow'}"]
    lines = trained("link", data, tmp_path / "link", *flow, "codec_steps=1", "small_steps=1", "judge_from=2", steps=4)
    assert {"latent", "mse", "discriminator"} <= set(lines[-2]) and "psnr_64_0" in lines[-1]
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path / "link"))
    assert Generative.load().flow.config.dims == load("generative", kind="generative").config["flow"]["dims"]
    few = [source, f"codes={tmp_path / 'flow'}", "donors=2", "factors=2", "mixed=3"]
    run("knowledge", data, tmp_path / "knowledge", overrides=few)
    assert json.loads((tmp_path / "knowledge" / "knowledge.json").read_text())["photos"] == 4


def test_end_to_end(data: Path, tmp_path: Path) -> None:
    lines = trained("end-to-end", data, tmp_path)
    assert "psnr_640_10" in lines[-1] and load(str(tmp_path / "end-to-end.safetensors"), kind="end-to-end").part("codec")


def test_deepjscc(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = trained("deepjscc", data, tmp_path, "symbols=640", "crop=256", "perceptual=0.02", "warm_start=deepjscc-640")
    assert {"mse", "lpips"} <= set(lines[-2]) and "psnr_640_20" in lines[-1]
    trained("deepjscc", data, tmp_path / "plain", "symbols=8192", "crop=64")
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path / "plain"))
    assert DeepJscc.load().max_symbols == 8192


def test_hyperprior(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins as a transform code, which shows more than grey, and what it writes codes a photo."""
    pytest.importorskip("constriction")
    lines = trained("hyperprior", data, tmp_path, "domain=face", "perceptual=0.01", "judge_from=1")
    assert {"bpp", "mse", "lpips", "texture", "discriminator"} <= set(lines[-2]) and lines[0]["mse"] < 0.02
    assert lines[-1]["bytes_5"] > lines[-1]["bytes_0"] and lines[-1]["psnr_5"] > lines[-1]["psnr_0"]
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path))
    codec = HyperpriorCodec.load("hyperprior-perceptual", "face")
    stream = codec.compress(np.full((256, 256, 3), 90, np.uint8), 100_000)
    assert codec.decompress(stream).shape == (256, 256, 3)


def test_face_parser(data: Path, tmp_path: Path) -> None:
    lines = trained("parser", data, tmp_path)
    assert lines[-1]["val_miou"] >= 0 and load(str(tmp_path / "parser.safetensors"), kind="parser").config["parts"] == 13


def test_the_persons_directions_move_the_embedding_most(data: Path) -> None:
    pytest.importorskip("onnx")
    if find_weights(TRAINED_ON) is None:
        pytest.skip(f"needs {TRAINED_ON}")
    faces, weight = load_faces(data / "faces256", "train", 128), torch.ones(96)
    directions, length = person_directions(faces, weight, Settings(directions=4, probes=64))
    torch.testing.assert_close(directions @ directions.T, torch.eye(4), atol=1e-4, rtol=0)
    assert length.min() > 1
    person, photo = IdentityLoss.load(), faces.batch(torch.arange(4))

    def moved(direction: torch.Tensor) -> float:
        change = torch.nn.functional.interpolate(to_image(direction[None], 8), photo.shape[-2:], mode="bilinear")
        return float((person.embed(photo + 0.05 * change) - person.embed(photo)).square().sum())

    other = torch.nn.functional.normalize(torch.randn(8, 96, generator=torch.Generator().manual_seed(0)), dim=1)
    assert moved(directions[length.argmax()]) > np.mean([moved(each) for each in other])


def test_a_sketch_is_the_transform_of_the_photos(data: Path) -> None:
    config = SketchConfig(side=8, components=6)
    faces = load_faces(data / "faces256", "train", 64)
    mean, covariance = moments(faces, config)
    sketch = transform(mean, covariance, torch.ones(len(mean)), config)
    values = sketch.eigenvalues
    assert torch.equal(values, values.sort(descending=True).values) and values.sum() <= np.trace(covariance) * 1.001
    torch.testing.assert_close(sketch.basis @ sketch.basis.T, torch.eye(6), atol=1e-4, rtol=0)
