"""Photos for the lines that ``help(semcast)`` prints: they are run as they stand, in a folder that holds what they name."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def photos_of_the_front_door(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``me.jpg``, ``street.jpg`` and ``photos/`` in a folder of its own, for the doctest of the package alone."""
    if request.node.name != "semcast":
        return
    import skimage.data
    from PIL import Image

    portrait = Image.fromarray(skimage.data.astronaut())
    portrait.save(tmp_path / "me.jpg", quality=95)
    Image.fromarray(skimage.data.coffee()).resize((512, 256)).save(tmp_path / "street.jpg")
    (tmp_path / "photos").mkdir()
    portrait.save(tmp_path / "photos" / "astronaut.png")
    monkeypatch.chdir(tmp_path)
