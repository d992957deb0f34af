"""``generative``: the paper's link (Han et al., ICASSP 2023, fig. 1).

photo → inversion → L → RealNVP → N → channel encoder → X → Y = h X + n → channel decoder → N̂ → inverse RealNVP → L̂ →
generator → photo
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.channels import make_channel
from semcast.domains import NUM_CODES
from semcast.errors import SemcastError
from semcast.generative.channel_codec import ERASED, TRAINED_DB, ChannelCodec, CodecConfig
from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.generative.generator import GeneratorConfig, SemanticGenerator
from semcast.generative.inversion import paper_inversion
from semcast.generative.tangent import newton
from semcast.link import Budget, Burst, Received, Reception, System, to_complex, to_real, unit_power
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.weights import Checkpoint, load

INVERSIONS = ("newton", "encoder", "paper")
REFINE_RATE = 0.02
PARTS_OF_LINK = ("encoder", "generator", "flow", "codec")


class Generative(System):
    """The generative link.

    Args:
        encoder, generator, flow, codec: its four networks.
        refine_steps: gradient steps on the symbols of each photo, through simulated noise (``--refine``).

    ``inversion`` is ``"newton"`` (the encoder's guess and two closed-form steps), ``"encoder"`` (the guess alone), or
    ``"paper"`` for 400 gradient steps from the mean code on the MSE alone.
    """

    name = "generative"
    min_symbols, max_symbols = 32, 1280

    def __init__(
        self, encoder: FaceEncoder, generator: SemanticGenerator, flow: CodeFlow, codec: ChannelCodec, refine_steps: int = 0
    ) -> None:
        super().__init__()
        self.encoder, self.generator, self.flow, self.codec = encoder, generator, flow, codec
        self.refine_steps = refine_steps
        self.inversion = INVERSIONS[0]
        self.image_size = generator.config.grid << len(generator.config.render)

    @classmethod
    def load(cls, refine_steps: int = 0, name: str = "generative", inversion: str = INVERSIONS[0]) -> Generative:
        """From the shipped weights."""
        if inversion not in INVERSIONS:
            raise SemcastError(f"unknown inversion {inversion!r}; known: {', '.join(INVERSIONS)}")
        if refine_steps < 0 or refine_steps > 5000:
            raise SemcastError(f"refinement takes 0 to 5000 steps, not {refine_steps}")
        system = cls.of(load(name, kind="generative"))
        system.refine_steps, system.inversion = refine_steps, inversion
        return system

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Generative:
        """From a checkpoint that holds all four networks and their configurations."""
        system = cls(
            FaceEncoder(checkpoint.configuration(EncoderConfig, "encoder")),
            SemanticGenerator(checkpoint.configuration(GeneratorConfig, "generator")),
            CodeFlow(checkpoint.configuration(FlowConfig, "flow")),
            ChannelCodec(checkpoint.configuration(CodecConfig, "codec")),
        )
        system.load_state_dict(checkpoint.tensors, strict=False)
        missing = set(system.state_dict()) - set(checkpoint.tensors) - {"flow.inverse_matrix", "generator.care"}
        if missing:
            raise SemcastError(f"{checkpoint.path} lacks {len(missing)} tensors of the generative link")
        system.flow.refresh()
        return channels_last(system.eval())

    def configuration(self) -> dict[str, dict[str, Any]]:
        """The four configurations, as they travel inside the checkpoint."""
        return {part: asdict(getattr(self, part).config) for part in PARTS_OF_LINK}

    @property
    def mean_code(self) -> Tensor:
        """The mean code of the training photos ``[28, code]``: what a receiver shows that received nothing."""
        return self.flow.mean.view(NUM_CODES, -1)

    def invert(self, image: Tensor, seen: Tensor | None = None) -> Tensor:
        """GAN inversion: L ``[B, 28, code]``; the closed-form steps count only ``seen`` pixels, bool ``[B, 1, S, S]``."""
        if self.inversion == "paper":
            return paper_inversion(self.generator, image, self.mean_code)
        guess = self.guess(image)
        return guess if self.inversion == "encoder" else newton(self.generator, guess, image, seen=seen)

    def guess(self, image: Tensor) -> Tensor:
        """The encoder's codes ``[B, 28, code]``."""
        with mixed():
            return self.encoder(image.contiguous(memory_format=torch.channels_last)).float()

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """F → L → N → X."""
        self.check(budget)
        burst = self.send(self.invert(image), budget)
        return self.refine(image, burst) if self.refine_steps else burst

    def send(self, latent: Tensor, budget: Budget) -> Burst:
        """L → N → X."""
        return Burst(self.codec.encode(self.flow.to_normal(latent), budget), budget)

    def refine(self, image: Tensor, burst: Burst) -> Burst:
        """Better symbols for this photo: gradient descent on them, through fresh simulated noise at every step.

        argmin_X E_n ||W^½ (decode(X + n) - F)||², by Adam. Noise in the loss is what makes it pay: symbols fitted without
        it land where the receiver cannot tell them apart. The receiver is the same.
        """
        budget, noise = burst.budget, torch.Generator().manual_seed(0)
        awgn = make_channel("awgn")
        weight = F.interpolate(self.generator.care[None, None], image.shape[-2:], mode="bilinear")
        with torch.enable_grad():
            reals = to_real(burst.symbols).detach().clone().requires_grad_(True)
            optimiser = torch.optim.Adam([reals], REFINE_RATE, betas=(0.9, 0.99))
            for i in range(self.refine_steps):
                optimiser.param_groups[0]["lr"] = REFINE_RATE * min(1.0, 4 * (1 - i / self.refine_steps))
                sent = replace(burst, symbols=unit_power(to_complex(reals)))
                received = awgn.draw(len(image), budget.symbols, min(budget.snr_db, TRAINED_DB[1]), noise)(sent)
                latent = self.flow.to_codes(self.codec.decode(replace(received, budget=budget)))
                error = ((self.render(latent) - image).square() * weight).mean((1, 2, 3)).sum()
                (reals.grad,) = torch.autograd.grad(error, reals)
                optimiser.step()
        return replace(burst, symbols=unit_power(to_complex(reals.detach())))

    def decode(self, received: Received) -> Reception:
        """Y → N̂ → L̂ → F̂."""
        normal = self.codec.decode(received.checked())
        latent = self.flow.to_codes(normal)
        image = self.render(latent).clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool), codes=latent)

    def render(self, latent: Tensor) -> Tensor:
        """The generator's photo of these codes, not clipped."""
        with mixed():
            return self.generator(latent).image.float()

    def sample(self, count: int, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """Faces that nobody has: N(0, temperature²) through the inverse flow and the generator, ``[count, 3, S, S]``."""
        normal = temperature * torch.randn(count, self.flow.config.dims, generator=generator)
        return self.render(self.flow.to_codes(normal)).clamp(0, 1)


def prefix(received: Received, symbols: int) -> Received:
    """What a receiver has when only the first ``symbols`` of a burst arrived: the rest is erased."""
    noise, values = received.noise_var.clone(), received.symbols.clone()
    noise[:, symbols:], values[:, symbols:] = ERASED, 0
    return replace(received, symbols=values, noise_var=noise)
