"""Variants of the generative link with one thing changed, as systems, so that they give ordinary records.

The question of fig. 5 of Han et al. (2023): does the flow help? The codes P of a photo are sent by the same closed-form
analog code (optimal powers for given importances λ_i, Wiener estimate; nothing learned) in four coordinate systems:

=============  ======================================================  ===================================
variant        coordinates                                             λ_i, the order and powers
=============  ======================================================  ===================================
flow           whitening in the picture's metric, then the couplings   the flow's importance
whitened       the whitening alone (a linear flow)                     the flow's importance
standardised   (P_i - μ_i) / σ_i                                       σ_i²
pca            principal components of P                               variances of the components
=============  ======================================================  ===================================

And does separating inversion from transmission cost anything? :class:`EndToEnd` is trained as one network from the photo to
the symbols and back into the same generator, with no code to hit on the way.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from semcast.errors import BadInput
from semcast.generative.channel_codec import ChannelCodec, CodecConfig
from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.flow import CodeFlow
from semcast.generative.inversion import Descent
from semcast.generative.system import Generative
from semcast.link import Budget, Burst, Received, Reception, System
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.weights import load


class Coordinates(Protocol):
    """An invertible map of the codes to numbers of mean 0 and variance 1, the most important first."""

    importance: Tensor

    def to_normal(self, codes: Tensor) -> Tensor:
        """P ``[B, 28, code]`` → N ``[B, dims]``."""
        ...

    def to_codes(self, normal: Tensor) -> Tensor:
        """N → P."""
        ...


class Affine(nn.Module):
    """N = A (P - μ).

    Args:
        mean: μ ``[dims]``.
        forward_matrix: A ``[dims, dims]``, float64.
        importance: λ ``[dims]``, descending; only their proportions matter.
    """

    mean: Tensor
    forward_matrix: Tensor
    inverse_matrix: Tensor
    importance: Tensor

    def __init__(self, mean: Tensor, forward_matrix: Tensor, importance: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("forward_matrix", forward_matrix.float())
        self.register_buffer("inverse_matrix", torch.linalg.inv(forward_matrix).float())
        self.register_buffer("importance", (importance / importance.mean()).float())

    def to_normal(self, codes: Tensor) -> Tensor:
        """P ``[B, 28, code]`` → N ``[B, dims]``."""
        return (codes.flatten(1) - self.mean) @ self.forward_matrix.T

    def to_codes(self, normal: Tensor) -> Tensor:
        """N → P."""
        return torch.unflatten(normal @ self.inverse_matrix.T + self.mean, 1, (28, -1))


def code_covariance(flow: CodeFlow) -> Tensor:
    """C of the training codes, float64: the whitening A has A C Aᵀ = I, so C = A⁻¹ A⁻ᵀ."""
    inverse: Tensor = torch.linalg.inv(flow.forward_matrix.double())
    return inverse @ inverse.T


def whiten(flow: CodeFlow) -> Affine:
    """The flow without its couplings."""
    return Affine(flow.mean, flow.forward_matrix.double(), flow.importance)


def standardise(flow: CodeFlow) -> Affine:
    """Each number of the codes by its own mean and spread, the most variable first."""
    variance, order = code_covariance(flow).diagonal().sort(descending=True)
    scale = variance.new_zeros(len(order), len(order))
    scale[torch.arange(len(order), device=order.device), order] = variance.rsqrt()
    return Affine(flow.mean, scale, variance)


def decorrelate(flow: CodeFlow) -> Affine:
    """The Karhunen-Loève transform of the codes themselves: it knows nothing of what the picture shows of them."""
    values, vectors = torch.linalg.eigh(code_covariance(flow))
    values, vectors = values.flip(0).clamp_min(1e-12), vectors.flip(1)
    return Affine(flow.mean, (vectors / values.sqrt()).T, values)


class ClosedForm(System):
    """The generative link whose flow and channel codec are replaced by given coordinates and the closed-form code."""

    min_symbols, max_symbols = Generative.min_symbols, Generative.max_symbols
    derived = ("coordinates.", "codec.importance")

    def __init__(self, name: str, link: Generative, coordinates: Coordinates) -> None:
        super().__init__()
        self.name, self.link, self.coordinates = name, link, coordinates
        self.image_size = link.image_size
        self.codec = ChannelCodec(link.codec.config)
        for learned in self.codec.parameters():  # none of it: the closed form alone (and one fingerprint in every run)
            nn.init.zeros_(learned)
        self.codec.importance.copy_(coordinates.importance)

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """F → L → coordinates → X."""
        self.check(budget)
        return Burst(self.codec.encode(self.coordinates.to_normal(self.link.invert(image)), budget), budget)

    def decode(self, received: Received) -> Reception:
        """Y → coordinates → L̂ → F̂."""
        codes = self.coordinates.to_codes(self.codec.decode(received.check()))
        image = self.link.render(codes).clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool, device=image.device))


class EndToEnd(System):
    """Photo → convolutional encoder → symbols → channel → two layers → the same generator, trained as one.

    There is no inversion and no flow: the encoder's output has no other meaning than what the picture loss gives it. Its
    coordinates start as whitened codes of the shipped encoder, and its channel codec as the closed-form code.

    Args:
        link: whose generator (frozen) and whitening are used.
        encoder, codec: what was trained end to end; None starts from the link's encoder and the closed form.
    """

    name = "end-to-end"
    min_symbols, max_symbols = Generative.min_symbols, Generative.max_symbols
    derived = ("coordinates.", "codec.importance")

    def __init__(self, link: Generative, encoder: FaceEncoder | None = None, codec: ChannelCodec | None = None) -> None:
        super().__init__()
        self.encoder = encoder or link.encoder
        self.codec = codec or ChannelCodec(link.codec.config)
        self.coordinates = whiten(link.flow)
        self.codec.importance.copy_(self.coordinates.importance)
        self.link, self.image_size = link, link.image_size

    @classmethod
    def load(cls, link: Generative) -> EndToEnd:
        """From the weights ``end-to-end`` (they do not ship: ``semcast train end-to-end`` makes them).

        Raises:
            BadInput: there are none.
        """
        checkpoint = load("end-to-end", kind="end-to-end")
        encoder = checkpoint.build(FaceEncoder, EncoderConfig, "encoder")
        codec = checkpoint.build(ChannelCodec, CodecConfig, "codec")
        return cls(link, channels_last(encoder.eval()), codec.eval())

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """F → X."""
        self.check(budget)
        with mixed(image.device):
            meaning = self.encoder(image.contiguous(memory_format=torch.channels_last)).float()
        return Burst(self.codec.encode(self.coordinates.to_normal(meaning), budget), budget)

    def decode(self, received: Received) -> Reception:
        """Y → F̂."""
        image = self.link.render(self.receive(received.check())).clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool, device=image.device))

    def receive(self, received: Received) -> Tensor:
        """What the generator is given, ``[B, 28, code]``."""
        return self.coordinates.to_codes(self.codec.decode(received))


VARIANTS = ("code-flow", "code-whitened", "code-standardised", "code-pca")


def variant(name: str, link: Generative) -> ClosedForm:
    """A variant by name, one of :data:`VARIANTS`.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in VARIANTS:
        raise BadInput(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
    makers = {"code-whitened": whiten, "code-standardised": standardise, "code-pca": decorrelate}
    coordinates: Coordinates = makers[name](link.flow) if name in makers else link.flow
    return ClosedForm(name, link, coordinates)


def load_paper_link() -> Generative:
    """The link with the paper's own inversion, 400 Adam steps from the mean code on the MSE (named ``generative-paper``)."""
    link = Generative.load(inversion=Descent())
    link.name = "generative-paper"
    return link
