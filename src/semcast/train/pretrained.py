"""Where recipes find what an earlier one made (a run's file, or the shipped link), and the codes of the training photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.generative.generator import GeneratorConfig, SemanticGenerator
from semcast.generative.inversion import correct
from semcast.generative.system import Generative
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.linear import pixel_weight
from semcast.train.loop import console
from semcast.weights import load


def load_generator(source: str) -> tuple[FaceEncoder, SemanticGenerator, Generative | None]:
    """Encoder and generator from a ``generator`` run's file or the one that ships, or from a whole link (returned as well)."""
    if source != "generator" and not source.endswith("generator.safetensors"):
        link = Generative.load(name=source)
        return link.encoder, link.generator, link
    checkpoint = load(source, kind="generator")
    encoder = FaceEncoder(checkpoint.configuration(EncoderConfig, "encoder"))
    generator = SemanticGenerator(checkpoint.configuration(GeneratorConfig, "generator"))
    encoder.load_state_dict(checkpoint.part("encoder"))
    generator.load_state_dict(checkpoint.part("generator"), strict=False)
    return channels_last(encoder.eval()), channels_last(generator.eval()), None


def load_flow(source: str, link: Generative | None) -> CodeFlow:
    """The flow of a ``flow`` run's file, or of the link where ``source`` is empty."""
    if not source and link is not None:
        return link.flow
    checkpoint = load(str(Path(source)), kind="flow")
    flow = CodeFlow(checkpoint.configuration(FlowConfig))
    flow.load_state_dict(checkpoint.tensors, strict=False)
    flow.refresh()
    return flow


@torch.no_grad()
def codes_of(encoder: FaceEncoder, generator: SemanticGenerator, images: Tensor) -> Tensor:
    """Inversion of uint8 photos and, after them all, of their mirror images: ``[2 N, 28, code]``, on the processor."""
    views, device = [], next(encoder.parameters()).device
    for mirror in (False, True):
        codes = []
        for index in track(torch.arange(len(images)).split(32), "inverting", console=console, transient=True):
            photo = images[index].to(device).float().div_(255)
            photo = (photo.flip(-1) if mirror else photo).contiguous(memory_format=torch.channels_last)
            with mixed(device):
                guess = encoder(photo).float()
            codes.append(correct(generator, guess, photo).cpu())
        views.append(torch.cat(codes))
    return torch.cat(views)


def cached_codes(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """Codes from a file, or made and written there (float16): inverting thousands of photos takes minutes."""
    if path.exists():
        return load_file(path)["codes"].float()
    codes = make()
    save_file({"codes": codes.half().contiguous()}, path)
    return codes.half().float()


def prepare(generator: SemanticGenerator, masks: Tensor, a: float, b: float) -> None:
    """Fill the generator's ``care`` from part masks ``[N, S, S]``."""
    weight = pixel_weight(masks, a, b, 2 * generator.config.grid)
    generator.care.copy_(weight / weight.mean())
