"""Unequal protection: does it pay to send the layout and the first concepts of a file better protected than the rest?

A file shows something however early it ends. So its first bytes may cross in a code block of their own, by a more robust
modulation and code rate, and the rest by a faster one, in one burst of k symbols:

    file → first b1 bytes → robust scheme → k1 symbols ─┐
         → the rest, b2   → fast scheme   → k2 symbols ─┴→ Rayleigh fading, one h a burst → nothing, the first part, or all

The transmitter knows the average SNR alone, so some bursts meet a fade: there all is lost where all is protected alike. Both
kinds get the same care: schemes and shares are chosen for each average SNR on some photos, by the mean they promise there, and
both choices are measured on others, with real bursts through the same fades.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from semcast.bench.codecs import GREY, number, set_miou
from semcast.bench.records import Line
from semcast.bench.statistics import bootstrap, group
from semcast.bench.tables import markdown
from semcast.channels import make_channel
from semcast.codec.criterion import WEIGHTS, score
from semcast.errors import Missing, SemcastError
from semcast.hashes import generator_for
from semcast.link import Budget, Burst
from semcast.photos import to_tensor
from semcast.rivals.modem import SCHEMES, Modem, scheme_named, threshold_db
from semcast.sources import Source
from semcast.studies.codec_run import CodecRun
from semcast.studies.noise import Pooled
from semcast.studies.run import Point

SYMBOLS = 2048
SNRS_DB = (5.0, 10.0, 15.0, 20.0)
"""Averages over the fades."""
PAIRED = ("bpsk-1/3", "qpsk-1/3", "qpsk-2/3", "16qam-1/2", "16qam-3/4", "64qam-3/4")
"""Of what two parts may be sent by."""
SHARES = (0.25, 0.5)
"""Of the symbols, for the first part."""
DRAWS = 8
"""Bursts of a photo at an average SNR."""


@dataclass(frozen=True)
class Protection:
    """How the parts of a file are sent: both names are of a scheme; no second one: all of it in one code block.

    >>> Protection("qpsk-1/3", "16qam-1/2", 0.25).name
    'qpsk-1/3 for 0.25, 16qam-1/2'
    """

    first: str
    rest: str = ""
    share: float = 1.0

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.first} for {self.share:g}, {self.rest}" if self.rest else self.first

    def parts(self, k: int) -> tuple[tuple[Modem, int], ...]:
        """The modem and the symbols of each part."""
        symbols = round(self.share * k)
        first = (Modem(scheme_named(self.first)), symbols)
        return (first, (Modem(scheme_named(self.rest)), k - symbols)) if self.rest else (first,)

    def rooms(self, k: int) -> tuple[int, ...]:
        """The bytes of each part."""
        return tuple(modem.payload_bytes(symbols) for modem, symbols in self.parts(k))

    def reach(self, k: int, snr_db: float) -> tuple[float, ...]:
        """How probable it is that each part arrives: |h|² is exponential, so P(|h|² SNR > t) = exp(-t / SNR)."""
        needed = [threshold_db(modem.scheme, symbols) for modem, symbols in self.parts(k)]
        return tuple(math.exp(-(10 ** ((t - snr_db) / 10))) for t in needed)


EQUAL = tuple(Protection(scheme.name) for scheme in SCHEMES)
UNEQUAL = tuple(Protection(first, rest, share) for (first, rest), share in product(combinations(PAIRED, 2), SHARES))
BY_NAME = {each.name: each for each in (*EQUAL, *UNEQUAL)}


@dataclass(frozen=True)
class ProtectionRecord(Line):
    """One photo and one protection; at an average SNR, or (``snr_db`` None) without bursts, to choose by.

    ``sent`` are the bytes of the first part and of the file. Of what is shown where nothing, the first part or all of it
    arrives: ``lpips``, and ``hit``, ``truth`` and ``shown`` as in :class:`~semcast.bench.codecs.CodecRecord`; ``miou``, of the
    photo alone. ``arrived`` counts the bursts that ended so.
    """

    KEY: ClassVar[tuple[str, ...]] = ("image", "domain", "protection", "symbols", "snr_db")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "sent", "miou", "hit", "truth", "shown", "arrived"}

    image: str
    domain: str
    protection: str
    symbols: int
    snr_db: float | None
    version: str
    sent: list[int]
    miou: list[float]
    lpips: list[float | None]
    hit: list[list[int]]
    truth: list[list[int]]
    shown: list[list[int]]
    arrived: list[int]

    @property
    def scores(self) -> list[float]:
        """J of the three without its price of bits, which all protections share: their channel uses are the same."""
        return [score(0.0, miou, lpips or 0.0, WEIGHTS) for miou, lpips in zip(self.miou, self.lpips, strict=True)]

    @property
    def shares(self) -> list[float]:
        """How often it ended so."""
        return [count / sum(self.arrived) for count in self.arrived]


def protect(run: CodecRun) -> list[ProtectionRecord]:
    """Choose on some photos and measure on others, into ``protection.jsonl`` and ``protection.md``."""
    count, file = run.size.noise_photos, "protection.jsonl"
    others = replace(run, sources=run.sources[count : 2 * count])
    if not others.sources:
        run.say("unequal protection is left out: there are no photos to choose on")
        return []
    try:
        Modem(SCHEMES[0])
    except Missing as error:
        run.say(f"unequal protection is left out: {error}")
        return []
    able = [each for each in BY_NAME.values() if all(rooms := each.rooms(SYMBOLS)) and sum(rooms) >= 60]
    tuned = others.make(file, ProtectionRecord, count, _points(run, able, (None,)), Prober(run))
    if not tuned:  # a report of a folder that does not hold this study
        return []
    chosen = {(snr, kind): _best(tuned, kind, snr) for snr, kind in product(SNRS_DB, (False, True))}
    wanted = {(protection.name, snr): (protection, snr) for (snr, _), protection in chosen.items()}
    points = [point for protection, snr in wanted.values() for point in _points(run, [protection], (snr,))]
    records = run.make(file, ProtectionRecord, count, points, Prober(run))
    named = {(snr, kind): protection.name for (snr, kind), protection in chosen.items()}
    run.write("protection.md", markdown(tabulate(records, named)) + "\n\n" + NOTE + "\n")
    return records


NOTE = (
    f"{SYMBOLS} symbols, Rayleigh fading with one gain a burst that the receiver knows, {DRAWS} bursts a photo; schemes and "
    "shares were chosen for each average SNR on other photos. J without its price of bits, the same for both; mIoU of the set."
)


def _points(run: CodecRun, protections: Sequence[Protection], snrs: Sequence[float | None]) -> list[Point]:
    return [(run.domain, protection.name, SYMBOLS, snr) for protection, snr in product(protections, snrs)]


def _best(tuned: Sequence[ProtectionRecord], unequal: bool, snr_db: float) -> Protection:
    """The protection of a kind that promises most on average over the photos and the fades."""
    promised = {}
    for name, records in group(tuned, lambda record: record.protection).items():
        protection = BY_NAME[name]
        if bool(protection.rest) == unequal:
            reach = (*protection.reach(SYMBOLS, snr_db), 0.0, 0.0)
            first, rest = reach[0], reach[1] if unequal else reach[0]
            chances = (1 - first, first - min(first, rest), min(first, rest))
            promised[protection] = np.mean([np.dot(chances, record.scores) for record in records])
    return max(promised, key=lambda each: promised[each])


def tabulate(records: Sequence[ProtectionRecord], chosen: dict[tuple[float, bool], str]) -> list[list[str]]:
    """Make a row of each average SNR and kind, with the difference to equal protection, photo by photo."""
    rows = [["SNR dB", "protection", "bytes", "nothing / first part / all arrives", "J", "less equal", "mIoU", "LPIPS-squeeze"]]
    for (snr, unequal), name in chosen.items():
        here = {r.image: r for r in records if (r.snr_db, r.protection) == (snr, name)}
        equal = {r.image: r for r in records if (r.snr_db, r.protection) == (snr, chosen[snr, False])}
        if not here:
            continue
        mean = {image: float(np.dot(r.shares, r.scores)) for image, r in here.items()}
        less = bootstrap([mean[i] - float(np.dot(equal[i].shares, equal[i].scores)) for i in mean if i in equal])
        ends = " / ".join(f"{share:.0%}" for share in np.mean([r.shares for r in here.values()], 0))
        photos = [_pool(r) for r in here.values()]
        lpips = [photo.lpips for photo in photos if photo.lpips is not None]
        rows.append([
            f"{snr:g}", name, f"{np.mean([r.sent[1] for r in here.values()]):.0f}", ends,
            bootstrap(list(mean.values())).text(3), less.text(3) if unequal else "-",
            set_miou(photos).text(3), bootstrap(lpips).text(3) if lpips else "-",
        ])  # fmt: skip
    return rows


def _pool(record: ProtectionRecord) -> Pooled:
    """The bursts of one photo together."""
    hit, truth, shown = (np.dot(record.arrived, np.array(c)).tolist() for c in (record.hit, record.truth, record.shown))
    distances = [value for value in record.lpips if value is not None]
    lpips = float(np.dot(record.shares, distances)) if len(distances) == len(record.lpips) else None
    return Pooled(hit, truth, shown, 1 - record.shares[0], lpips)


@dataclass
class Prober:
    """Makes the records of a photo: its file once for each size, its bursts at each point."""

    run: CodecRun

    def __call__(self, source: Source, points: Sequence[Point]) -> Iterator[ProtectionRecord]:
        run, codec = self.run, self.run.codec()
        pixels, image, truth = run.photo(source)
        files = dict[int, bytes]()
        for domain, name, k, snr in points:
            protection = BY_NAME[name]
            rooms = protection.rooms(k)
            most = sum(rooms)
            try:
                file = files[most] = files.get(most) or codec.compress(pixels, most)
            except SemcastError:  # nothing fits
                continue
            shown = [np.full_like(pixels, GREY)] * 3
            for i, part in enumerate((file[: rooms[0]], file), 1):
                try:
                    shown[i] = codec.decompress(part)
                except SemcastError:  # its head has not arrived
                    continue
            measured = run.criterion().measure(image, truth, torch.cat([to_tensor(each) for each in shown]), torch.zeros(3))
            hit, there, seen = measured.counts.transpose(0, 1).tolist()
            yield ProtectionRecord(
                image=source.name, domain=domain, protection=name, symbols=k, snr_db=snr, version=run.version,
                sent=[min(rooms[0], len(file)), len(file)], miou=measured.miou.tolist(),
                lpips=[number(measured.lpips[i : i + 1]) if measured.lpips is not None else None for i in range(3)],
                hit=hit, truth=there, shown=seen,
                arrived=send(file, protection, k, snr, self._fades(source)) if snr is not None else [0, 0, 0],
            )  # fmt: skip

    def _fades(self, source: Source) -> torch.Generator:
        """The same fades and noise for every protection of a photo."""
        return generator_for(self.run.seed, source.name)


def send(
    file: bytes, protection: Protection, k: int, snr_db: float, generator: torch.Generator, draws: int = DRAWS
) -> list[int]:
    """Send a file in bursts of k symbols; how often nothing, the first part, or all of it arrived."""
    symbols, begin, kept = [], 0, []
    for modem, count in protection.parts(k):
        room = modem.payload_bytes(count)
        kept.append(file[begin : begin + room].ljust(room, b"\0"))
        symbols.append(modem.modulate([kept[-1]], count))
        begin += room
    burst = Burst(torch.cat(symbols, 1).expand(draws, -1), Budget(k, snr_db))
    received = make_channel("rayleigh").draw(draws, k, snr_db, generator)(burst).check()
    came, at = [], 0
    for (modem, count), sent in zip(protection.parts(k), kept, strict=True):
        part = slice(at, at + count)
        came.append(_passed(modem, received.symbols[:, part], received.noise_var[:, part], sent))
        at += count
    first = came[0]
    every = first & came[-1]
    return [int((~first).sum()), int((first & ~every).sum()), int(every.sum())]


def _passed(modem: Modem, symbols: Tensor, noise_var: Tensor, sent: bytes) -> Tensor:
    """Which bursts brought what was sent (a check of 16 bits lets one of 65,536 wrong ones pass)."""
    return torch.tensor([payload == sent for payload in modem.demodulate(symbols, noise_var)])
