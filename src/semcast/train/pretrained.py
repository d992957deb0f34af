"""Where recipes find what an earlier recipe made: a run's file, or the shipped link."""

from __future__ import annotations

from pathlib import Path

from semcast.coding.flow import CodeFlow, FlowConfig
from semcast.semantics.blocks import channels_last
from semcast.semantics.encoder import EncoderConfig, FaceEncoder
from semcast.semantics.generator import GeneratorConfig, SemanticGenerator
from semcast.systems.generative import Generative
from semcast.weights import load


def load_generator(source: str) -> tuple[FaceEncoder, SemanticGenerator, Generative | None]:
    """Encoder and generator from a ``generator`` run's file, or from a whole link (which is returned as well)."""
    if not source.endswith("generator.safetensors"):
        link = Generative.load(name=source)
        return link.encoder, link.generator, link
    checkpoint = load(source, kind="generator")
    encoder = FaceEncoder(checkpoint.configuration(EncoderConfig, "encoder"))
    generator = SemanticGenerator(checkpoint.configuration(GeneratorConfig, "generator"))
    encoder.load_state_dict(checkpoint.part("encoder"))
    generator.load_state_dict(checkpoint.part("generator"))
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
