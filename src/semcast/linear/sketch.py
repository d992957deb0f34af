"""Linear analog coding: a Karhunen-Loève sketch of the photo, sent with the optimal power for each component.

The photo is reduced to 64x64 luma and 32x32 chroma (YCbCr), weighted by w, and projected on the leading eigenvectors u_i
of its covariance, with eigenvalues λ_i. With k_r = 2k real channel uses, noise variance s² = N0/2 per real use and
mean power 1/2 per real use, the optimum (least mean squared error of any linear code) sends g_i · c_i with power

    p_i = g_i² λ_i = max(0, sqrt(λ_i s² / ν) - s²),   Σ p_i = k_r / 2,

and the receiver's estimate is c_i = y_i g_i λ_i / (p_i + s_i²), the Wiener estimate for the noise s_i² it really met.

A sketch may care for more than pixels. With G = diag(w) (I + E diag(σ²) Eᵀ) diag(w), where the orthonormal columns of E are the
``directions`` that a face recogniser sees most (σ² each: how much), all of the above holds in the metric of G instead of
diag(w²): (I + E diag(σ²) Eᵀ)^½ = I + E diag(√(1 + σ²) - 1) Eᵀ lengthens the weighted photo along them before it is projected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def to_vector(image: Float[Tensor, "batch 3 height width"], side: int = 64) -> Float[Tensor, "batch 3*{side}**2//2"]:
    """Photo ``[B, 3, H, W]`` in [0, 1] → ``[B, side² + 2 (side/2)²]``: area-averaged luma, then the two chroma at half the side.

    Chroma is scaled by 1/2 in its orthonormal sense: each coarse chroma sample stands for four luma samples.
    """
    small = F.interpolate(image.float(), (side, side), mode="area")
    ycc = torch.einsum("ij,bjhw->bihw", _YCC.to(small), small)
    chroma = F.avg_pool2d(ycc[:, 1:], 2) * 2.0
    return torch.cat((ycc[:, 0].flatten(1), chroma.flatten(1)), 1)


def to_image(vector: Float[Tensor, "batch 3*{side}**2//2"], side: int = 64) -> Float[Tensor, "batch 3 {side} {side}"]:
    """The inverse of :func:`to_vector` at ``side`` x ``side``, RGB ``[B, 3, side, side]`` (not clipped)."""
    luma, chroma = vector[:, : side * side], vector[:, side * side :]
    half = side // 2
    chroma = F.interpolate(chroma.reshape(-1, 2, half, half) / 2.0, scale_factor=2.0, mode="bilinear")
    ycc = torch.cat((luma.reshape(-1, 1, side, side), chroma), 1)
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(_YCC).to(ycc), ycc)


def weight_vector(pixel_weight: Float[Tensor, "side side"]) -> Float[Tensor, " 3*side**2//2"]:
    """Pixel weights ``[side, side]`` → weights of the entries of :func:`to_vector` (chroma: the mean of its four)."""
    chroma = F.avg_pool2d(pixel_weight[None, None], 2)[0, 0]
    return torch.cat((pixel_weight.flatten(), chroma.flatten(), chroma.flatten()))


def allocate(eigenvalues: Float[Tensor, " components"], uses: int, noise: float) -> Float[Tensor, " min(components,{uses})"]:
    """Optimal analog powers p_i (one per component) for ``uses`` real channel uses of noise variance ``noise``.

    Σ p_i = uses / 2 over at most ``uses`` components (closed form: only ν is searched, by adding components while they
    still earn a positive power).
    """
    lam = eigenvalues[: min(uses, len(eigenvalues))].double().clamp_min(1e-12)
    total = uses / 2.0
    roots = lam.sqrt()
    place = torch.arange(len(lam), device=lam.device)
    # with the first m active: Σ sqrt(λ s²/ν) = total + m s²  →  level = sqrt(s²/ν) = (total + m s²) / Σ sqrt(λ)
    level = (total + (place + 1).double() * noise) / roots.cumsum(0)
    last = torch.where(level * roots > noise, place, 0).max()  # a tensor: nothing here waits for the device
    power = (level.gather(0, last[None]) * roots - noise).clamp_min(0)
    return power.masked_fill(place > last, 0).to(eigenvalues)


HEAD = 256  # the leading components; the rest of the basis is stored in 4 bits


@dataclass(frozen=True)
class SketchConfig:
    """Side of the luma plane, number of stored components, and of directions that count for more than their pixels do."""

    side: int = 64
    components: int = 1024
    directions: int = 0


class Sketch(nn.Module):
    """A weighted KLT: ``mean``, ``weight`` ``[D]``, ``basis`` ``[components, D]``, ``eigenvalues`` ``[components]``.

    ``directions`` ``[directions, D]`` are orthonormal; along each the weighted photo is ``length`` times as long.
    """

    mean: Tensor
    weight: Tensor
    basis: Tensor
    eigenvalues: Tensor
    directions: Tensor
    length: Tensor

    def __init__(self, config: SketchConfig | None = None) -> None:
        super().__init__()
        self.config = config or SketchConfig()
        dims = self.config.side**2 * 3 // 2
        self.register_buffer("mean", torch.zeros(dims))
        self.register_buffer("weight", torch.ones(dims))
        self.register_buffer("basis", torch.zeros(self.config.components, dims))
        self.register_buffer("eigenvalues", torch.ones(self.config.components))
        if self.config.directions:
            self.register_buffer("directions", torch.zeros(self.config.directions, dims))
            self.register_buffer("length", torch.ones(self.config.directions))
        self._squares: Tensor | None = None

    def project(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch {self.config.components}"]:
        """Photo → components c ``[B, components]``.

        The tail is projected from what the head leaves: the same for an orthonormal basis, and a coarsely stored tail
        then cannot pick up what belongs to the head.
        """
        vector = self.lengthen((to_vector(image, self.config.side) - self.mean) * self.weight)
        head, tail = self.basis[:HEAD], self.basis[HEAD:]
        leading = vector @ head.T
        return torch.cat((leading, (vector - leading @ head) @ tail.T), 1)

    def restore(self, components: Float[Tensor, "batch {self.config.components}"]) -> Float[Tensor, "batch 3 side side"]:
        """Components → photo ``[B, 3, side, side]`` (the least-squares estimate, not clipped)."""
        return to_image(self.shorten(components @ self.basis) / self.weight + self.mean, self.config.side)

    def lengthen(self, weighted: Float[Tensor, "rows D"]) -> Float[Tensor, "rows D"]:
        """Weighted photos, longer along the directions; as they are where there are none."""
        return self._scale(weighted, 1)

    def shorten(self, weighted: Float[Tensor, "rows D"]) -> Float[Tensor, "rows D"]:
        """The inverse of :meth:`lengthen`."""
        return self._scale(weighted, -1)

    def _scale(self, weighted: Tensor, exponent: int) -> Tensor:
        if not self.config.directions:
            return weighted
        return weighted + ((weighted @ self.directions.T) * (self.length**exponent - 1)) @ self.directions

    def powers(self, symbols: int, snr_db: float) -> Float[Tensor, " used"]:
        """p_i for k complex symbols at the SNR that both ends expect."""
        return allocate(self.eigenvalues, 2 * symbols, 10 ** (-snr_db / 10) / 2)

    def modulate(
        self, components: Float[Tensor, "batch {self.config.components}"], symbols: int, snr_db: float
    ) -> Float[Tensor, "batch 2*{symbols}"]:
        """Components ``[B, C]`` → ``[B, 2k]`` reals of mean power 1/2 over photos; unused uses stay 0."""
        power = self.powers(symbols, snr_db)
        sent = components[:, : len(power)] * (power / self.eigenvalues[: len(power)]).sqrt()
        return F.pad(sent, (0, 2 * symbols - sent.shape[1]))

    def demodulate(
        self, reals: Float[Tensor, "batch 2*{symbols}"], noise: Float[Tensor, "batch 2*{symbols}"], symbols: int, snr_db: float
    ) -> Float[Tensor, "batch {self.config.components}"]:
        """Wiener estimate of the components from ``[B, 2k]`` reals with noise variance ``noise`` (same shape) each."""
        power = self.powers(symbols, snr_db)
        lam = self.eigenvalues[: len(power)]
        gain = (power * lam).sqrt() / (power + noise[:, : len(power)])
        return F.pad(reals[:, : len(power)] * gain, (0, self.config.components - len(power)))

    def error(
        self, noise: Float[Tensor, "batch 2*{symbols}"], symbols: int, snr_db: float
    ) -> Float[Tensor, "batch {self.config.components}"]:
        """Variance left on each component after :meth:`demodulate`: λ s² / (p + s²), and λ where nothing was sent."""
        power = self.powers(symbols, snr_db)
        power = F.pad(power, (0, self.config.components - len(power)))
        short = min(noise.shape[1], self.config.components)
        noise = F.pad(noise[:, :short], (0, self.config.components - short), value=1.0)
        return self.eigenvalues * noise / (power + noise)

    def error_map(self, variance: Float[Tensor, "batch {self.config.components}"]) -> Float[Tensor, "batch 1 side side"]:
        """Expected error (standard deviation) of the estimate's luma per pixel, ``[B, 1, side, side]``."""
        side = self.config.side
        if self._squares is None or self._squares.device != self.basis.device:
            self._squares = (self.shorten(self.basis)[:, : side * side] / self.weight[: side * side]).square()
        return (variance @ self._squares).clamp_min(0).sqrt().reshape(-1, 1, side, side)
