"""``privacy``, attacked: what each mode gives away, how natural its faces are, what it costs.

The attacker knows everything but the random draw: system, weights, knowledge base, mode and parts. He learns on some photos, each
sent as the victim sends them, to tell the private codes from the received symbols, and is tested on others. A second one
looks up the received face among the photos with a face recogniser. A third one sees nothing but the non-private part of the
photo (its codes, without channel or noise): what he finds is what faces themselves give away, and ``blind`` must give no more.

What was seen of each photo is kept in ``evidence/`` until the report is written, so that a run that was stopped goes on.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from semcast.bench.store import lock
from semcast.bench.sweep import fingerprint
from semcast.channels import make_channel
from semcast.errors import BadInput, SemcastError
from semcast.files import whole
from semcast.generative.system import Generative
from semcast.hashes import generator_for
from semcast.link import Budget, to_real
from semcast.metrics.report import Metrics
from semcast.photos import Photo, to_tensor, to_uint8, write_image
from semcast.pictures import beside, grid
from semcast.privacy.blind import Blind, hide
from semcast.privacy.filter import Filter
from semcast.privacy.knowledge import KnowledgeBase
from semcast.privacy.parts import PartChoice
from semcast.privacy.receipt import masked_psnr_db
from semcast.privacy.system import Private
from semcast.sources import Source
from semcast.studies.attacks import Evidence, attack, compare_sets, identify
from semcast.studies.private_demo import crop_eyes, filter_codes
from semcast.studies.run import Run

CHOICES = ("eyes", "eyes,brows,nose", "all-but-eyes")
MODES = ("none", "filter", "blind")
SYMBOLS, SNR_DB = 640, 10.0
SHEET = 5
DRAWS = 2
MASK_SIDE = 32
TIMED = 12
SHOWN = ("none", "eyes: blind", "eyes: filter", "all-but-eyes: blind", "all-but-eyes: filter", "all-but-eyes: bare")


@dataclass(kw_only=True)
class PrivacyRun(Run):
    """A run over the photos that are attacked.

    Args:
        link, knowledge: what protects.
        metrics: with recognisers, which look faces up.
        learn: photos that the attacker learns on.
    """

    link: Generative
    knowledge: KnowledgeBase
    metrics: Metrics
    learn: Sequence[Source]

    def private(self, text: str, mode: str) -> Private:
        """Put the link behind a protection."""
        return Private(self.link, self.link, self.knowledge, Filter(text) if mode == "filter" else Blind(text)).eval()

    def about(self) -> dict[str, Any]:
        """Name what a report is of: the photos, the weights, the recognisers."""
        return {
            "photos": [source.name for source in self.sources], "learn": [source.name for source in self.learn],
            "weights": fingerprint(self.link), "embedders": [each.path.name for each in self.metrics.identity.values()],
        }  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """One photo through all modes: its codes L, and by (choice, mode) the codes sent; the private regions by choice."""

    photo: Tensor
    codes: Tensor
    variants: dict[tuple[str, str], Tensor]
    regions: dict[str, Tensor]


def protect(run: PrivacyRun, source: Source, modes: Sequence[str]) -> Sent:
    """Invert a photo, and make the codes that each mode sends of it; ``bare`` is the filter without the knowledge base."""
    photo = to_tensor(source.face(None)[0])
    codes = run.link.invert(photo)
    variants, regions = {}, {}
    for text in CHOICES:
        blind = run.private(text, "blind")
        regions[text] = Blind(text).find(photo, blind.label).mask
        for mode in modes:
            if mode == "none":
                variants[text, mode] = codes
            elif mode == "blind":
                variants[text, mode] = blind.natural(hide(photo, regions[text]), regions[text])
            else:
                variants[text, mode] = _filter(run, codes, text, bare=mode == "bare")
    return Sent(photo, codes, variants, regions)


def _filter(run: PrivacyRun, codes: Tensor, text: str, *, bare: bool) -> Tensor:
    return filter_codes(run.knowledge, codes, text, np.random.default_rng(), bare=bare)


def over_the_air(run: PrivacyRun, codes: Tensor, name: str, draw: int = 0) -> Any:
    """What arrives of these codes at 640 symbols over AWGN at 10 dB; the same noise for all modes."""
    channel = make_channel("awgn").draw(1, SYMBOLS, SNR_DB, generator_for(run.seed, name, draw))
    return channel(run.link.send(codes, Budget(SYMBOLS, SNR_DB)))


# ---- what is seen of a photo ------------------------------------------------------------------------------------------


def observe(run: PrivacyRun, source: Source, sent: Sent, evidence: Evidence, draws: int) -> None:
    """Put one photo's bursts, its non-private codes and the outline of its regions into the evidence."""
    for text in CHOICES:
        private = PartChoice.parse(text).codes
        truth = (sent.codes * run.knowledge.weight)[0, private]
        for mode in MODES:
            for draw in range(draws):
                codes = sent.variants[text, mode]
                if mode == "filter" and draw:
                    codes = _filter(run, sent.codes, text, bare=False)  # a fresh direction each time
                evidence.add(text, mode, to_real(over_the_air(run, codes, source.name, draw).symbols), truth)
        rest = (sent.variants[text, "blind"] * run.knowledge.weight)[0, ~private]
        evidence.add(text, "only the non-private photo", rest, truth)
        outline = F.adaptive_avg_pool2d(sent.regions[text].float(), MASK_SIDE)
        evidence.add(text, "only the outline", outline, truth)


