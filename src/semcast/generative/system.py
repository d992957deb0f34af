"""``generative``: the paper's link (Han et al., ICASSP 2023, fig. 1).

photo → inversion → L → RealNVP → N → channel encoder → X → Y = h X + n → channel decoder → N̂ → inverse RealNVP → L̂ →
generator → photo
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semcast.domains import NUM_CODES
from semcast.generative.channel_codec import ERASED, ChannelCodec, CodecConfig
from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.generative.generator import GeneratorConfig, Rendering, SemanticGenerator
from semcast.generative.inversion import Inversion, Newton
from semcast.generative.refinement import Refine
from semcast.link import Budget, Burst, Received, Reception, System
from semcast.networks.blocks import channels_last
from semcast.networks.equaliser import Equaliser, find_equaliser
from semcast.networks.precision import mixed
from semcast.weights import Checkpoint, load

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

PARTS_OF_LINK = ("encoder", "generator", "flow", "codec")


class Generative(System):
    """The generative link.

    Args:
        encoder, generator, flow, codec: its four networks.
        inversion: how it finds a photo's codes; None: :class:`Newton`.
        refinement: what is done to the symbols of each photo before they are sent; None: nothing.
        equaliser: takes out of whole pictures what the generator weaves into all of them; None: nothing is.
    """

    name = "generative"
    min_symbols, max_symbols = 32, 1280

    def __init__(
        self, encoder: FaceEncoder, generator: SemanticGenerator, flow: CodeFlow, codec: ChannelCodec, *,
        inversion: Inversion | None = None, refinement: Refine | None = None, equaliser: Equaliser | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.generator, self.flow, self.codec = encoder, generator, flow, codec
        self.inversion: Inversion = inversion or Newton()
        self.refinement = refinement
        self.equaliser = equaliser
        self.image_size = generator.config.grid << len(generator.config.render)

    @classmethod
    def load(
        cls, name: str = "generative", *, inversion: Inversion | None = None, refinement: Refine | None = None
    ) -> Generative:
        """Load the shipped weights, or those of a name or path.

        Raises:
            SemcastError: there are none, or they are no generative link's.
        """
        checkpoint = load(name, kind="generative")
        system = cls.of(checkpoint)
        system.equaliser = find_equaliser(cls.name, checkpoint.fingerprint)
        system.inversion, system.refinement = inversion or Newton(), refinement
        return system

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Generative:
        """From a checkpoint that holds all four networks and their configurations."""
        system = cls(
            checkpoint.build(FaceEncoder, EncoderConfig, "encoder"),
            checkpoint.build(SemanticGenerator, GeneratorConfig, "generator", derived=("care",)),
            checkpoint.build(CodeFlow, FlowConfig, "flow", derived=("inverse_matrix",), fits=CodeFlow.fits),
            checkpoint.build(ChannelCodec, CodecConfig, "codec"),
        )
        with checkpoint.trusted():
            system.flow.refresh()
        return channels_last(system.eval())

    def configuration(self) -> dict[str, dict[str, Any]]:
        """The four configurations, as they travel inside the checkpoint."""
        return {part: asdict(getattr(self, part).config) for part in PARTS_OF_LINK}

    @property
    def mean_code(self) -> Float[Tensor, "28 code"]:
        """The mean code of the training photos ``[28, code]``: what a receiver shows that received nothing."""
        return self.flow.mean.view(NUM_CODES, -1)

    def invert(
        self, image: Float[Tensor, "batch 3 height width"], seen: Bool[Tensor, "#batch 1 height width"] | None = None
    ) -> Float[Tensor, "batch 28 code"]:
        """GAN inversion: L ``[B, 28, code]``; its steps count only ``seen`` pixels, bool ``[B, 1, S, S]``."""
        return self.inversion(self, image, seen)

    def guess(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 28 code"]:
        """The encoder's codes ``[B, 28, code]``."""
        with mixed(image.device):
            codes: Tensor = self.encoder(image.contiguous(memory_format=torch.channels_last))
        return codes.float()

    def encode(self, image: Float[Tensor, "batch 3 height width"], budget: Budget) -> Burst:
        """F → L → N → X."""
        self.check(budget)
        burst = self.send(self.invert(image), budget)
        return self.refinement(self, image, burst) if self.refinement else burst

    def send(self, latent: Float[Tensor, "batch 28 code"], budget: Budget) -> Burst:
        """L → N → X."""
        return Burst(self.codec.encode(self.flow.to_normal(latent), budget), budget)

    def decode(self, received: Received) -> Reception:
        """Y → N̂ → L̂ → F̂."""
        normal = self.codec.decode(received.check())
        latent = self.flow.to_codes(normal)
        image = self.render(latent).clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool, device=image.device), codes=latent)

    def render(self, latent: Float[Tensor, "batch 28 code"], octaves: int | None = None) -> Float[Tensor, "batch 3 side side"]:
        """The generator's photo of these codes, not clipped; smaller with fewer ``octaves`` (:class:`SemanticGenerator`)."""
        with mixed(latent.device):
            rendering: Rendering = self.generator(latent, octaves)
        image = rendering.image.float()
        return self.equaliser(image) if self.equaliser and octaves is None else image

    def sample(
        self, count: int, generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "{count} 3 side side"]:
        """Faces that nobody has: N(0, temperature²) through the inverse flow and the generator, ``[count, 3, S, S]``."""
        normal = temperature * torch.randn(count, self.flow.config.dims, generator=generator).to(self.flow.mean.device)
        return self.render(self.flow.to_codes(normal)).clamp(0, 1)


def prefix(received: Received, symbols: int) -> Received:
    """Keep what a receiver has when only the first ``symbols`` of a burst arrived: the rest is erased."""
    noise, values = received.noise_var.clone(), received.symbols.clone()
    noise[:, symbols:], values[:, symbols:] = ERASED, 0
    return replace(received, symbols=values, noise_var=noise)
