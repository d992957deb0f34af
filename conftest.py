"""How threads wait, before torch is there; and photos for the lines that ``help(semcast)`` prints, run as they stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two processes of tests with two threads each meet on two processors: threads that spin while they wait take from those that
# compute, and the suite takes four times as long. What OpenMP is told counts before torch is loaded, in every process below too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that one is in, with ``me.jpg``, ``street.jpg`` and ``photos/``: what the documents name."""
    import skimage.data
    from PIL import Image

    portrait = Image.fromarray(skimage.data.astronaut())
    portrait.save(tmp_path / "me.jpg", quality=95)
    Image.fromarray(skimage.data.coffee()).resize((512, 256)).save(tmp_path / "street.jpg")
    (tmp_path / "photos").mkdir()
    portrait.save(tmp_path / "photos" / "astronaut.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def photos_of_the_front_door(request: pytest.FixtureRequest) -> None:
    """That folder for the doctest of the package."""
    if request.node.name == "semcast":
        request.getfixturevalue("folder")