def look(run: PrivacyRun, source: Source, sent: Sent, evidence: Evidence) -> dict[str, Tensor]:
    """Receive every variant of a photo and measure it; returns the received faces by ``parts: mode``."""
    plain = run.link.decode(over_the_air(run, sent.codes, source.name)).image
    received = {"none": plain}
    for (text, mode), codes in sent.variants.items():
        if mode != "none":
            received[f"{text}: {mode}"] = run.link.decode(over_the_air(run, codes, source.name)).image
    for name, embedder in run.metrics.identity.items():
        for view, picture in {"photo": sent.photo, **received}.items():
            evidence.embeddings[view, name] = embedder.embed(picture)
    for (text, mode) in sent.variants:
        if mode in ("filter", "blind"):
            outside = ~sent.regions[text]
            if bool(outside.any()):
                psnr = masked_psnr_db(plain, received[f"{text}: {mode}"], outside)
                evidence.numbers[f"{text}: {mode}, outside PSNR dB"] = psnr
            inside = masked_psnr_db(plain, received[f"{text}: {mode}"], sent.regions[text])
            evidence.numbers[f"{text}: {mode}, inside PSNR dB"] = inside
    return received


def compare_eyes(run: PrivacyRun, photo: Tensor, received: dict[str, Tensor], stranger: Tensor, evidence: Evidence) -> None:
    """LPIPS of the eyes' box: the photo against what arrives of it, and against a stranger's as they arrive."""
    lpips = run.metrics.lpips.get("squeeze")
    if lpips is None:
        return
    views = {name: received[f"all-but-eyes: {name}"] for name in ("filter", "blind")} | {"none": received["none"]}
    for name, picture in (views | {"a stranger's": stranger}).items():
        own, other = (F.interpolate(crop_eyes(x), scale_factor=2.0, mode="bilinear") for x in (photo, picture))
        evidence.numbers[f"eyes' LPIPS, all-but-eyes: {name}"] = float(lpips(own, other))


