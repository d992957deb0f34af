"""Any device: a forward and a backward of every network and every system where no tensor may lie elsewhere.

On torch's meta device tensors have shapes and no values. :class:`Strict` raises wherever a tensor of another device meets one
of them, as a GPU would; so what passes here makes every tensor where the others are.

What needs values is not computed there: what arrived is not looked at for NaN, and the codecs over the modem (bytes, coded on the
processor) and ``filter`` (whose steps depend on what it finds) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semcast.channels import make_channel
from semcast.codec.concepts import CATEGORIES, GRID, Concept, one_hot
from semcast.codec.encoder import ConceptEncoder, ConceptEncoderConfig
from semcast.codec.ladder import V1
from semcast.codec.painter import SceneCodec, ScenePainter, ScenePainterConfig, paint
from semcast.codec.policy import Policy, count_observed
from semcast.domains import NUM_CODES, NUM_PARTS
from semcast.generative.channel_codec import ChannelCodec, CodecConfig
from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.generative.generator import GeneratorConfig, SemanticGenerator
from semcast.generative.inversion import Descent, Guess, Newton
from semcast.generative.refinement import Refine
from semcast.generative.system import Generative
from semcast.generative.variants import VARIANTS, EndToEnd, variant
from semcast.linear.learned import Correction, CorrectionConfig, LearnedSketch
from semcast.linear.repainter import Repainter, RepainterConfig, SmoothRepainter
from semcast.linear.sketch import Sketch, SketchConfig
from semcast.linear.system import Linear, LinearGan
from semcast.link import Budget, Received, System
from semcast.metrics.perceptual import Lpips
from semcast.metrics.pixel import ms_ssim
from semcast.networks.precision import computing_dtype, mixed
from semcast.networks.segmenter import FaceParser, Judge, ParserConfig, SceneParser
from semcast.privacy.blind import Blind
from semcast.privacy.knowledge import KnowledgeBase, KnowledgeConfig
from semcast.privacy.system import Private
from semcast.rivals.deepjscc import DeepJscc
from semcast.rivals.jscc import Jscc, JsccConfig
from semcast.studies.bounds import Ceiling, Floor
from semcast.train.adversary import DualDiscriminator, PatchDiscriminator

CODE = 8
GENERATOR = GeneratorConfig(
    code=CODE, grid=32, local=16, place=8, features=16, render=(16, 16, 16), octaves=3
)  # fmt: skip


class Strict(TorchDispatchMode):
    """Raises where a tensor of another device meets one of the meta device.

    Allowed, because a GPU allows it: numbers (tensors without dimensions), moving, and indices on the processor.
    """

    moves = ("aten::_to_copy", "aten::copy_")
    indexed = ("aten::index.", "aten::index_put", "aten::_index_put", "aten::_unsafe_index")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        name = f"{func.name()}."
        looked_at = (args[0], *args[2:]) if name.startswith(self.indexed) else args
        tensors = [leaf for leaf in tree_leaves((looked_at, kwargs or {})) if isinstance(leaf, Tensor) and leaf.ndim]
        if len({tensor.device.type for tensor in tensors}) > 1 and not name.startswith(self.moves):
            where = [f"{tensor.device.type} {list(tensor.shape)}" for tensor in tensors]
            raise RuntimeError(f"{func.name()} of tensors on several devices: {', '.join(where)}")
        return func(*args, **(kwargs or {}))


def to_meta(module: nn.Module) -> Any:
    """The module without its values. Masks that pick entries stay on the processor, since what they pick is a shape."""
    masks = {name: buffer for name, buffer in module.named_buffers() if buffer.dtype == torch.bool}
    module.to("meta")
    for name, buffer in masks.items():
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, buffer)
    return module.train()


@pytest.fixture(autouse=True)
def values_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Received, "check", lambda self: self)
    yield


def meta(*shape: int) -> Tensor:
    return torch.rand(*shape, device="meta").requires_grad_(True)


def test_the_net_has_no_holes() -> None:
    """What torch itself lets pass on the meta device is caught; numbers, moves and indices on the processor are not."""
    there, here = torch.ones(3, 3, device="meta"), torch.ones(3, 3)
    with Strict():
        for mix in (lambda: there @ here, lambda: torch.linalg.solve(there, here), lambda: torch.where(there > 0, there, here)):
            with pytest.raises(RuntimeError, match=r"several devices|not on the expected device|same device"):
                mix()
        assert (there * torch.tensor(2.0) + here.to("meta"))[torch.tensor([0, 2])].shape == (2, 3)


# ---- networks --------------------------------------------------------------------------------------------------------


def flow() -> CodeFlow:
    return CodeFlow(FlowConfig(NUM_CODES * CODE, couplings=2, layers=2, width=8))


def blocks() -> JsccConfig:
    return JsccConfig(channels=4, filters=8)


def square(x: Tensor) -> Tensor:
    return x.float().square().mean()


def paint_scene(network: nn.Module) -> Tensor:
    layout = torch.zeros(2, 64, 64, dtype=torch.uint8, device="meta")
    levels = one_hot(torch.zeros(2, GRID, GRID, dtype=torch.uint8, device="meta"), V1.levels)
    return square(network(layout, meta(2, V1.channels, GRID, GRID), levels).image)


def describe_scene(network: nn.Module) -> Tensor:
    return square(network(meta(2, 3, 256, 256), torch.zeros(2, 64, 64, dtype=torch.uint8, device="meta")))


def through_flow(network: nn.Module) -> Tensor:
    assert isinstance(network, CodeFlow)
    codes = network.to_codes(network.to_normal(meta(2, NUM_CODES, CODE)))
    return network.nll(codes).mean() + square(codes)


def through_codec(network: nn.Module) -> Tensor:
    assert isinstance(network, ChannelCodec)
    total = torch.zeros((), device="meta")
    for k in (40, 200):  # fewer and more reals than coordinates
        sent = network.encode(meta(2, NUM_CODES * CODE), Budget(k, 5.0))
        noise = torch.full((2, k), 0.1, device="meta")
        total = total + square(network.decode(Received(sent, noise, Budget(k, 5.0))))
    return total


def through_jscc(network: nn.Module) -> Tensor:
    assert isinstance(network, Jscc)
    snr = torch.tensor([0.0, 10.0], device="meta")
    return square(network.synthesise(network.analyse(meta(2, 3, 64, 64), snr), snr))


def through_generator(network: nn.Module) -> Tensor:
    made = network(meta(2, NUM_CODES, CODE))
    return square(made.image) + square(made.mask) + square(made.coarse)


SMALL_SEGMENTER = ParserConfig(size=64, widths=(8, 8, 16))
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], Tensor]]] = {
    "encoder": (lambda: FaceEncoder(EncoderConfig(code=CODE)), lambda n: square(n(meta(2, 3, 256, 256)))),
    "generator": (lambda: SemanticGenerator(GENERATOR), through_generator),
    "flow": (flow, through_flow),
    "channel codec": (lambda: ChannelCodec(CodecConfig(NUM_CODES * CODE, width=16)), through_codec),
    "repainter": (
        lambda: Repainter(RepainterConfig(widths=(8, 8, 16, 16), fine=(8, 8))),
        lambda n: square(n(meta(2, 3, 64, 64), meta(2, 1, 64, 64), meta(2, 2))),
    ),
    "deep jscc": (lambda: Jscc(blocks()), through_jscc),
    "deep jscc without blocks": (lambda: Jscc(JsccConfig(channels=4, filters=8, block=0)), through_jscc),
    "face parser": (lambda: FaceParser(SMALL_SEGMENTER), lambda n: square(n(meta(2, 3, 100, 100)))),
    "scene parser": (SceneParser, lambda n: square(n(meta(1, 3, 256, 256)))),
    "judge": (Judge, lambda n: square(n(meta(1, 3, 256, 256)))),
    "concept encoder": (lambda: ConceptEncoder(ConceptEncoderConfig((8, 8, 16, 16), 4)), describe_scene),
    "scene painter": (
        lambda: ScenePainter(ScenePainterConfig((16, 16, 8, 8, 4), (8, 4, 4), 2, CATEGORIES)), paint_scene,
    ),
    "policy": (Policy, lambda n: square(n(meta(3, count_observed(V1))))),
    "patch discriminator": (lambda: PatchDiscriminator((8, 8)), lambda n: square(n(meta(2, 3, 64, 64))[0][-1])),
    "dual discriminator": (
        lambda: DualDiscriminator(NUM_PARTS), lambda n: square(n(meta(2, 3, 256, 256), meta(2, NUM_PARTS, 64, 64))[0][-1]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    make, loss = NETWORKS[name]
    network = to_meta(make())
    with Strict(), mixed("meta"):
        made = loss(network)
        made.backward()
    assert made.is_meta
    grads = {name: p.grad for name, p in network.named_parameters()}
    assert all(grad is None or grad.is_meta for grad in grads.values())
    reached = sum(grad is not None for grad in grads.values())
    assert reached >= 0.9 * len(grads) > 0, [name for name, grad in grads.items() if grad is None]


def test_what_a_receiver_of_files_paints() -> None:
    """Layout, features and levels come out of a file, on the processor; the picture is where the networks are."""
    encoder = ConceptEncoderConfig((8, 8, 16, 16), 4)
    codec = to_meta(SceneCodec(encoder, ScenePainterConfig((16, 16, 8, 8, 4), (8, 4, 4), 2, CATEGORIES)))
    concepts = [Concept(0, np.arange(100), 2, np.zeros((100, V1.channels), np.int8))]
    with Strict():
        assert paint(codec, [np.zeros((16, 16), np.uint8)] * 2, [concepts, []]).is_meta


def test_knowledge_base() -> None:
    base = to_meta(KnowledgeBase(KnowledgeConfig(CODE, 4, 6)))
    private = Blind("hair").choice.codes
    with Strict():
        codes = meta(2, NUM_CODES, CODE)
        made = base.replace(codes, private)
        square(made).backward()
    assert made.is_meta and codes.grad is not None


def test_metrics() -> None:
    a, b = meta(2, 3, 192, 192), meta(2, 3, 192, 192)
    with Strict():
        ms_ssim(a, b).sum().backward()
        lpips = Lpips.load("squeeze")
        if lpips is not None:
            lpips.to("meta")(a, b).sum().backward()
    assert a.grad is not None and a.grad.is_meta


def test_precision_is_the_devices() -> None:
    with mixed("meta"):
        product = torch.ones(2, 2, device="meta") @ torch.ones(2, 2, device="meta")
        assert product.dtype == computing_dtype(product) == torch.float32
    with mixed("cpu"):
        assert computing_dtype(torch.ones(2)) == (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert computing_dtype(torch.ones(2, dtype=torch.float64)) == torch.float64


# ---- systems ---------------------------------------------------------------------------------------------------------


def link() -> Generative:
    torch.manual_seed(0)
    return Generative(
        FaceEncoder(EncoderConfig(code=CODE)), SemanticGenerator(GENERATOR), flow(),
        ChannelCodec(CodecConfig(NUM_CODES * CODE, width=16)),
    )  # fmt: skip


def with_(system: Any, **settings: Any) -> Any:
    for name, value in settings.items():
        setattr(system, name, value)
    return system


def gan() -> LinearGan:
    return LinearGan(Sketch(SketchConfig(components=64)), Repainter(RepainterConfig(widths=(8, 8, 16, 16), fine=(8, 8))))


def private(system: System, **how: Any) -> Private:
    generative = system if isinstance(system, Generative) else link()
    made = Private(system, generative, KnowledgeBase(KnowledgeConfig(CODE, 4, 6)), Blind("eyes", **how))
    return made


def learned() -> LearnedSketch:
    sketch, correction = Sketch(SketchConfig(components=64)), Correction(CorrectionConfig(components=64))
    return LearnedSketch(sketch, SmoothRepainter(), correction)


def eyes() -> Tensor:
    mask = torch.zeros(256, 256, dtype=torch.bool)
    mask[96:148, 64:192] = True
    return mask


SYSTEMS: dict[str, Callable[[], System]] = {
    "generative": link,
    "generative, one step": lambda: with_(link(), inversion=Newton(1)),
    "generative, the guess": lambda: with_(link(), inversion=Guess()),
    "generative, by descent": lambda: with_(link(), inversion=Descent(2)),
    "generative, refined": lambda: with_(link(), inversion=Guess(), refinement=Refine(2)),
    "end-to-end": lambda: EndToEnd(link()),
    "linear": lambda: Linear(Sketch(SketchConfig(components=64))),
    "linear-gan": gan,
    "sketch": learned,
    "deepjscc": lambda: DeepJscc({8192: Jscc(blocks())}),
    "private generative": lambda: private(link(), mask=eyes()),
    "private generative, refined": lambda: private(with_(link(), refinement=Refine(1)), coarse=True),
    "private linear-gan": lambda: private(gan(), coarse=True),
    "ceiling": lambda: Ceiling(link()),
    "floor": lambda: Floor(link()),
    **{name: lambda name=name: variant(name, link()) for name in VARIANTS},
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems(name: str) -> None:
    system = to_meta(SYSTEMS[name]())
    k = 8192 if name == "deepjscc" else 64
    image = meta(2, 3, 256, 256)
    draw = make_channel("rayleigh", pilots=4).draw(2, k, 5.0, torch.Generator().manual_seed(0))
    with Strict():
        burst = system.encode(image, Budget(k, 5.0))
        reception = system.decode(draw(burst))
        (square(reception.image) + burst.symbols.abs().mean()).backward()
    assert burst.symbols.shape == (2, k) and burst.symbols.is_meta
    assert reception.image.shape[1:] == image.shape[1:] and reception.image.is_meta
    assert reception.ok.is_meta and reception.ok.dtype == torch.bool
    given = [p.grad for p in system.parameters() if p.grad is not None]
    assert all(grad.is_meta for grad in given)
    assert given or not list(system.parameters()) or name in ("floor",)


@pytest.mark.parametrize("kind", ["awgn", "rayleigh", "rician"])
def test_channels(kind: str) -> None:
    """Randomness is drawn on the processor, so that it is the same everywhere, and moved to the burst."""
    system, image = to_meta(Linear(Sketch(SketchConfig(components=64)))), meta(2, 3, 256, 256)
    with Strict():
        burst = system.encode(image, Budget(64, 5.0))
        received = make_channel(kind)(burst, seed=1)
        square(received.symbols.abs()).backward()
    assert received.symbols.is_meta and received.noise_var.is_meta and image.grad is not None
