"""``deepjscc``: the photo's pixels straight to channel symbols by convolutions, and back (ADJSCC; see rivals/jscc.py).

photo → convolutions, GDN, SNR attention → k symbols → channel → convolutions → photo
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semcast.errors import DoesNotFit, Missing
from semcast.link import Budget, Burst, Received, Reception, System, snr_db, to_complex, to_real, unit_power
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.rivals.jscc import Jscc, JsccConfig
from semcast.weights import available, load

USUAL = (256, 256)
SYMBOLS = {"deepjscc": (64, 640, 8192), "deepjscc-perceptual": (8192,)}


def load_network(name: str) -> Jscc:
    """A network by the name or the path of its weights."""
    checkpoint = load(name, kind="jscc")
    return channels_last(checkpoint.build(Jscc, JsccConfig).eval())


class DeepJscc(System):
    """One network for each bandwidth ratio: k = 64 (1/3072), 640 (10/3072) and 8192 (1/24) of a photo of 256 x 256.

    The networks are convolutional, so that they take photos of any size whose sides are multiples of a block (16 pixels at
    1/24), and k grows with the number of pixels: the network of 8192 sends Kodak's 768 x 512 as 49,152 symbols. They were
    trained on aligned faces of 256 x 256 alone. Both ends agree on the size beforehand (``budget.size``).

    Args:
        networks: by their k of a photo of 256 x 256.
        name: ``deepjscc`` was trained on the mean squared error, ``deepjscc-perceptual`` on LPIPS as well.
    """

    def __init__(self, networks: dict[int, Jscc], name: str = "deepjscc") -> None:
        super().__init__()
        self.name = name
        self.networks = nn.ModuleDict({str(k): network for k, network in networks.items()})
        self.min_symbols, self.max_symbols = min(networks), max(networks)

    @classmethod
    def load(cls, name: str = "deepjscc") -> DeepJscc:
        """Load every bandwidth whose weights there are.

        Raises:
            Missing: there are none.
        """
        there = {path.stem for path in available()}
        networks = {k: load_network(f"{name}-{k}") for k in SYMBOLS[name] if f"{name}-{k}" in there}
        if not networks:
            raise Missing(f"there are no weights of {name} ({name}-K.safetensors): semcast train deepjscc makes them")
        return cls(networks, name)

    def check(self, budget: Budget) -> None:
        """Raise DoesNotFit where there is no network for this k and size."""
        self._network(budget)

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Photo → symbols of mean power 1 in each burst."""
        network = self._network(budget)
        told = image.new_full((len(image),), budget.snr_db)
        with mixed(image.device):
            reals = network.analyse(image.contiguous(memory_format=torch.channels_last), told)
        return Burst(unit_power(to_complex(reals.float().flatten(1))), budget)

    def decode(self, received: Received) -> Reception:
        """Equalised symbols → photo; the receiver is told the SNR that it met."""
        received.check()
        network = self._network(received.budget)
        height, width = (side // network.config.stride for side in received.budget.size or USUAL)
        reals = to_real(received.symbols).view(-1, network.config.channels, height, width)
        met = snr_db(received.noise_var.mean(-1).clamp_min(1e-6))
        with mixed(reals.device):
            image = network.synthesise(reals.contiguous(memory_format=torch.channels_last), met)
        return Reception(image.float().clamp(0, 1), torch.ones(len(image), dtype=torch.bool, device=image.device))

    def _network(self, budget: Budget) -> Jscc:
        """The network that sends a photo of this size as k symbols.

        Raises:
            DoesNotFit: there is none.
        """
        height, width = budget.size or USUAL
        networks = [network for network in self.networks.values() if isinstance(network, Jscc)]
        whole = [n for n in networks if height % n.config.grain == 0 and width % n.config.grain == 0]
        fitting = {n.config.symbols(height, width): n for n in whole}
        if budget.symbols in fitting:
            return fitting[budget.symbols]
        if not fitting:
            grain = min(network.config.grain for network in networks)
            raise DoesNotFit(f"{self.name} takes photos whose sides are multiples of {grain} pixels, not {width} x {height}")
        photo = "" if (height, width) == USUAL else f" for a photo of {width} x {height}"
        raise DoesNotFit(f"{self.name} works with {' or '.join(map(str, fitting))} symbols{photo}, not {budget.symbols}")
