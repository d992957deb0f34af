"""Privacy, attacked (``semcast reproduce privacy``): what each mode gives away, how natural its faces are, what it costs.

The attacker knows everything but the random draw: system, weights, knowledge base, mode and parts. He learns on some photos, each
sent as the victim sends them, to tell the private codes from the received symbols, and is tested on others. A second one
looks up the received face among the photos with a face recogniser. A third one sees nothing but the non-private part of the
photo (its codes, without channel or noise): what he finds is what faces themselves give away, and ``blind`` must give no more.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.channels import make_channel
from semcast.domains import PARTS
from semcast.errors import SemcastError
from semcast.generative.generator import BOXES
from semcast.generative.system import Generative
from semcast.link import Budget, generator_for, to_real
from semcast.metrics.report import Metrics
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.pictures import beside, grid
from semcast.privacy.blind import Blind, hide
from semcast.privacy.filter import Filter
from semcast.privacy.knowledge import KnowledgeBase
from semcast.privacy.parts import PartChoice
from semcast.privacy.receipt import masked_psnr_db
from semcast.privacy.system import Private
from semcast.sources import Source

CHOICES = ("eyes", "eyes,brows,nose", "all-but-eyes")
MODES = ("none", "filter", "blind")
SYMBOLS, SNR_DB = 640, 10.0
SHEET = 5
DRAWS = 2
RIDGES = (1e-1, 1.0, 10.0, 100.0, 1e3, 1e4)
MASK_SIDE = 32
TIMED = 12


@dataclass(frozen=True)
class Bench:
    """The link, its knowledge base, the metrics, and the photos: those attacked, and those that the attacker learns on."""

    link: Generative
    knowledge: KnowledgeBase
    metrics: Metrics
    photos: Sequence[Source]
    learn: Sequence[Source]
    seed: int = 0

    def private(self, text: str, mode: str) -> Private:
        """The link behind a protection."""
        return Private(self.link, self.link, self.knowledge, Filter(text) if mode == "filter" else Blind(text)).eval()


def bench_of(link: Generative, metrics: Metrics, photos: Sequence[Source], seed: int = 0) -> Bench:
    """A bench whose attacker learns on the first half of the photos and is tested on the second.

    Raises:
        SemcastError: fewer than four photos.
    """
    if len(photos) < 4:
        raise SemcastError(f"the study of privacy needs at least 4 photos, not {len(photos)}")
    half = len(photos) // 2
    return Bench(link, KnowledgeBase.load(), metrics, photos[half:], photos[:half], seed=seed)


@dataclass(frozen=True)
class Sent:
    """One photo through all modes: its codes L, and by (choice, mode) the codes sent; the private regions by choice."""

    photo: Tensor
    codes: Tensor
    variants: dict[tuple[str, str], Tensor]
    regions: dict[str, Tensor]


def protect(bench: Bench, source: Source, modes: Sequence[str]) -> Sent:
    """Invert a photo, and make the codes that each mode sends of it; ``bare`` is the filter without the knowledge base."""
    photo = to_tensor(source.face(None)[0])
    codes = bench.link.invert(photo)
    variants, regions = {}, {}
    for text in CHOICES:
        blind = bench.private(text, "blind")
        regions[text] = Blind(text).find(photo, blind.label).mask
        for mode in modes:
            if mode == "none":
                variants[text, mode] = codes
            elif mode == "blind":
                variants[text, mode] = blind.natural(hide(photo, regions[text]), regions[text])
            else:
                variants[text, mode] = _filter(bench, codes, text, bare=mode == "bare")
    return Sent(photo, codes, variants, regions)


def _filter(bench: Bench, codes: Tensor, text: str, *, bare: bool) -> Tensor:
    random, base, asked = np.random.default_rng(), bench.knowledge, Filter(text)
    if bare:  # a uniform direction and no way back: the paper's filter alone
        return replace(asked, lambda2=0.0).move(codes[0], base.mean, random).codes[None]
    natural = base.replace(codes, asked.choice.codes)[0]
    return asked.move(codes[0], natural, random, base.draw(random)).codes[None]


def over_the_air(bench: Bench, codes: Tensor, name: str, draw: int = 0) -> Any:
    """What arrives of these codes at 640 symbols over AWGN at 10 dB; the same noise for all modes."""
    channel = make_channel("awgn").draw(1, SYMBOLS, SNR_DB, generator_for(bench.seed, name, draw))
    return channel(bench.link.send(codes, Budget(SYMBOLS, SNR_DB)))


# ---- restoring the private codes -------------------------------------------------------------------------------------


@dataclass
class Evidence:
    """What an attacker has, by (choice, mode): inputs and private codes, a row a burst; other views by name."""

    seen: dict[tuple[str, str], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    truth: dict[tuple[str, str], list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def add(self, text: str, view: str, seen: Tensor, truth: Tensor) -> None:
        """One more burst."""
        self.seen[text, view].append(seen.flatten().float())
        self.truth[text, view].append(truth.flatten().float())

    def of(self, key: tuple[str, str]) -> tuple[Tensor, Tensor]:
        """Inputs ``[N, D]`` and private codes ``[N, P]``."""
        return torch.stack(self.seen[key]), torch.stack(self.truth[key])


def observe(bench: Bench, source: Source, sent: Sent, evidence: Evidence, draws: int) -> None:
    """Put one photo's bursts, its non-private codes and the outline of its regions into the evidence."""
    for text in CHOICES:
        private = PartChoice.parse(text).codes
        truth = (sent.codes * bench.knowledge.weight)[0, private]
        for mode in MODES:
            for draw in range(draws):
                codes = sent.variants[text, mode]
                if mode == "filter" and draw:
                    codes = _filter(bench, sent.codes, text, bare=False)  # a fresh direction each time
                evidence.add(text, mode, to_real(over_the_air(bench, codes, source.name, draw).symbols), truth)
        rest = (sent.variants[text, "blind"] * bench.knowledge.weight)[0, ~private]
        evidence.add(text, "only the non-private photo", rest, truth)
        outline = F.adaptive_avg_pool2d(sent.regions[text].float(), MASK_SIDE)
        evidence.add(text, "only the outline", outline, truth)


