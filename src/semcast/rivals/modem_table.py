"""Measures what each scheme of the modem needs: ``python -m semcast.rivals.modem_table`` writes the table that ships.

For bursts of 64, 640 and 8192 symbols over AWGN, from the Shannon limit of the scheme upwards in steps of 0.5 dB: the first
SNR at which at most 1 % of bursts fail their CRC. A file that is there is gone on with, so a run may be stopped.
"""

from __future__ import annotations

import json
import math
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semcast.files import write_text
from semcast.link import noise_var
from semcast.rivals.modem import ITERATIONS, SCHEMES, TABLE, Modem

STEP_DB = 0.5
LOST = 0.01
BURSTS = {64: 400, 640: 300, 8192: 40}
"""Symbols → bursts that a passing SNR is measured with (8192 symbols are up to 7 code blocks, and fail within 0.3 dB)."""
_TOGETHER = {64: 100, 640: 20, 8192: 2}
_TRIES = 40


def count_lost(modem: Modem, k: int, snr_db: float, bursts: int, seed: int = 0) -> int:
    """Bursts of random payload that do not arrive over AWGN, out of ``bursts``; stops once over 1 % of them are lost."""
    generator = torch.Generator().manual_seed(seed)
    payloads = np.random.default_rng(seed)
    n0 = noise_var(snr_db)
    failed = sent = 0
    while sent < bursts and failed <= LOST * bursts:
        count = min(_TOGETHER.get(k, 1), bursts - sent)
        data = [payloads.bytes(modem.payload_bytes(k)) for _ in range(count)]
        noise = torch.view_as_complex(torch.randn(count, k, 2, generator=generator)) * math.sqrt(n0 / 2)
        arrived = modem.demodulate(modem.modulate(data, k) + noise, torch.full((count, k), n0))
        failed += sum(a != d for a, d in zip(arrived, data, strict=True))
        sent += count
    return failed


def threshold(modem: Modem, k: int, bursts: int) -> float | None:
    """The first SNR in dB, in steps of 0.5 from the Shannon limit up, at which at most 1 % of bursts are lost.

    None where k symbols carry no payload.
    """
    if not modem.payload_bytes(k):
        return None
    limit = 10 * math.log10(2 ** (8 * modem.payload_bytes(k) / k) - 1)
    start = math.floor(limit / STEP_DB) * STEP_DB
    steps = (start + STEP_DB * i for i in range(_TRIES))
    return next((snr for snr in steps if count_lost(modem, k, snr, bursts) <= LOST * bursts), None)


def measure(out: Path) -> None:
    """Measures what ``out`` does not hold yet, and saves after each scheme."""
    table: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {
        "command": "python -m semcast.rivals.modem_table",
        "lost_at_most": LOST, "step_db": STEP_DB, "iterations": ITERATIONS, "sionna": version("sionna-no-rt"),
        "symbols": {},
    }  # fmt: skip
    for k, bursts in BURSTS.items():
        row = table["symbols"].setdefault(str(k), {"bursts": bursts, "payload_bytes": {}, "snr_db": {}})
        for scheme in SCHEMES:
            modem = Modem(scheme)
            if scheme.name in row["payload_bytes"]:
                continue
            needed = threshold(modem, k, bursts)
            if needed is not None:
                row["snr_db"][scheme.name] = needed
            row["payload_bytes"][scheme.name] = modem.payload_bytes(k)
            write_text(out, json.dumps(table, indent=1) + "\n")
            print(f"{k} symbols, {scheme.name}: {modem.payload_bytes(k)} bytes from {needed} dB", flush=True)


if __name__ == "__main__":
    measure(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)
