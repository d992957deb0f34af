"""The face front end: its geometry on its own, then real photos with the shipped parser."""

from __future__ import annotations

import cmath
import io
import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semcast.errors import SemcastError
from semcast.face import LEFT_EYE, MOUTH, RIGHT_EYE, align, geometry, look
from semcast.networks.segmenter import FaceParser, ParserConfig
from semcast.weights.store import load

SHARED = Path(os.environ.get("SEMCAST_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="module")
def parser() -> FaceParser:
    try:
        weights = load("parser", kind="parser")
    except SemcastError as error:
        pytest.skip(f"no parser yet: {error}")
    model = FaceParser(ParserConfig(**{**weights.config, "widths": tuple(weights.config["widths"])}))
    model.load_state_dict(weights.tensors)
    return model.eval()


@pytest.fixture(scope="module")
def faces() -> list[tuple[np.ndarray, complex, complex]]:
    """A few aligned val photos with the eye centres of their masks, image-left first."""
    shard = SHARED / "data" / "faces256" / "val-000.tar"
    if not shard.exists():
        pytest.skip(f"no faces at {shard} (set SEMCAST_SHARED)")
    found: list[tuple[np.ndarray, complex, complex]] = []
    photos: dict[str, np.ndarray] = {}
    masks: dict[str, np.ndarray] = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            stem, kind = member.name.split(".", 1)
            data = tar.extractfile(member)
            assert data is not None
            pixels = np.asarray(Image.open(io.BytesIO(data.read())))
            (photos if kind == "jpg" else masks)[stem] = pixels
            if stem in photos and stem in masks:
                eyes = [np.nonzero(masks[stem] == label) for label in (5, 4)]
                if min(len(eye[0]) for eye in eyes) >= 60:
                    left, right = (complex(x.mean(), y.mean()) for y, x in eyes)
                    found.append((photos[stem], left, right))
                if len(found) == 8:
                    break
    return found


# ---- geometry, no weights --------------------------------------------------------------------------------------------


def test_least_squares_finds_any_similarity() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=5) + 1j * rng.normal(size=5)
    a, b = 2.5 * cmath.exp(0.4j), 30 - 7j
    fit = geometry.Similarity.fit(points, a * points + b)
    assert fit.a == pytest.approx(a)
    assert fit.b == pytest.approx(b)
    twice = fit @ fit
    assert twice(points[0]) == pytest.approx(fit(fit(points[0])))


def test_crop_of_the_identity_is_the_photo() -> None:
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize((256, 256)))
    crop = geometry.crop(photo, geometry.Similarity(1, 0), 256)
    assert np.abs(crop.astype(int) - photo).mean() < 1.5


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0, 6.0])
def test_crop_puts_a_spot_where_the_similarity_says(scale: float) -> None:
    where = geometry.Similarity(scale * cmath.exp(0.3j), complex(500, 100))
    target = 150 + 60j
    spot = where(target)
    y, x = np.mgrid[0:2048, 0:2048]
    value = 255 * np.exp(-((x - spot.real) ** 2 + (y - spot.imag) ** 2) / (2 * (4 * scale) ** 2))
    photo = np.repeat(value.astype(np.uint8)[..., None], 3, -1)
    for size in (256, 128):
        crop = geometry.crop(photo, where, size)[..., 0].astype(float)
        y, x = np.mgrid[0:size, 0:size]
        seen = complex((crop * x).sum(), (crop * y).sum()) / crop.sum()
        seen = (seen + (0.5 + 0.5j)) * 256 / size - (0.5 + 0.5j)
        assert abs(seen - target) < 0.25


def test_beyond_the_edge_the_photo_is_mirrored() -> None:
    assert geometry._mirror(-3, 8, 4).tolist() == [2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0]
    photo = np.full((40, 40, 3), 77, np.uint8)
    crop = geometry.crop(photo, geometry.Similarity(1, -500 - 500j), 64)
    assert (crop == 77).all()


def test_two_blobs_are_told_apart() -> None:
    grid = np.arange(64)[None, :] + 1j * np.arange(64)[:, None]
    weight = 1.0 * (np.abs(grid - (20 + 24j)) < 4) + 1.0 * (np.abs(grid - (44 + 34j)) < 4)
    pair = look._split(grid, weight, 10)
    assert pair is not None
    assert pair[0] == pytest.approx(20 + 24j)
    assert pair[1] == pytest.approx(44 + 34j)
    assert look._split(grid, 0 * weight, 10) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (64, 64), (90, 30)])
