"""RealNVP between the generator's codes and a Gaussian: P → N, exactly invertible (Dinh et al. 2017, arXiv:1605.08803).

codes P → a fixed linear whitening → 8 affine couplings of 6 fully connected layers each → N ~ N(0, I)

The whitening is the Karhunen-Loève transform of the codes *in the metric of the picture* (our choice): with the codes'
covariance C and the mean squared Jacobian G = E[JᵀJ] of what the receiver shows, G^½ C G^½ = U Λ Uᵀ and

    z = Λ^-½ Uᵀ G^½ (P - μ),

so that coordinate i has unit variance and an error δ_i² in it costs about λ_i δ_i² in the picture. Coordinates come in the
order of λ_i: the first ones are what a small budget should spend its symbols on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from zuko.flows import RealNVP
from zuko.transforms import MonotonicAffineTransform

if TYPE_CHECKING:
    from jaxtyping import Float, Float64


@dataclass(frozen=True)
class FlowConfig:
    """``dims`` numbers in all codes together; couplings; width and number of the fully connected layers of each."""

    dims: int = 28 * 48
    couplings: int = 8
    layers: int = 6
    width: int = 160
    slope: float = 0.2


class CodeFlow(nn.Module):
    """Whitening + RealNVP over all codes jointly, so that a sample of N(0, I) is a whole face.

    Every coupling's scale is bounded to (slope, 1/slope): unbounded ones end in NaN.
    """

    mean: Tensor
    forward_matrix: Tensor
    inverse_matrix: Tensor
    importance: Tensor

    def __init__(self, config: FlowConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or FlowConfig()
        self.register_buffer("mean", torch.zeros(c.dims))
        self.register_buffer("forward_matrix", torch.eye(c.dims))
        self.register_buffer("inverse_matrix", torch.eye(c.dims), persistent=False)
        self.register_buffer("importance", torch.ones(c.dims))
        couplings: Any = RealNVP(
            c.dims, transforms=c.couplings, randmask=False, hidden_features=(c.width,) * (c.layers - 1),
            activation=nn.SiLU, univariate=partial(MonotonicAffineTransform, slope=c.slope),
        ).transform.transforms  # fmt: skip
        for coupling in couplings:  # start as the identity
            last: Any = coupling.hyper[-1]
            nn.init.normal_(last.weight, std=1e-4)
            nn.init.zeros_(last.bias)
        self.couplings = nn.ModuleList(couplings)

    @staticmethod
    def fits(config: FlowConfig, tensors: Mapping[str, Tensor]) -> bool:
        """Whether tensors are of a flow of these sizes, asked before one takes memory."""
        layers = [t for name, t in tensors.items() if name.startswith("couplings.") and name.endswith(".weight")]
        square, most = tensors["forward_matrix"].shape, max(max(layer.shape) for layer in layers)
        return square == (config.dims,) * 2 and len(layers) == config.couplings * config.layers and config.width <= most

    def set_whitening(
        self, mean: Float[Tensor, " dims"], covariance: Float[Tensor, "dims dims"], metric: Float[Tensor, "dims dims"]
    ) -> None:
        """Fill the whitening from μ, C and G (float64 inside)."""
        root = _root(metric)
        values, vectors = torch.linalg.eigh(root @ covariance.double() @ root)
        values, vectors = values.flip(0).clamp_min(1e-9), vectors.flip(1)
        self.mean.copy_(mean)
        self.forward_matrix.copy_((vectors / values.sqrt()).T @ root)
        self.importance.copy_(values / values.mean())
        self.refresh()

    def metric(self) -> Float64[Tensor, "dims dims"]:
        """G, up to a constant factor, as the whitening holds it: Fᵀ Λ F for F = Λ^-½ Uᵀ G^½ (float64)."""
        matrix = self.forward_matrix.double()
        return matrix.T @ (self.importance.double()[:, None] * matrix)

    def refresh(self) -> None:
        """Recompute the whitening's inverse; needed after its matrix was set or loaded."""
        self.inverse_matrix.copy_(torch.linalg.inv(self.forward_matrix.double()))

    def whiten(self, codes: Float[Tensor, "batch 28 code"]) -> Float[Tensor, "batch {self.config.dims}"]:
        """P ``[B, 28, code]`` → z ``[B, dims]``, the linear layer alone."""
        return (codes.flatten(1) - self.mean) @ self.forward_matrix.T

    def unwhiten(self, z: Float[Tensor, "batch {self.config.dims}"]) -> Float[Tensor, "batch 28 code"]:
        """z → P, the inverse of :meth:`whiten`."""
        return torch.unflatten(z @ self.inverse_matrix.T + self.mean, 1, (28, -1))

    def to_normal(self, codes: Float[Tensor, "batch 28 code"]) -> Float[Tensor, "batch {self.config.dims}"]:
        """P ``[B, 28, code]`` → N ``[B, dims]``."""
        return self.normalise(codes)[0]

    def normalise(
        self, codes: Float[Tensor, "batch 28 code"]
    ) -> tuple[Float[Tensor, "batch {self.config.dims}"], Float[Tensor, " batch"]]:
        """N and log |det ∂N/∂P| of the couplings (the whitening's is a constant)."""
        z = self.whiten(codes)
        ladj = z.new_zeros(len(z))
        for coupling in self.couplings:
            z, part = coupling().call_and_ladj(z)
            ladj = ladj + part
        return z, ladj

    def to_codes(self, normal: Float[Tensor, "batch {self.config.dims}"]) -> Float[Tensor, "batch 28 code"]:
        """N ``[B, dims]`` → P ``[B, 28, code]``, the exact inverse of :meth:`to_normal`."""
        z = normal
        for coupling in reversed(self.couplings):
            z = coupling().inv(z)
        return self.unwhiten(z)

    def nll(self, codes: Float[Tensor, "batch 28 code"]) -> Float[Tensor, " batch"]:
        """-log p per dimension up to the whitening's constant: (½ ||N||² - log |det|) / dims, ``[B]``."""
        normal, ladj = self.normalise(codes)
        return (0.5 * normal.square().sum(1) - ladj) / self.config.dims


def _root(matrix: Tensor) -> Tensor:
    """Symmetric square root, float64."""
    values, vectors = torch.linalg.eigh(matrix.double())
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
