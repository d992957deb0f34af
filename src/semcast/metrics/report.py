"""All the metrics of one received image, those that this computer has the files for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from semcast.errors import BadInput
from semcast.metrics import efficientnet, perceptual, ssimulacra
from semcast.metrics.efficientnet import EfficientNet
from semcast.metrics.identity import SHORTEST, Identity
from semcast.metrics.perceptual import Lpips
from semcast.metrics.pixel import WINDOW, full_scales_side, ms_ssim, psnr_db


@dataclass(frozen=True)
class Name:
    """How a metric is shown.

    Args:
        heading: of a column.
        form: of a value.
        more_is_better: in which direction it is better.
    """

    heading: str
    form: str
    more_is_better: bool


NAMES = {
    "psnr_db": Name("PSNR dB", "{:.2f} dB", True),
    "ms_ssim": Name("MS-SSIM", "{:.4f}", True),
    "lpips_squeeze": Name("LPIPS-squeeze", "{:.4f}", False),
    "lpips_vgg": Name("LPIPS-VGG", "{:.4f}", False),
    "efficientnet": Name("EfficientNet distance", "{:.4f}", False),
    "ssimulacra2": Name("SSIMULACRA2", "{:.1f}", True),
    "identity": Name("identity", "{:.3f}", True),
    "identity_2": Name("identity 2", "{:.3f}", True),
    "identity_3": Name("identity 3", "{:.3f}", True),
    "verified": Name("verified", "{:.2f}", True),
    "verified_2": Name("verified 2", "{:.2f}", True),
    "verified_3": Name("verified 3", "{:.2f}", True),
}
"""Everything that :meth:`Metrics.measure` can give, in its order."""
IDENTITIES = ("identity", "identity_2", "identity_3")
TRAINED_ON = (
    "lpips_squeeze was a loss of the networks that paint here: it says less about their pictures than about others', and "
    "no choice rests on it alone"
)
_NUMBERS = ("no", "one", "two", "three")


class Metrics:
    """Measures received images against their photos.

    Args:
        lpips: perceptual distances by net (``squeeze``, ``vgg``), those available.
        identity: face recognisers, at most three; the values of the second are called ``identity_2`` and ``verified_2``.
            None is none.
        notes: what is left out and how to get it, and which recogniser gives which value, one sentence each. What an
            image is too small for, or of the wrong shape, is added when it is met, once.
        judge: EfficientNet's distance, by a network that no training sees; a tenth of a second for 256 x 256. None is none.
        ssimulacra2: whether to measure it too; it runs on the CPU alone, about an eighth of a second for 256 x 256.

    Raises:
        SemcastError: more than three recognisers.
    """

    def __init__(
        self, lpips: dict[str, Lpips], identity: Sequence[Identity] | None, notes: list[str], *,
        judge: EfficientNet | None = None, ssimulacra2: bool = False,
    ) -> None:  # fmt: skip
        identity = identity or ()
        if len(identity) > len(IDENTITIES):
            raise BadInput(f"identity is measured by at most {_NUMBERS[len(IDENTITIES)]} models, not {len(identity)}")
        self.lpips = lpips
        self.identity = dict(zip(IDENTITIES, identity, strict=False))
        self.notes = notes
        self.judge = judge
        self.ssimulacra2 = ssimulacra2

    @classmethod
    def load(
        cls, identity: Sequence[Path | Identity] | None = None, vgg: bool = True, *, judges: bool = False,
        ssimulacra2: bool = False,
    ) -> Metrics:  # fmt: skip
        """The metrics available here.

        Args:
            identity: ONNX face recognisers, at most three, or their files (see :class:`Identity`).
            vgg: LPIPS with VGG16 as well, where its weights are found; it takes about ten times as long as squeeze.
            judges: EfficientNet's distance as well, where its packages are installed.
            ssimulacra2: SSIMULACRA2 as well, where its package is installed.

        Raises:
            SemcastError: more than three identity models, one that cannot be used, or a damaged weights file.
        """
        recognisers = [each if isinstance(each, Identity) else Identity(each) for each in identity or ()]
        nets = ("squeeze", "vgg") if vgg else ("squeeze",)
        found = {net: lpips for net in nets if (lpips := Lpips.load(net)) is not None}
        judge = EfficientNet.load() if judges else None
        lacking = [perceptual.missing(net) for net in nets]
        lacking += [efficientnet.missing()] * judges + [ssimulacra.missing()] * ssimulacra2
        notes = [note for note in lacking if note]
        if "squeeze" in found:
            notes.append(TRAINED_ON)
        if not recognisers:
            notes.append("identity similarity is left out: name an ONNX face recogniser (112 x 112 ArcFace crops)")
        for name, recogniser in zip(IDENTITIES, recognisers, strict=False):
            notes.append(f"{name.replace('_', ' ')} is by {recogniser.path.name}")
        notes += [recogniser.note for recogniser in recognisers if recogniser.threshold is not None]
        return cls(found, recognisers, notes, judge=judge, ssimulacra2=ssimulacra2 and ssimulacra.missing() is None)

    def to(self, device: torch.device | str) -> Metrics:
        """Itself, with its networks on the device; :meth:`measure` moves them to the images by itself as well."""
        for network in (*self.lpips.values(), *([self.judge] if self.judge else [])):
            network.to(device)
        return self

    @torch.no_grad()
    def measure(self, photo: Tensor, received: Tensor) -> dict[str, float]:
        """What can be measured of two images, by the names and in the order of :data:`NAMES`.

        ``verified``, ``verified_2``, ``verified_3`` are the share of faces that a recogniser takes for the same person;
        those without a known threshold give none. A metric that the images are too small for, or of the wrong shape, is
        left out, and one of the notes says so.

        Args:
            photo: ``[3, H, W]`` or ``[B, 3, H, W]`` in [0, 1], or with one grey channel; of a batch the mean is given.
            received: the same shape, on the same device; grey and colour may meet, and grey counts as that colour.

        Raises:
            SemcastError: the shapes differ.
        """
        photo, received = _alike(photo, received)
        self.to(photo.device)
        height, width = photo.shape[-2:]
        side, faces = min(height, width), {}
        values = {"psnr_db": psnr_db(photo, received)}
        self._add(values, "ms_ssim", side, WINDOW, lambda: ms_ssim(photo, received))
        if WINDOW <= side < full_scales_side():
            self._note(f"MS-SSIM needs {full_scales_side()} px for its five scales: sides of {side} px get fewer of them")
        colour = [image.expand(-1, 3, -1, -1) for image in (photo, received)]
        for net, lpips in self.lpips.items():
            self._add(values, f"lpips_{net}", side, perceptual.SHORTEST, lambda net=lpips: net(*colour))  # type: ignore[misc]
        if judge := self.judge:
            self._add(values, "efficientnet", side, efficientnet.SHORTEST, lambda: judge(*colour))
        if self.ssimulacra2:
            self._add(values, "ssimulacra2", side, ssimulacra.SHORTEST, lambda: ssimulacra.ssimulacra2(*colour))
        recognisers = self.identity if height == width and side >= SHORTEST else {}
        if len(recognisers) < len(self.identity):
            self._note(f"identity is left out of images of {width} x {height} px: it needs aligned square faces, best of 256 px")
        for name, recogniser in recognisers.items():
            values[name] = recogniser.similarity(*colour)
            if recogniser.threshold is not None:
                faces[name.replace("identity", "verified")] = recogniser.verify(values[name]).float()
        return {name: float(value.mean()) for name, value in {**values, **faces}.items()}

    def _add(self, values: dict[str, Tensor], name: str, side: int, least: int, measure: Callable[[], Tensor]) -> None:
        """One more value, or the note that says why not."""
        if side >= least:
            values[name] = measure()
        else:
            self._note(f"{NAMES[name].heading} is left out of images with a side of {side} px: it needs {least} px")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _alike(photo: Tensor, received: Tensor) -> tuple[Tensor, Tensor]:
    """Both as batches with the same number of channels."""
    if photo.ndim == 3 and received.ndim == 3:
        photo, received = photo[None], received[None]
    if photo.ndim == 4 and received.ndim == 4 and {photo.shape[1], received.shape[1]} == {1, 3}:
        photo, received = photo.expand(-1, 3, -1, -1), received.expand(-1, 3, -1, -1)
    if photo.shape != received.shape:
        raise BadInput(f"photo and received image differ in shape: {[*photo.shape]} and {[*received.shape]}")
    if photo.ndim != 4 or photo.shape[1] not in (1, 3) or not photo.numel():
        raise BadInput(f"images must be [3, H, W] or [B, 3, H, W] (one channel where they are grey), not {[*photo.shape]}")
    return photo, received
