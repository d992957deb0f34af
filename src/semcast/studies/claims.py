"""The paper's claims (Han et al., ICASSP 2023, sec. 4) one by one, and who beats whom, out of records alone.

A comparison is made photo by photo at each point of an axis. It is *won* where the whole 95 % interval of the difference lies
on the better side, *lost* where it lies on the worse one, and *open* in between. What the paper leaves open (how much is
"slightly", which SNRs) is read in one way, and the table says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from semcast.bench.plots import Curve
from semcast.bench.records import Record
from semcast.bench.statistics import Interval, by_photo, group, interval, paired

LOWER_IS_BETTER = frozenset(["lpips_squeeze", "lpips_vgg", "kid", "outage"])
SLIGHTLY_DB = 2.0
FLAT = {"psnr_db": 1.0, "lpips_squeeze": 0.02}
NAMES = {"psnr_db": "PSNR", "lpips_squeeze": "LPIPS", "identity": "identity", "identity_2": "identity 2", "kid": "KID"}
_UNITS = {"psnr_db": " dB"}


@dataclass(frozen=True)
class Claim:
    """What is claimed and how we read it, what we measured, and whether it holds."""

    says: str
    reading: str
    measured: str
    holds: str


def compare(records: Sequence[Record], first: Curve, second: Curve, metric: str) -> dict[float, Interval]:
    """first - second at every SNR where both were measured on a common photo."""
    ours, theirs = _by_snr(records, first, metric), _by_snr(records, second, metric)
    return {snr: paired(ours[snr], theirs[snr]) for snr in ours if snr in theirs and ours[snr].keys() & theirs[snr].keys()}


def outcome(difference: Interval, metric: str) -> str:
    """``won``, ``lost`` or ``open`` for the first of the two.

    >>> outcome(Interval(-0.1, -0.2, -0.05, 9), "lpips_squeeze"), outcome(Interval(-0.1, -0.2, 0.1, 9), "psnr_db")
    ('won', 'open')
    """
    low, high = (-difference.high, -difference.low) if metric in LOWER_IS_BETTER else (difference.low, difference.high)
    return "won" if low > 0 else "lost" if high < 0 else "open"


def verdict(differences: Mapping[float, Interval], metric: str) -> str:
    """``holds`` (won everywhere), ``does not hold`` (won nowhere), or where it was won."""
    if not differences:
        return "not measured"
    won = [x for x, difference in sorted(differences.items()) if outcome(difference, metric) == "won"]
    if len(won) == len(differences):
        return "holds"
    return f"in part: at {', '.join(f'{x:g}' for x in won)}" if won else "does not hold"


def claims(sweep: Sequence[Record], flow: Sequence[Record]) -> list[Claim]:
    """Every claim: ``sweep`` holds the records of figures 3 and 4, ``flow`` those of figure 5."""
    jscc = Curve(8192, "deepjscc")
    return [
        _better(sweep, Curve(64, "generative"), jscc, "better LPIPS than Deep JSCC (1/24) with less than 1 % of its bandwidth"),
        _better(sweep, Curve(640, "generative"), jscc, "the same at 7.8 % of its bandwidth (10/3072)"),
        _better(sweep, Curve(64, "generative"), Curve(8192, "deepjscc-perceptual"),
                "(not in the paper) the same against a Deep JSCC trained with a perceptual loss"),
        _better(sweep, Curve(64, "linear-gan"), jscc, "(not in the paper) the same of linear-gan"),
        _slightly_worse(sweep, Curve(64, "generative"), jscc),
        _slightly_worse(sweep, Curve(640, "generative"), jscc),
        *(_flat(sweep, Curve(k, "generative"), metric) for metric in FLAT for k in (64, 640)),
        _flow_helps(flow, "code-whitened", "without the couplings, a linear whitening instead"),
        _flow_helps(flow, "code-standardised", "each code number standardised instead"),
        _flow_helps(flow, "code-pca", "principal components of the codes instead"),
    ]  # fmt: skip


def as_rows(found: Sequence[Claim]) -> list[list[str]]:
    """A table, its heading first."""
    return [["the paper says", "read as", "we measured", "holds?"], *([*asdict(claim).values()] for claim in found)]


def _by_snr(records: Sequence[Record], curve: Curve, metric: str) -> dict[float, dict[str, float]]:
    mine = (record for record in records if (record.system, record.symbols) == (curve.system, curve.symbols))
    points = sorted(group(mine, lambda record: record.snr_db).items())
    return {snr: values for snr, members in points if (values := by_photo(members, metric))}


def _better(records: Sequence[Record], first: Curve, second: Curve, says: str) -> Claim:
    metric = "lpips_squeeze"
    found = compare(records, first, second, metric)
    reading = f"LPIPS of {_name(first)} below {_name(second)} at every SNR"
    return Claim(says, reading, _spread(found, metric), verdict(found, metric))


def _slightly_worse(records: Sequence[Record], first: Curve, second: Curve) -> Claim:
    found = compare(records, first, second, "psnr_db")
    within = [x for x, difference in sorted(found.items()) if -SLIGHTLY_DB <= difference.mean <= 0]
    if not found:
        holds = "not measured"
    elif len(within) == len(found):
        holds = "holds"
    else:
        holds = f"in part: at {', '.join(f'{x:g}' for x in within)} dB" if within else "does not hold"
    reading = f"PSNR of {_name(first)} 0 to {SLIGHTLY_DB:g} dB below {_name(second)} at every SNR"
    return Claim("slightly worse PSNR than Deep JSCC", reading, _spread(found, "psnr_db"), holds)


def _flat(records: Sequence[Record], curve: Curve, metric: str) -> Claim:
    points = {snr: values for snr, values in _by_snr(records, curve, metric).items() if snr <= 20}
    reading = f"{NAMES[metric]} of {_name(curve)} changes by less than {FLAT[metric]:g}{_UNITS.get(metric, '')} from 0 to 20 dB"
    says = f"{NAMES[metric]} nearly flat in SNR"
    if not {0.0, 20.0} <= points.keys():
        return Claim(says, reading, "-", "not measured")
    change = paired(points[20.0], points[0.0])
    whole = paired(points[max(points)], points[min(points)])
    digits = _digits(metric)
    measured = f"{change.text(digits)} from 0 to 20 dB; {whole.text(digits)} from {min(points):g} to {max(points):g} dB"
    return Claim(says, reading, measured, "holds" if abs(change.mean) < FLAT[metric] else "does not hold")


def _flow_helps(records: Sequence[Record], without: str, how: str) -> Claim:
    found: dict[float, Interval] = {}
    for k in sorted({record.symbols for record in records}):
        at_k = compare(records, Curve(k, "code-flow"), Curve(k, without), "psnr_db")
        found |= {float(k): difference for difference in at_k.values()}
    reading = f"closed-form code, 10 dB: PSNR with the flow above that {how}, at every k"
    return Claim("the flow raises PSNR at every k / n", reading, _spread(found, "psnr_db", "k = "), verdict(found, "psnr_db"))


def _spread(found: Mapping[float, Interval], metric: str, axis: str = "") -> str:
    """The differences at the two ends of the axis and the two extremes, each with its interval."""
    if not found:
        return "-"
    extremes = {min(found), max(found), min(found, key=lambda x: found[x].mean), max(found, key=lambda x: found[x].mean)}
    unit = "" if axis else " dB"
    return "; ".join(f"{found[x].text(_digits(metric))} at {axis}{x:g}{unit}" for x in sorted(extremes))


def _digits(metric: str) -> int:
    return 2 if metric == "psnr_db" else 3


def _name(curve: Curve) -> str:
    return f"{curve.system} at k = {curve.symbols}"


def mean_at(records: Sequence[Record], system: str, metric: str) -> float | None:
    """The mean of a reference that is one number, over all records of its name."""
    found = interval([record for record in records if record.system == system], metric)
    return found.mean if found else None
