"""What all visitors share: networks, loaded once, and the portrait that anybody may see."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import skimage.data
from torch import nn

from semcast import api
from semcast.codec.codec import RlAsc
from semcast.networks.precision import choose_device, use_threads
from semcast.networks.segmenter import FaceParser
from semcast.privacy.knowledge import KnowledgeBase
from semcast.station import Station
from semcast.web.street import draw_street
from semcast.web.visitor import Subject
from semcast.web.work import checkpoint

if TYPE_CHECKING:
    import torch

    from semcast.generative.system import Generative
    from semcast.link import System

SYSTEMS = ("sketch", "generative", "linear-gan", "linear", "deepjscc", "avif", "jpeg2000", "rl-asc")
"""Those that the page offers, the default first."""


class Shelf:
    """Networks by name; each is loaded when it is first asked for, in the one thread that computes.

    Args:
        device: where they compute.
    """

    def __init__(self, device: str = "auto") -> None:
        use_threads()
        self.device: torch.device = choose_device(device)
        self.systems: dict[str, System] = {}
        self.codecs: dict[tuple[str, str], api.Codec] = {}
        self._station = Station(self.device)

    def system(self, name: str) -> System:
        """A system by its name.

        Raises:
            SemcastError: there is none, or something that it needs is not there.
        """
        if name not in self.systems:
            self.systems[name] = stoppable(api.load(name, device=self.device))
        return self.systems[name]

    @property
    def generative(self) -> Generative:
        """The link that inverts and paints for protection too."""
        return cast("Generative", self.system("generative"))

    def codec(self, name: str, domain: str) -> api.Codec:
        """A codec by its name and what its photos show."""
        if (name, domain) not in self.codecs:
            self.codecs[name, domain] = codec = api.load_codec(name, domain=domain)
            if isinstance(codec.coder, RlAsc):
                stoppable(codec.coder.networks.codec)
                stoppable(codec.coder.networks.parser)
        return self.codecs[name, domain]

    @cached_property
    def knowledge(self) -> KnowledgeBase:
        """What private parts become."""
        return stoppable(KnowledgeBase.load().to(self.device))

    @cached_property
    def parser(self) -> FaceParser:
        """Finds the parts of a face."""
        return stoppable(FaceParser.load().to(self.device))

    @property
    def station(self) -> Station:
        """The receiver; what is loaded here already it does not load again."""
        analog = {name: system for name, system in self.systems.items() if name not in api.CODED}
        self._station.systems = analog | self._station.systems
        return self._station

    @cached_property
    def portrait(self) -> Subject:
        """The bundled portrait (the astronaut Eileen Collins, by NASA, public domain), framed once for everybody."""
        pixels: Any = skimage.data.astronaut()
        return Subject.of(pixels, "the bundled portrait")

    @cached_property
    def street(self) -> Subject:
        """The street that is drawn here, framed once for everybody: no photo of one may be given away with the page."""
        return Subject("a drawn street, no photo", draw_street(), (512, 256), None, "a drawn street has no face")

    def warm(self) -> None:
        """Load what the first page shows, and let it compute once: the first time allocates."""
        from semcast.web.link import Setting, transmit

        face = self.portrait.need_face()
        transmit(self, face, "sketch", Setting())


M = TypeVar("M", bound=nn.Module)


def stoppable(network: M) -> M:
    """The same network, which asks at each of its layers whether what it computes is still wanted."""
    for module in network.modules():
        module.register_forward_pre_hook(checkpoint)
    return network


def recognisers() -> list[Path]:
    """Face recognisers that lie where the evaluation weights do; none for most."""
    import os
    from importlib.util import find_spec

    folder = os.environ.get("SEMCAST_SHARED")
    if folder is None or find_spec("onnxruntime") is None:
        return []
    path = Path(folder) / "weights" / "mobileface_v2.onnx"
    return [path] if path.is_file() else []