def attack(learnt: Evidence, tested: Evidence) -> dict[str, dict[str, float]]:
    """R² of the private codes (weighted by how visible they are) on photos not learnt on, by ridge regression and MLP.

    1 is perfect restoration, 0 what the mean of the learnt photos achieves; below 0 is worse than that.
    """
    results = {}
    for text, view in tested.seen:
        x, y = learnt.of((text, view))
        x_new, y_new = tested.of((text, view))
        found = {"ridge": ridge(x, y)(x_new), "mlp": mlp(x, y)(x_new)}
        results[f"{text}: {view}"] = {name: round(r_squared(guess, y_new, y.mean(0)), 4) for name, guess in found.items()}
    return results


def r_squared(guess: Tensor, truth: Tensor, mean: Tensor) -> float:
    """1 - Σ (guess - truth)² / Σ (mean - truth)², over all numbers of all photos."""
    return 1 - float((guess - truth).square().sum() / (mean - truth).square().sum().clamp_min(1e-12))


Guess = Callable[[Tensor], Tensor]


def ridge(x: Tensor, y: Tensor) -> Guess:
    """Ridge regression ``[N, D]`` → ``[N, P]``, its penalty chosen on the last fifth of the rows."""
    cut = max(1, len(x) * 4 // 5)
    errors = [float((_ridge(x[:cut], y[:cut], penalty)(x[cut:]) - y[cut:]).square().mean()) for penalty in RIDGES]
    return _ridge(x, y, RIDGES[int(np.argmin(errors))])


def _ridge(x: Tensor, y: Tensor, penalty: float) -> Guess:
    middle, level, scale = x.mean(0), y.mean(0), x.std(0).mean().clamp_min(1e-6)
    z = ((x - middle) / scale).double()
    dual = torch.linalg.solve(z @ z.T + penalty * torch.eye(len(z), dtype=torch.float64), (y - level).double())
    weights = (z.T @ dual).float()
    return lambda new: (new - middle) / scale @ weights + level


def mlp(x: Tensor, y: Tensor, steps: int = 300, width: int = 256) -> Guess:
    """A network of one hidden layer beside a linear path; of 300 Adam steps the best one on the last fifth of the rows."""
    cut = max(1, len(x) * 4 // 5)
    middle, level, scale, size = x[:cut].mean(0), y[:cut].mean(0), x.std(0).mean().clamp_min(1e-6), y.std().clamp_min(1e-6)
    z, t = (x - middle) / scale, (y - level) / size
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(x.shape[1], width), nn.SiLU(), nn.Dropout(0.5), nn.Linear(width, y.shape[1]))
        nn.init.zeros_(net[3].weight)  # type: ignore[arg-type]
        optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.1)
        best, kept = torch.inf, {k: v.clone() for k, v in net.state_dict().items()}
        for step in range(steps):
            index = torch.randint(cut, (min(64, cut),))
            optimiser.zero_grad()
            F.mse_loss(net(z[index]), t[index]).backward()
            optimiser.step()
            if step % 10 == 9:
                with torch.no_grad():
                    error = float(F.mse_loss(net.eval()(z[cut:]), t[cut:]))
                if error < best:
                    best, kept = error, {k: v.clone() for k, v in net.state_dict().items()}
                net.train()
    net.load_state_dict(kept)
    net.eval().requires_grad_(False)
    return lambda new: net((new - middle) / scale) * size + level


