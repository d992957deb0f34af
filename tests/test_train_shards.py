"""Shards out of data sets as they are distributed, made up and tiny, and out of a plain folder of photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semcast.train.shards as shards
from semcast.domains import FACE, STREET
from semcast.errors import SemcastError
from semcast.shards import shard_members
from semcast.train.data import load_all_faces, load_faces, load_scenes
from semcast.train.shards import CELEBA_PARTS, CHECKSUMS, as_shards, ids, pack


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of two ids, one and one."""
    lists = {"train": ["00000", "02001"], "val": ["00003"], "test": ["00004"]}
    streets = {"train": ["0001", "0002"], "val": ["0002"], "test": ["0001"]}
    monkeypatch.setattr(shards, "ids", lambda folder, split: (lists if folder == "faces256" else streets)[split])


def celeba(root: Path, numbers: tuple[int, ...] = (0, 3, 4, 2001)) -> Path:
    """Grey squares; skin everywhere, hair over it in the upper half, the left eye on the image's right."""
    for number in numbers:
        write(root / "CelebA-HQ-img" / f"{number}.jpg", np.full((64, 64, 3), 10 * (number % 7) + 60))
        folder = root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
        hair, eye = np.zeros((512, 512)), np.zeros((512, 512))
        hair[:256], eye[300:340, 400:440] = 255, 255
        for part, mask in (("skin", np.full((512, 512), 255)), ("hair", hair), ("l_eye", eye)):
            write(folder / f"{number:05d}_{part}.png", mask)
    return root


def test_the_lists_are_what_their_checksums_say_and_share_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"faces256": (4507, 250, 250), "street256": (2975, 150, 150)}
    for folder, expected in sizes.items():
        lists = [ids(folder, split) for split in ("train", "val", "test")]
        assert tuple(map(len, lists)) == expected and all(sorted(set(names)) == names for names in lists)
        apart = lists if folder == "faces256" else lists[1:]  # a street's val and test are numbered apart from its train
        assert len(set().union(*apart)) == sum(map(len, apart))
    monkeypatch.setitem(CHECKSUMS, "faces256-val", "0" * 64)
    with pytest.raises(SemcastError, match="checksum"):
        ids("faces256", "val")


def test_the_parts_are_in_the_order_of_the_domains_classes() -> None:
    short = {"eye_g": "glasses", "neck_l": "necklace", "ear_r": "earring"}
    for label, part in enumerate(CELEBA_PARTS, 1):
        side, _, thing = part.rpartition("_")
        name = {"l": "left ", "r": "right ", "u": "upper "}.get(side, "") + thing
        expected = short.get(part, "lower lip" if part == "l_lip" else name)
        assert FACE.classes[label] == expected, part


def test_faces(few: None, tmp_path: Path) -> None:
    written = pack("faces", celeba(tmp_path / "raw"), tmp_path / "data")
    assert [path.name for path in written] == ["train-000.tar", "val-000.tar", "test-000.tar"]
    assert [name for name, _, _ in shard_members(written[0])] == ["00000", "02001"]
    scenes = load_scenes(tmp_path / "data", FACE, "train")
    assert scenes.images.shape == (2, 3, 256, 256) and set(np.unique(scenes.masks)) == {1, 4, 13}
    assert scenes.masks[0, 160, 210] == 4 and scenes.masks[0, 10, 10] == 13 and scenes.masks[0, 200, 10] == 1
    assert abs(int(scenes.images[1, 0, 9, 9]) - (10 * (2001 % 7) + 60)) < 3
    again = pack("faces", tmp_path / "raw", tmp_path / "again")
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(written, again, strict=True)] == [True] * 3


def test_streets(few: None, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for split, city, count in (("train", "aachen", 2), ("val", "ulm", 2)):
        for i in range(count):
            write(raw / "leftImg8bit" / split / city / f"{city}_{i}_leftImg8bit.png", np.full((64, 128, 3), 50 * (i + 1)))
            labels = np.full((64, 128), 7 if split == "train" else 0)  # a road by its id; by its trainId
            labels[:, 64:] = 0 if split == "train" else 255  # unlabelled
            kind = "labelIds" if split == "train" else "labelTrainIds"
            write(raw / "gtFine" / split / city / f"{city}_{i}_gtFine_{kind}.png", labels)
    pack("street", raw, tmp_path / "data")
    for split, grey in (("train", 50), ("val", 100), ("test", 50)):
        scenes = load_scenes(tmp_path / "data", STREET, split)
        assert abs(int(scenes.images[0, 0, 5, 5]) - grey) < 3
        assert scenes.masks[0, 9, 9] == 0 and scenes.masks[0, 9, 200] == 255
    (raw / "gtFine" / "val" / "ulm" / "ulm_0_gtFine_labelTrainIds.png").unlink()
    with pytest.raises(SemcastError, match="as it is distributed"):
        pack("street", raw, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_is_not_there_is_said(few: None, tmp_path: Path) -> None:
    with pytest.raises(SemcastError, match="the known are faces, street"):
        pack("cats", tmp_path, tmp_path / "data")
    with pytest.raises(SemcastError, match=r"there is no .*0\.jpg"):
        pack("faces", tmp_path, tmp_path / "data")
    raw = celeba(tmp_path / "raw")
    for mask in (raw / "CelebAMask-HQ-mask-anno").glob("1/*.png"):
        mask.unlink()
    with pytest.raises(SemcastError, match=r"no labels of .*2001\.jpg"):
        pack("faces", raw, tmp_path / "data")
    assert not list((tmp_path / "data" / "faces256").glob("*"))  # no half of a shard


def test_a_plain_folder_becomes_shards_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    for i in range(4):
        write(photos / f"{i}.png", np.full((80, 80, 3), 40 * i + 40))
        write(photos / f"{i}.mask.png", np.full((80, 80), i))
    (photos / "notes.txt").write_text("not a photo")
    (photos / "9.jpg").write_bytes(b"nor this")
    data = as_shards(photos, tmp_path / "run")
    faces = load_faces(data / "faces256", "train", 64)
    assert faces.names == ("1", "2", "3") and load_faces(data / "faces256", "val", 64).names == ("0",)
    assert int(load_scenes(data, FACE, "train").masks[1, 0, 0]) == 2
    assert len(load_all_faces(data, 64)) == 3
    monkeypatch.setattr(shards, "pack_folder", None)  # not again
    assert as_shards(photos, tmp_path / "run") == data
    assert as_shards(data, tmp_path / "run") == data  # shards are taken as they are
    assert as_shards(tmp_path / "run", tmp_path / "x") == tmp_path / "run"  # no photos: the recipe says so


def test_photos_without_labels_are_labelled_by_the_parser(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    random = np.random.default_rng(0)
    for i in range(2):
        write(photos / f"{i}.png", np.kron(random.integers(0, 255, (8, 16, 3)), np.ones((16, 16, 1))))
    data = as_shards(photos, tmp_path / "run", "street")
    scenes = load_scenes(data, STREET, "train")
    assert scenes.names == ("1",) and set(np.unique(scenes.masks)) <= set(range(19))


def test_a_folder_of_too_few_photos_is_said(tmp_path: Path) -> None:
    write(tmp_path / "photos" / "1.png", np.zeros((64, 64, 3)))
    with pytest.raises(SemcastError, match="too few photos"):
        as_shards(tmp_path / "photos", tmp_path / "run", "street")
