"""Recipe ``features``: what the encoder makes of the training photos, for the recipe ``tables`` to learn its statistics from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from semcast.codec.codec import Networks
from semcast.codec.concepts import SIZE, cells_of
from semcast.domains import domain_named
from semcast.files import whole
from semcast.train.data import load_scenes
from semcast.train.loop import console
from semcast.train.recipe import Task


@dataclass(frozen=True)
class Settings:
    """``photos`` of the training set, each at every side of the layout."""

    domain: str = "street"
    photos: int = 400


class FeaturesTask(Task):
    """Writes ``features.npz``: ``features`` ``[N, channels, 16, 16]`` and ``cells`` ``[N, 16, 16]``."""

    name, defaults = "features", Settings()

    def run(self) -> None:
        """Describe each photo at each side of the layout.

        Raises:
            SemcastError: no data, or no weights of the codec, its parser or its (layout) tables.
        """
        if not self.ranks.leads:
            return
        domain, out = domain_named(self.settings.domain), self.job.out
        networks, features, cells = Networks.load(domain), [], []
        scenes = load_scenes(self.job.data, domain, "train", SIZE, limit=self.settings.photos)
        for i in range(len(scenes)):
            for layout, own in networks.describe(scenes.batch(torch.tensor([i]))):
                features.append(own)
                cells.append(cells_of(layout))
        out.mkdir(parents=True, exist_ok=True)
        with whole(out / "features.npz") as file:
            np.savez_compressed(file, features=np.stack(features), cells=np.stack(cells))
        console.print(f"{out / 'features.npz'} written: semcast train tables --set features={out / 'features.npz'}")
