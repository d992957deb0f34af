"""What the texture metric must see, and what it must leave alone; then the photos and the shipped networks themselves."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from semcast.api import load
from semcast.channels import make_channel
from semcast.crossing import cross
from semcast.domains import PARTS
from semcast.errors import SemcastError
from semcast.hashes import generator_for
from semcast.link import Budget
from semcast.metrics.looks import GRIDS, TENTHS, Looks, describe
from semcast.metrics.texture import PERIODS, Texture, excess_of, gather, measure_texture
from semcast.metrics.tone import tone_error

SIDE = 128


def scenes(count: int = 24, side: int = SIDE, seed: int = 0) -> Tensor:
    """Pictures with the spectrum of photos, 1/f in amplitude and the same in every direction, ``[N, 3, S, S]``."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.fft.fftfreq(2 * side)
    slope = 1 / torch.hypot(f[:, None], f).clamp_min(1 / (2 * side))
    noise = torch.randn(count, 1, 2 * side, 2 * side, generator=generator)
    field = torch.fft.ifft2(torch.fft.fft2(noise) * slope).real[..., :side, :side]
    field = 0.5 + 0.15 * field / field.std((-2, -1), keepdim=True)
    return field.expand(-1, 3, -1, -1).clamp(0, 1)


def eight_bits(pictures: Tensor) -> Tensor:
    return (pictures.clamp(0, 1) * 255).round() / 255


