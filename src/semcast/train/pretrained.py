"""Where recipes find what an earlier recipe made: a run's file, or the shipped link."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from semcast.coding.flow import CodeFlow, FlowConfig
from semcast.semantics.encoder import EncoderConfig, FaceEncoder
from semcast.semantics.generator import GeneratorConfig, SemanticGenerator
from semcast.systems.generative import Generative
from semcast.weights import load

T = TypeVar("T")


def configured(kind: type[T], values: dict[str, Any]) -> T:
    """A configuration dataclass from JSON (lists become tuples)."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})


def load_generator(source: str) -> tuple[FaceEncoder, SemanticGenerator, Generative | None]:
    """Encoder and generator from a ``generator`` run's file, or from a whole link (which is returned as well)."""
    if not source.endswith("generator.safetensors"):
        link = Generative.load(name=source)
        return link.encoder, link.generator, link
    checkpoint = load(source, kind="generator")
    encoder = FaceEncoder(configured(EncoderConfig, checkpoint.config["encoder"]))
    generator = SemanticGenerator(configured(GeneratorConfig, checkpoint.config["generator"]))
    encoder.load_state_dict(checkpoint.part("encoder"))
    generator.load_state_dict(checkpoint.part("generator"))
    for module in (encoder, generator):
        module.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return encoder, generator, None


def load_flow(source: str, link: Generative | None) -> CodeFlow:
    """The flow of a ``flow`` run's file, or of the link where ``source`` is empty."""
    if not source and link is not None:
        return link.flow
    checkpoint = load(str(Path(source)), kind="flow")
    flow = CodeFlow(configured(FlowConfig, checkpoint.config))
    flow.load_state_dict(checkpoint.tensors, strict=False)
    flow.refresh()
    return flow