def time_modes(run: PrivacyRun, source: Source) -> dict[str, float]:
    """Milliseconds that a mode adds to the median encode of one face (the parser's look included)."""
    photo, budget = to_tensor(source.face(None)[0]), Budget(SYMBOLS, SNR_DB)
    senders: dict[str, Any] = {"none": run.link}
    senders |= {f"eyes: {mode}": run.private("eyes", mode) for mode in ("filter", "blind")}
    from semcast.api import load

    senders["none, linear-gan"] = load("linear-gan", device="cpu")
    other = Private(senders["none, linear-gan"], run.link, run.knowledge, Blind("eyes")).eval()
    senders["eyes: blind, linear-gan"] = other
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(TIMED):
        for name, sender in senders.items():
            begun = perf_counter()
            sender.encode(photo, budget)
            times[name].append(1000 * (perf_counter() - begun))
    middle = {name: sorted(values[2:])[(len(values) - 2) // 2] for name, values in times.items()}
    added = {
        f"{name}, added": value - middle["none, linear-gan" if "linear-gan" in name else "none"]
        for name, value in middle.items()
        if not name.startswith("none")
    }
    return {name: round(value, 1) for name, value in (middle | added).items()}


# ---- all of it -------------------------------------------------------------------------------------------------------


def measure_privacy(run: PrivacyRun) -> dict[str, Any]:
    """Write ``privacy.json`` and the contact sheet ``privacy.png``; returns the report.

    Raises:
        SemcastError: the folder holds a report of other photos or weights, or another process writes it.
    """
    report_file, about_file = run.out / "privacy.json", run.out / "privacy-run.json"
    with lock(report_file), torch.no_grad():
        if report_file.exists() and not run.force:
            if _read(about_file) != run.about():
                raise BadInput(f"{report_file} is of other photos or weights (-f measures afresh)")
            run.say(f"{report_file} is there already")
            found: dict[str, Any] = _read(report_file)
            return found
        taken = time_modes(run, run.sources[0])  # before the face recognisers start threads that never quite rest
        run.say(f"the attacker learns on {len(run.learn)} photos")
        learnt, left_out = gather(run, run.learn, MODES, DRAWS)
        run.say(f"{len(run.sources)} other photos are sent")
        tested, more = gather(run, run.sources, (*MODES, "bare"), 1)
        report = summarise(run, learnt, tested, [*left_out, *more], len(run.learn) - len(left_out), taken)
        run.write(report_file.name, json.dumps(report, indent=1) + "\n")
        run.write(about_file.name, json.dumps(run.about(), indent=1) + "\n")
        write_image(run.out / "privacy.png", sheet(tested))
        run.written.append(run.out / "privacy.png")
        shutil.rmtree(run.out / "evidence", ignore_errors=True)
        return report


def gather(run: PrivacyRun, sources: Sequence[Source], modes: Sequence[str], draws: int) -> tuple[list[Evidence], list[str]]:
    """Send each photo in all modes and keep what can be seen of it; photos that cannot be protected are left out and named."""
    found, left_out = list[Evidence](), list[str]()
    with run.track("privacy", len(sources)) as step:
        for source, evidence in _evidence(run, sources, modes, draws):
            if isinstance(evidence, Evidence):
                found.append(evidence)
            else:  # behind sunglasses the parser sees no eyes: nothing would be left of all-but-eyes
                left_out.append(f"{source.name}: {evidence}")
                run.say(f"left out: {left_out[-1]}")
            step(1)
    return found, left_out


def _evidence(
    run: PrivacyRun, sources: Sequence[Source], modes: Sequence[str], draws: int
) -> Iterator[tuple[Source, Evidence | SemcastError]]:
    folder = run.out / "evidence"
    folder.mkdir(exist_ok=True)
    stranger: Tensor | None = None
    for source in sources:
        kept = folder / f"{source.name}-{fingerprint(run.link)}-{len(run.metrics.identity)}-{len(modes)}.safetensors"
        evidence = None if run.force else _load(kept)
        if evidence is None:
            try:
                sent = protect(run, source, modes)
            except SemcastError as error:
                yield source, error
                continue
            evidence = Evidence()
            observe(run, source, sent, evidence, draws)
            if "bare" in modes:
                received = look(run, source, sent, evidence)
                if stranger is not None:
                    compare_eyes(run, sent.photo, received, stranger, evidence)
                evidence.pictures |= {"photo": sent.photo, **{view: received[view] for view in SHOWN}}
            with whole(kept) as file:
                file.write(save(evidence.pack()))
        stranger = evidence.pictures.get("none")
        yield source, evidence


def _load(path: Path) -> Evidence | None:
    try:
        return Evidence.unpack(load_file(path))
    except (OSError, SafetensorError):
        return None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def summarise(
    run: PrivacyRun, learnt: Sequence[Evidence], tested: Sequence[Evidence], left_out: list[str], learnt_on: int,
    taken: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Attack, look up, compare: the report."""
    if min(len(learnt), len(tested)) < 2:
        raise BadInput(f"only {len(learnt)} photos are left to learn on and {len(tested)} to attack: give more")
    run.say("attacking")
    numbers = defaultdict[str, list[float]](list)
    for evidence in tested:
        for name, value in evidence.numbers.items():
            numbers[name].append(value)
    return {
        "photos": len(tested), "learnt_on": learnt_on, "left_out": left_out, "symbols": SYMBOLS, "snr_db": SNR_DB,
        "lambda1": Filter.lambda1, "lambda2": Filter.lambda2,
        "embedders": {name: embedder.path.name for name, embedder in run.metrics.identity.items()},
        "attack_r2": attack(learnt, tested),
        "reidentification": identify(tested, run.metrics.identity),
        "naturalness_kid": compare_sets(tested, run.metrics),
        "change": {name: round(float(np.mean(values)), 4) for name, values in numbers.items()},
        "encode_ms": taken,
    }  # fmt: skip


def sheet(tested: Sequence[Evidence]) -> Photo:
    """Fig. 6: photo, unprotected, eyes private, all but the eyes private, in both modes; the eyes; without knowledge base."""
    names = ["photo", "not private", "eyes, blind", "eyes, filter", "all but eyes, blind", "all but eyes, filter",
             "the same without KB"]  # fmt: skip
    pictures = [evidence.pictures for evidence in tested[:SHEET]]
    faces = [[to_uint8(each[view]) for view in ("photo", *SHOWN)] for each in pictures]
    compared = ("photo", "all-but-eyes: blind", "all-but-eyes: filter")
    eyes = [[to_uint8(crop_eyes(each[view])) for view in compared] for each in pictures]
    tall = [[_pad(eye, faces[0][0].shape[0]) for eye in row] for row in eyes]
    return beside([grid(faces, columns=names), grid(tall, columns=["its eyes", "blind", "filter"])])


def _pad(tile: Photo, height: int) -> Photo:
    """The tile in the middle of a white one of that height."""
    above = (height - tile.shape[0]) // 2
    return np.pad(tile, ((above, height - tile.shape[0] - above), (0, 0), (0, 0)), constant_values=255)