# ---- looking at what arrives -----------------------------------------------------------------------------------------


@dataclass
class Faces:
    """Embeddings by (view, embedder) and other numbers by name, gathered photo by photo."""

    embeddings: dict[tuple[str, str], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    numbers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def look(bench: Bench, source: Source, sent: Sent, faces: Faces) -> dict[str, Tensor]:
    """Receive every variant of a photo and measure it; returns the received faces by ``parts: mode``."""
    plain = bench.link.decode(over_the_air(bench, sent.codes, source.name)).image
    received = {"none": plain}
    for (text, mode), codes in sent.variants.items():
        if mode != "none":
            received[f"{text}: {mode}"] = bench.link.decode(over_the_air(bench, codes, source.name)).image
    for name, embedder in bench.metrics.identity.items():
        for view, picture in {"photo": sent.photo, **received}.items():
            faces.embeddings[view, name].append(embedder.embed(picture))
    for (text, mode) in sent.variants:
        if mode in ("filter", "blind"):
            outside = ~sent.regions[text]
            if bool(outside.any()):
                psnr = masked_psnr_db(plain, received[f"{text}: {mode}"], outside)
                faces.numbers[f"{text}: {mode}, outside PSNR dB"].append(psnr)
            inside = masked_psnr_db(plain, received[f"{text}: {mode}"], sent.regions[text])
            faces.numbers[f"{text}: {mode}, inside PSNR dB"].append(inside)
    return received


def eyes_of(image: Tensor) -> Tensor:
    """The box of the eyes ``[1, 3, h, w]``."""
    y0, y1, x0, x1 = (round(edge * image.shape[-1] / 64) for edge in BOXES[PARTS.index("eyes")])
    return image[:, :, y0:y1, x0:x1]


def compare_eyes(bench: Bench, photo: Tensor, received: dict[str, Tensor], stranger: Tensor, faces: Faces) -> None:
    """LPIPS of the eyes' box: the photo against what arrives of it, and against a stranger's as they arrive."""
    lpips = bench.metrics.lpips.get("squeeze")
    if lpips is None:
        return
    views = {name: received[f"all-but-eyes: {name}"] for name in ("filter", "blind")} | {"none": received["none"]}
    for name, picture in (views | {"a stranger's": stranger}).items():
        own, other = (F.interpolate(eyes_of(x), scale_factor=2.0, mode="bilinear") for x in (photo, picture))
        faces.numbers[f"eyes' LPIPS, all-but-eyes: {name}"].append(float(lpips(own, other)))


def identified(faces: Faces, embedders: Sequence[str]) -> dict[str, dict[str, float]]:
    """Re-identification among the photos: rank-1 rate, mean match score, mean score of different persons."""
    results = {}
    for view, name in faces.embeddings:
        if name not in embedders:
            continue
        photos, received = (torch.cat(faces.embeddings[v, name]) for v in ("photo", view))
        scores = received @ photos.T
        count = len(scores)
        different = scores[~torch.eye(count, dtype=torch.bool)]
        results[f"{view}, {name}"] = {
            "rank-1": round(float((scores.argmax(1) == torch.arange(count)).float().mean()), 4),
            "match": round(float(scores.diag().mean()), 4),
            "different persons": round(float(different.mean()), 4),
            "chance": round(1 / count, 4),
        }
    return results


def naturalness(faces: Faces, metrics: Metrics) -> dict[str, Any]:
    """KID of the faces that arrive against the photos, in mobileface_v2's features; ``bare`` has no knowledge base."""
    try:
        kid = importlib.import_module("semcast.metrics.kid")
    except ImportError:
        return {"left out": "this version has no KID"}
    names = [name for name, embedder in metrics.identity.items() if embedder.path.name == kid.EMBEDDER]
    if not names:
        return {"left out": f"needs --identity {kid.EMBEDDER}"}
    results: dict[str, Any] = {}
    for view, name in faces.embeddings:
        if name == names[0] and view != "photo":
            photos, received = (torch.cat(faces.embeddings[v, name]) for v in ("photo", view))
            size = photos.shape[1] ** 0.5
            results[view] = round(kid.kid(size * received, size * photos), 5)
    return results


def seconds_added(bench: Bench, source: Source) -> dict[str, float]:
    """Milliseconds that a mode adds to the median encode of one face (the parser's look included)."""
    photo, budget = to_tensor(source.face(None)[0]), Budget(SYMBOLS, SNR_DB)
    senders: dict[str, Any] = {"none": bench.link}
    senders |= {f"eyes: {mode}": bench.private("eyes", mode) for mode in ("filter", "blind")}
    from semcast.api import load_system

    senders["none, linear-gan"] = load_system("linear-gan")
    other = Private(senders["none, linear-gan"], bench.link, bench.knowledge, Blind("eyes")).eval()
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


@torch.no_grad()
def study_privacy(bench: Bench, say: Callable[[str], None]) -> tuple[dict[str, Any], Photo]:
    """The report and the contact sheet (the paper's fig. 6, and its fig. 2: with and without the knowledge base)."""
    taken = seconds_added(bench, bench.photos[0])  # before the face recognisers start threads that never quite rest
    say(f"the attacker learns on {len(bench.learn)} photos")
    learnt, tested, faces = Evidence(), Evidence(), Faces()
    refused: list[str] = []

    def protected(sources: Sequence[Source], modes: Sequence[str]) -> Iterator[tuple[Source, Sent]]:
        for source in sources:
            try:
                yield source, protect(bench, source, modes)
            except SemcastError as error:  # behind sunglasses the parser sees no eyes: nothing would be left of all-but-eyes
                refused.append(f"{source.name}: {error}")
                say(f"left out: {refused[-1]}")

    for source, sent in protected(bench.learn, MODES):
        observe(bench, source, sent, learnt, DRAWS)
    learnt_on = len(bench.learn) - len(refused)
    say(f"{len(bench.photos)} other photos are sent")
    rows: list[tuple[Tensor, dict[str, Tensor]]] = []
    stranger: Tensor | None = None
    for source, sent in protected(bench.photos, (*MODES, "bare")):
        observe(bench, source, sent, tested, 1)
        received = look(bench, source, sent, faces)
        if stranger is not None:
            compare_eyes(bench, sent.photo, received, stranger, faces)
        stranger = received["none"]
        if len(rows) < SHEET:
            rows.append((sent.photo, received))
    count = len(bench.photos) + len(bench.learn) - len(refused) - learnt_on
    say("attacking")
    report: dict[str, Any] = {
        "photos": count, "learnt_on": learnt_on, "left_out": refused, "symbols": SYMBOLS, "snr_db": SNR_DB,
        "lambda1": Filter.lambda1, "lambda2": Filter.lambda2,
        "embedders": {name: embedder.path.name for name, embedder in bench.metrics.identity.items()},
        "attack_r2": attack(learnt, tested),
        "reidentification": identified(faces, list(bench.metrics.identity)),
        "naturalness_kid": naturalness(faces, bench.metrics),
        "change": {name: round(float(np.mean(values)), 4) for name, values in faces.numbers.items()},
        "encode_ms": taken,
    }  # fmt: skip
    return report, sheet(rows)


def sheet(rows: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> Photo:
    """Fig. 6: photo, unprotected, eyes private, all but the eyes private, in both modes; the eyes; without knowledge base."""
    views = ("none", "eyes: blind", "eyes: filter", "all-but-eyes: blind", "all-but-eyes: filter", "all-but-eyes: bare")
    names = ["photo", "not private", "eyes, blind", "eyes, filter", "all but eyes, blind", "all but eyes, filter",
             "the same without KB"]  # fmt: skip
    faces = [[to_uint8(photo), *(to_uint8(received[view]) for view in views)] for photo, received in rows]
    compared = ("all-but-eyes: blind", "all-but-eyes: filter")
    eyes = [[to_uint8(eyes_of(x)) for x in (photo, *(received[view] for view in compared))] for photo, received in rows]
    tall = [[_padded(eye, faces[0][0].shape[0]) for eye in row] for row in eyes]
    return beside([grid(faces, columns=names), grid(tall, columns=["its eyes", "blind", "filter"])])


def _padded(tile: Photo, height: int) -> Photo:
    """The tile in the middle of a white one of that height."""
    above = (height - tile.shape[0]) // 2
    return np.pad(tile, ((above, height - tile.shape[0] - above), (0, 0), (0, 0)), constant_values=255)