def test_an_untrained_parser_sees_no_face(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    blind = FaceParser(ParserConfig(size=32, widths=(8, 8, 8, 8))).eval()
    with pytest.raises(SemcastError, match=r"no face found in sky\.jpg"):
        align(np.full((*shape, 3), 90, np.uint8), blind, name="sky.jpg")


# ---- real photos -----------------------------------------------------------------------------------------------------


def test_the_astronaut(parser: FaceParser) -> None:
    from skimage.data import astronaut

    aligned, where = align(astronaut(), parser)
    assert aligned.shape == (256, 256, 3)
    assert where.faces_found == 1
    assert np.allclose(where.eyes, ((203.4, 100.3), (247.0, 102.1)), atol=3)
    assert np.allclose(where.mouth, (222.8, 145.4), atol=4)
    assert where.scale == pytest.approx(0.66, abs=0.04)
    assert abs(where.tilt_deg) < 6
    corner = where.matrix @ np.array([*LEFT_EYE, 1.0])
    assert np.allclose(corner, where.eyes[0], atol=3)
    small, _ = align(astronaut(), parser, 128)
    assert small.shape == (128, 128, 3)


@pytest.mark.parametrize("tilt", [0.0, 30.0])
def test_a_tilted_astronaut(parser: FaceParser, tilt: float) -> None:
    from skimage.data import astronaut

    straight, _ = align(astronaut(), parser)
    photo = np.asarray(Image.fromarray(astronaut()).rotate(-tilt, Image.Resampling.BICUBIC, expand=True))
    aligned, where = align(photo, parser)
    assert where.tilt_deg == pytest.approx(2.5 + tilt, abs=5)
    middle = slice(70, 200)
    assert np.abs(aligned[middle, middle].astype(float) - straight[middle, middle]).mean() < 16


def test_eyes_of_faces_in_larger_pictures(parser: FaceParser, faces: list[tuple[np.ndarray, complex, complex]]) -> None:
    """Smaller, tilted and with borders: the mean eye error stays under 4 px of the 256 px frame."""
    rng = np.random.default_rng(3)
    errors = []
    for photo, *eyes in faces:
        scale, tilt = rng.uniform(0.4, 1.0), rng.uniform(-12, 12)
        side = round(256 * scale)
        small = Image.fromarray(photo).resize((side, side), Image.Resampling.LANCZOS)
        mask = Image.new("L", (side, side), 255).rotate(-tilt, expand=True)
        small = small.rotate(-tilt, Image.Resampling.BICUBIC, expand=True)
        canvas = Image.new("RGB", (560, 420), (150, 140, 120))
        left, top = (560 - small.width) // 2 + 40, (420 - small.height) // 2
        canvas.paste(small, (left, top), mask)
        _, where = align(np.asarray(canvas), parser)
        a = side / 256 * cmath.exp(1j * math.radians(tilt))
        middle = complex(left + small.width / 2 - 0.5, top + small.height / 2 - 0.5)
        for eye, seen in zip(eyes, where.eyes, strict=True):
            errors.append(abs(complex(*seen) - (middle + a * (eye - (127.5 + 127.5j)))) / abs(a))
    assert np.mean(errors) < 4


def test_of_two_faces_the_larger(parser: FaceParser) -> None:
    from skimage.data import astronaut

    portrait = astronaut()[:256, 100:356]
    canvas = np.full((300, 600, 3), 140, np.uint8)
    canvas[20:276, 320:576] = portrait
    canvas[60:252, 40:232] = np.asarray(Image.fromarray(portrait).resize((192, 192)))
    _, where = align(canvas, parser)
    assert where.faces_found == 2
    assert where.eyes[0][0] > 320
    assert where.scale == pytest.approx(0.66, abs=0.06)


@pytest.mark.slow
def test_noise_is_no_face(parser: FaceParser) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    with pytest.raises(SemcastError, match="no face"):
        align(noise, parser)


@pytest.mark.slow
def test_a_house_is_no_face(parser: FaceParser) -> None:
    path = SHARED / "data" / "kodak" / "kodim01.png"
    if not path.exists():
        pytest.skip(f"no photo at {path} (set SEMCAST_SHARED)")
    with pytest.raises(SemcastError, match="no face"):
        align(np.asarray(Image.open(path).convert("RGB")), parser)


def test_canonical_points_make_a_face() -> None:
    assert LEFT_EYE[0] < MOUTH[0] < RIGHT_EYE[0]
    assert MOUTH[1] > LEFT_EYE[1]