def waves(period: int, seed: int = 5) -> Tensor:
    """A pattern on every ``period``-th column and row whose strength goes with the place, as networks leave it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(SIDE)
    harmonics = torch.arange(1, max(2, period // 2), 2)[:, None]  # the odd ones: the even ones are of shorter periods
    columns = torch.cos(2 * torch.pi * harmonics * x / period).sum(0).expand(SIDE, SIDE)
    strength = torch.randn(24, 2, SIDE, 1, generator=generator)
    return 0.02 * (columns * strength[:, :1] + columns.T * strength[:, 1:].mT)


def test_photo_like_pictures_score_low() -> None:
    photos, others = gather([scenes()], SIDE), gather([scenes(seed=1)], SIDE)
    assert all(abs(value) < 0.5 for value in others.grid().values())
    assert others.comb() < 4 and others.excess(photos) < 3
    assert photos.excess(photos) == 0.0
    assert list(others.result(photos)) == ["grid_8_db", "grid_4_db", "grid_2_db", "comb_db", "excess_db"]


@pytest.mark.parametrize("period", [8, 4, 2])
def test_a_grid_is_seen_at_its_period_and_no_other(period: int) -> None:
    found = gather([eight_bits(scenes() + waves(period))], SIDE).grid()
    assert found[period] > 3
    assert all(abs(value) < 1 for other, value in found.items() if other != period)


def test_a_fixed_pattern_is_seen_at_three_grey_levels() -> None:
    x = torch.arange(SIDE) % 4 == 0
    level = 3 * (x[:, None] | x).float() / 255
    plain, woven = (gather([eight_bits(scenes() + extra)], SIDE) for extra in (0.0, level))
    assert plain.comb() < 4 and woven.comb() > 8


def test_a_diagonal_hatch_raises_the_excess_and_not_the_grid() -> None:
    photos, x = gather([scenes()], SIDE), torch.arange(SIDE)
    hatch = 0.02 * torch.sin(2 * torch.pi * 0.27 * (x[:, None] + x))
    hatched = gather([eight_bits(scenes(seed=1) + hatch)], SIDE)
    assert hatched.excess(photos) > 8
    assert all(abs(value) < 0.5 for value in hatched.grid().values())


def test_noise_and_blur_are_no_texture() -> None:
    photos, others = gather([scenes()], SIDE), scenes(seed=1)
    noise = 0.05 * torch.randn(others.shape, generator=torch.Generator().manual_seed(2))
    soft = F.avg_pool2d(F.pad(others, (1, 1, 1, 1), mode="reflect"), 3, 1)
    for changed in (others + noise, torch.rand(others.shape, generator=torch.Generator().manual_seed(3))):
        found = gather([eight_bits(changed)], SIDE)
        assert found.excess(photos) < 3 and found.comb() < 4
        assert all(abs(value) < 0.7 for value in found.grid().values())
    assert gather([eight_bits(0.5 * others + 0.5 * soft)], SIDE).comb() < 4


def test_pixel_shuffle_of_random_weights_weaves_and_doubling_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    small, weight = scenes(side=64), torch.randn(4, 3, 3, 3, generator=generator) / 27**0.5
    shuffled = F.pixel_shuffle(F.conv2d(small, weight, padding=1), 2)
    doubled = F.interpolate(F.conv2d(small, weight[:1], padding=1), scale_factor=2.0, mode="bilinear")
    woven, smooth = (
        gather([eight_bits(0.5 + 0.1 * (x - x.mean()) / x.std())], SIDE) for x in (shuffled, doubled)
    )
    assert woven.comb() > 10 and woven.comb() > smooth.comb() + 5


def test_the_spectrum_is_the_mean_and_adds_up_in_any_order() -> None:
    pictures = scenes(6, 64)
    one = Texture(64).add(pictures)
    many = Texture(64)
    for picture in pictures.flip(0):
        many.add(picture)
    torch.testing.assert_close(one.spectrum, many.spectrum)
    luma = (pictures * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1).double().numpy()
    window = np.hanning(65)[:64]
    weight = window[:, None] * window
    power = [np.abs(np.fft.fft2((y - y.mean()) * weight)) ** 2 for y in luma]
    expected = np.mean(power, 0) + (weight**2).sum() / (12 * 255**2)
    np.testing.assert_allclose(one.spectrum.numpy(), expected, rtol=1e-5)


def test_any_size_grey_or_colour_from_a_folder_or_arrays(tmp_path: Path) -> None:
    pictures = scenes(3, 72)
    arrays = [(picture * 255).round().byte().permute(1, 2, 0).numpy() for picture in pictures]
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert gather(tmp_path).window == 72
    assert measure_texture(tmp_path) == measure_texture(arrays)
    wide = torch.cat((pictures, pictures), -1)[..., :100]
    assert set(measure_texture([wide], photos=gather([pictures], 64))) > {"excess_db"}
    torch.testing.assert_close(gather([pictures[:, :1]], 64).spectrum, gather([pictures], 64).spectrum, rtol=1e-5, atol=1e-9)


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SemcastError, match="multiple of 8"):
        Texture(60)
    with pytest.raises(SemcastError, match=r"not 72: take Texture\(72\)"):
        Texture(128).add(torch.zeros(3, 72, 90))
    with pytest.raises(SemcastError, match="at least 64"):
        gather([torch.zeros(3, 32, 32)])
    with pytest.raises(SemcastError, match="finite"):
        Texture(64).add(torch.full((3, 64, 64), float("nan")))
    with pytest.raises(SemcastError, match="B, 3, H, W"):
        Texture(64).add(torch.zeros(2, 64, 64))
    with pytest.raises(SemcastError, match="at least one"):
        measure_texture([])
    with pytest.raises(SemcastError, match="at least one"):
        Texture(64).grid()
    with pytest.raises(SemcastError, match="not a folder"):
        measure_texture(tmp_path / "absent")
    with pytest.raises(SemcastError, match="one window"):
        Texture(64).add(torch.rand(3, 64, 64)).excess(Texture(72).add(torch.rand(3, 72, 72)))
    flat = Texture(64).add(torch.zeros(3, 64, 64))
    assert flat.grid() == {8: 0.0, 4: 0.0, 2: 0.0} and flat.comb() == 0.0


# ---- one picture and its photo -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [8, 4, 2])
def test_means_over_pictures_of_what_each_adds_to_its_photo_are_those_of_the_set(period: int) -> None:
    photos = scenes()
    woven = eight_bits(photos + waves(period)[: len(photos)])
    found = [Looks(photo[None]).measure(picture[None]) for photo, picture in zip(photos, woven, strict=True)]
    own, theirs = gather([woven], SIDE).grid(), gather([photos], SIDE).grid()
    for each in PERIODS:
        mean = sum(values[f"grid_{each}_db"] for values in found) / len(found)
        assert mean == pytest.approx(own[each] - theirs[each], abs=0.6)


def test_a_hatch_stands_out_of_the_mean_over_pictures() -> None:
    photos, x = scenes(), torch.arange(SIDE)
    hatch = 0.03 * torch.sin(2 * torch.pi * 0.3 * (x[:, None] + x))
    found = [Looks(photo[None]).measure(photo[None] + hatch)["directions"] for photo in photos]
    mean = torch.tensor(found, dtype=torch.float64).mean(0).view(6, 24) / TENTHS
    assert excess_of(mean) == pytest.approx(gather([photos + hatch], SIDE).excess(gather([photos], SIDE)), abs=2)
    assert excess_of(mean) > 10


def test_a_picture_that_is_its_photo_adds_nothing_and_some_tell_nothing() -> None:
    photo = scenes(1)
    same = Looks(photo).measure(photo)
    assert all(same[name] == 0 for name in GRIDS) and set(same["directions"]) == {0} and "tone" not in same
    assert "directions" not in Looks(photo).measure(photo, directions=False)
    assert Looks(photo).measure(photo * torch.nan) == {}, "it holds no numbers"
    assert Looks(torch.zeros(1, 3, 40, 40)).measure(torch.zeros(1, 3, 40, 40)) == {}, "it is too small"


def test_skin_tone_of_a_picture() -> None:
    class Skin:
        def labels(self, image: Tensor) -> Tensor:
            return torch.full((len(image), *image.shape[-2:]), PARTS.index("skin"))

    light, dark = (torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 64, 64) for rgb in ((0.87, 0.72, 0.62), (0.45, 0.3, 0.25)))
    looks = Looks(light, Skin())  # type: ignore[arg-type]
    values = looks.measure(dark)
    assert values["tone"] == pytest.approx(56.5, abs=0.1) and looks.measure(light)["tone_error"] == 0
    assert values["tone_error"] == pytest.approx(float(tone_error(light, dark, torch.ones(1, 64, 64).bool())), abs=0.01)
    assert [name for name, _ in describe(values)] == ["grid 8/4/2 px", "skin tone"]


def faces(shared: Path, count: int, skip: int = 0) -> dict[str, Tensor]:
    with tarfile.open(shared / "data" / "faces256" / "val-000.tar") as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".jpg"))[skip : skip + count]
        found = {name: np.asarray(Image.open(BytesIO(tar.extractfile(name).read())).convert("RGB")) for name in names}  # type: ignore[union-attr]
    return {name: torch.tensor(photo).permute(2, 0, 1)[None].float() / 255 for name, photo in found.items()}


def test_photos_of_faces_are_free_of_it(shared: Path) -> None:
    photos, others = (gather(faces(shared, 40, skip).values()) for skip in (0, 40))
    assert all(abs(value) < 0.3 for value in photos.grid().values())
    assert photos.comb() < 3 and photos.excess(others) < 2


# dB at 64 symbols and 10 dB: each network may weave no more than when it was shipped
SHIPPED = {"sketch": (0.7, 0.7, 0.7, 6.0), "linear-gan": (0.7, 5.8, 4.8, 18.0), "generative": (0.7, 0.7, 0.9, 10.0)}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.slow
def test_the_shipped_networks_weave_no_more_than_they_did(shared: Path, name: str) -> None:
    photos, system = faces(shared, 12), load(name, device="cpu")
    received = [
        cross(system, make_channel("awgn"), photo, Budget(64, 10.0), generator_for(0, key)).reception.image
        for key, photo in photos.items()
    ]
    found = measure_texture(received, photos.values())
    worst = dict(zip(("grid_8_db", "grid_4_db", "grid_2_db", "excess_db"), SHIPPED[name], strict=True))
    assert all(found[key] < most for key, most in worst.items()), found
    each = [Looks(photo).measure(picture) for photo, picture in zip(photos.values(), received, strict=True)]
    own = gather(photos.values()).grid()
    for period in PERIODS:  # what an evaluation says is what the set says
        mean = sum(values[f"grid_{period}_db"] for values in each) / len(each)
        assert mean == pytest.approx(found[f"grid_{period}_db"] - own[period], abs=0.8)
    directions = torch.tensor([values["directions"] for values in each], dtype=torch.float64).mean(0).view(6, 24) / TENTHS
    assert excess_of(directions) == pytest.approx(found["excess_db"], abs=1)
