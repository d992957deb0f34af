"""The filter at the end of a receiver: it takes a hatch out, nothing else, and only of the weights that it was measured on."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semcast.errors import Damaged
from semcast.metrics.texture import Texture
from semcast.networks.equaliser import Equaliser, EqualiserConfig, find_equaliser, shape_kernel
from semcast.train.equaliser import find_gain
from semcast.weights import save

SIDE = 64


def scenes(count: int, seed: int) -> Tensor:
    """Noise whose power falls as a photo's does, ``[N, 3, 64, 64]``."""
    f = torch.fft.fftfreq(SIDE)
    falling = 1 / (torch.hypot(f[:, None], f) + 0.03)
    noise = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    shown = torch.fft.ifft2(torch.fft.fft2(noise) * falling).real
    return 0.5 + 0.1 * shown / shown.std()


def hatch(pictures: Tensor) -> Tensor:
    """The pictures with their detail in one direction four times as strong."""
    f = torch.fft.fftfreq(SIDE)
    angle = torch.rad2deg(torch.atan2(f[:, None].expand(SIDE, SIDE), f.expand(SIDE, SIDE))) % 180
    strong = 1 + 3 * ((angle - 45).abs() < 12) * (torch.hypot(f[:, None], f) > 0.2)
    return torch.fft.ifft2(torch.fft.fft2(pictures) * strong).real


def fitted(made: Tensor, photos: Tensor, side: int = 33) -> Equaliser:
    equaliser = Equaliser(EqualiserConfig(side))
    gain = find_gain(Texture(SIDE).add(made), Texture(SIDE).add(photos), smooth=1.0)
    equaliser.kernel.copy_(shape_kernel(gain, side))
    return equaliser


def excess(pictures: Tensor, photos: Tensor) -> float:
    return Texture(SIDE).add(pictures).excess(Texture(SIDE).add(photos))


def test_at_first_it_changes_nothing() -> None:
    photos = scenes(2, 0)
    assert torch.allclose(Equaliser()(photos), photos, atol=1e-6)


def test_it_convolves_and_mirrors_at_the_edges() -> None:
    equaliser, photos = Equaliser(EqualiserConfig(5)), scenes(1, 1)
    kernel = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    equaliser.kernel.copy_(kernel)
    padded = torch.nn.functional.pad(photos, (2, 2, 2, 2), mode="reflect")
    wanted = torch.nn.functional.conv2d(padded.transpose(0, 1), kernel.flip(0, 1)[None, None]).transpose(0, 1)
    assert torch.allclose(equaliser(photos), wanted, atol=1e-5)


def test_a_hatch_goes_from_pictures_that_were_not_measured() -> None:
    equaliser = fitted(hatch(scenes(48, 2)), scenes(48, 3))
    others = scenes(48, 4)
    before, after = excess(hatch(others), others), excess(equaliser(hatch(others)), others)
    assert before > 9
    assert after < before / 2
    error = lambda pictures: float((pictures - others).square().mean())  # noqa: E731
    assert error(equaliser(hatch(others))) < 0.5 * error(hatch(others))


def test_what_has_no_hatch_stays() -> None:
    equaliser = fitted(scenes(96, 5), scenes(96, 6))
    others = scenes(8, 7)
    assert float((equaliser(others) - others).square().mean()) < 0.02 * float(others.var())


def test_a_blur_is_not_sharpened_nor_blurred_more() -> None:
    blurred = torch.nn.functional.avg_pool2d(scenes(96, 8), 3, 1, 1)
    equaliser = fitted(blurred, scenes(96, 9))
    assert float((equaliser(blurred) - blurred).square().mean()) < 0.02 * float(blurred.var())


def test_brightness_stays() -> None:
    equaliser = fitted(hatch(scenes(16, 2)), scenes(16, 3))
    assert torch.allclose(equaliser(torch.full((1, 3, 80, 70), 0.4)), torch.tensor(0.4), atol=1e-5)


def test_it_serves_the_weights_alone_that_it_was_measured_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path))
    assert find_equaliser("tiny", "abc") is None
    equaliser = fitted(hatch(scenes(8, 2)), scenes(8, 3))
    save(tmp_path / "equaliser-tiny.safetensors", equaliser.state_dict(), kind="equaliser", config={"side": 33, "of": "abc"})
    assert find_equaliser("tiny", "abcd") is None
    found = find_equaliser("tiny", "abc")
    assert found is not None and torch.allclose(found.kernel, equaliser.kernel, atol=1e-3)


def test_a_kernel_of_another_size_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path))
    wrong = {"kernel": torch.zeros(9, 9)}
    save(tmp_path / "equaliser-tiny.safetensors", wrong, kind="equaliser", config={"side": 33, "of": "abc"})
    with pytest.raises(Damaged):
        find_equaliser("tiny", "abc")


def pack(folder: Path, split: str, count: int) -> None:
    """A shard of faces that are none."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{split}-000.tar", "w") as shard:
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8)
            photo, mask = io.BytesIO(), io.BytesIO()
            Image.fromarray(pixels).resize((256, 256)).save(photo, "jpeg")
            Image.fromarray(np.zeros((256, 256), np.uint8)).save(mask, "png")
            for name, data in ((f"{i:04d}.jpg", photo), (f"{i:04d}.mask.png", mask)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data.getvalue())
                shard.addfile(entry, io.BytesIO(data.getvalue()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generative", "sketch"])
def test_the_recipe_gives_a_system_its_equaliser(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import semcast
    from semcast.link import Budget, Received
    from semcast.train.recipes import run

    for split in ("train", "val"):
        pack(tmp_path / "data" / "faces256", split, 3)
    out = tmp_path / "run"
    run("equaliser", tmp_path / "data", out, overrides=[f"system={name}", "photos=3", "val_photos=2"], device="cpu")
    plain = semcast.load(name, device="cpu")
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(out))
    system = semcast.load(name, device="cpu")
    assert plain.equaliser is None and system.equaliser is not None
    assert system.fingerprint() != plain.fingerprint()
    received = Received(torch.ones(1, 64, dtype=torch.complex64), torch.full((1, 64), 0.1), Budget(64, 10.0))
    with torch.no_grad():
        painted = plain.render(plain.decode(received).codes) if name == "generative" else plain.paint(received)
        assert torch.allclose(system.decode(received).image, system.equaliser(painted).clamp(0, 1), atol=1e-4)
