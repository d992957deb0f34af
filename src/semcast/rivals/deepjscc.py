"""``deepjscc``: the photo's pixels straight to channel symbols by convolutions, and back (ADJSCC; see rivals/jscc.py).

photo → convolutions, GDN, SNR attention → k symbols → channel → convolutions → photo
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semcast.errors import SemcastError
from semcast.link import Budget, Burst, Received, Reception, System, snr_db, to_complex, to_real, unit_power
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.rivals.jscc import Jscc, JsccConfig
from semcast.weights import available, load

SYMBOLS = {"deepjscc": (64, 640, 8192), "deepjscc-perceptual": (8192,)}


def load_network(name: str) -> Jscc:
    """A network by the name or the path of its weights."""
    checkpoint = load(name, kind="jscc")
    network = Jscc(checkpoint.configuration(JsccConfig))
    network.load_state_dict(checkpoint.tensors)
    return channels_last(network.eval())


class DeepJscc(System):
    """One network for each bandwidth: k = 64 (1/3072), 640 (10/3072) and 8192 (1/24).

    Args:
        networks: by k.
        name: ``deepjscc`` was trained on the mean squared error, ``deepjscc-perceptual`` on LPIPS as well.
    """

    image_size = 256

    def __init__(self, networks: dict[int, Jscc], name: str = "deepjscc") -> None:
        super().__init__()
        self.name = name
        self.networks = nn.ModuleDict({str(k): network for k, network in networks.items()})
        self.min_symbols, self.max_symbols = min(networks), max(networks)

    @classmethod
    def load(cls, name: str = "deepjscc") -> DeepJscc:
        """Every bandwidth whose weights there are.

        Raises:
            SemcastError: there are none.
        """
        there = {path.stem for path in available()}
        networks = {k: load_network(f"{name}-{k}") for k in SYMBOLS[name] if f"{name}-{k}" in there}
        if not networks:
            raise SemcastError(f"there are no weights of {name} ({name}-K.safetensors): semcast train deepjscc makes them")
        return cls(networks, name)

    def check(self, budget: Budget) -> None:
        """Raises SemcastError where there is no network for this k."""
        if str(budget.symbols) not in self.networks:
            raise SemcastError(f"{self.name} works with {' or '.join(self.networks)} symbols, not {budget.symbols}")

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Photo → symbols of mean power 1 in each burst."""
        self.check(budget)
        network: Jscc = self.networks[str(budget.symbols)]  # type: ignore[assignment]
        told = torch.full((len(image),), budget.snr_db)
        with mixed():
            reals = network.analyse(image.contiguous(memory_format=torch.channels_last), told)
        return Burst(unit_power(to_complex(reals.float().flatten(1))), budget)

    def decode(self, received: Received) -> Reception:
        """Equalised symbols → photo; the receiver is told the SNR that it met."""
        received.checked()
        network: Jscc = self.networks[str(received.budget.symbols)]  # type: ignore[assignment]
        config = network.config
        side = self.image_size // config.stride
        reals = to_real(received.symbols).view(-1, config.channels, side, side)
        met = snr_db(received.noise_var.mean(-1).clamp_min(1e-6))
        with mixed():
            image = network.synthesise(reals.contiguous(memory_format=torch.channels_last), met)
        return Reception(image.float().clamp(0, 1), torch.ones(len(image), dtype=torch.bool))
