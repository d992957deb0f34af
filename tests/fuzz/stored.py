"""Weights, results and cards: bytes, headers and configurations bent, and fingerprints that are right though nothing else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as as_bytes

from semcast.bench.codecs import CodecRecord
from semcast.bench.records import Line, Record, read
from semcast.bench.store import Store
from semcast.bench.summary import summary
from semcast.codec.policy import Policy
from semcast.codec.tables import load_tables
from semcast.errors import SemcastError
from semcast.networks.segmenter import SceneParser
from semcast.privacy.knowledge import KnowledgeBase
from semcast.rivals.deepjscc import load_network
from semcast.studies.kid import KidRecord
from semcast.studies.link import LinkRecord
from semcast.studies.noise import NoiseRecord
from semcast.studies.on_air import BurstRecord
from semcast.studies.protection import ProtectionRecord
from semcast.studies.report import redo
from semcast.studies.search import OracleRecord
from semcast.weights import store
from semcast.weights.catalogue import _examine, read_card

from .harness import ROOT, Case
from .mutate import bend, bend_json, write_json

SEEDS = Path(__file__).parent / "corpus" / "weights"
RESULTS = ROOT / "results"
LOADERS: Mapping[str, Callable[[], object]] = {
    "allocation-street": lambda: Policy.load("street"),
    "parser-street": lambda: SceneParser.load_shipped("parser-street"),
    "bits-street": lambda: load_tables("street"),
    "knowledge": KnowledgeBase.load,
    "deepjscc-64": lambda: load_network("deepjscc-64"),
}
"""What reads the weights of each name, for its network or tables."""
RECORDS: Mapping[str, type[Line]] = {
    "fig3-4.jsonl": Record, "link-test.jsonl": LinkRecord, "rivals-kid.jsonl": KidRecord, "rl-asc/codecs.jsonl": CodecRecord,
    "rl-asc/oracle.jsonl": OracleRecord, "rl-asc/noise.jsonl": NoiseRecord,
    "rl-asc/protection.jsonl": ProtectionRecord, "on-air/on-air-faces.jsonl": BurstRecord,
}  # fmt: skip
TYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn)


class Stored:
    """Whatever lies where semcast looks for what it wrote itself."""

    name, seconds, megabytes = "stored", 20.0, 600

    def __init__(self, folder: Path) -> None:
        self.seeds = {path.stem: path.read_bytes() for path in sorted(SEEDS.glob("*.safetensors"))}
        self.lines = {name: _head(RESULTS / name) for name in RECORDS}
        self.signed = {name: _taken_apart(SEEDS / f"{name}.safetensors") for name in self.seeds}

    def draw(self, random: Random) -> Case:
        """Weights (bytes, header, or signed anew), a card, records, or the description of a folder of results."""
        kind = random.choice(("bytes", "header", "signed", "signed", "card", "records", "records", "run"))
        if kind in ("bytes", "header", "signed"):
            name = random.choice(list(self.seeds))
            data = self.seeds[name]
            bent = {"bytes": lambda: bend(random, data), "header": lambda: _header(random, data)}
            made = bent[kind]() if kind in bent else _signed(random, *self.signed[name])
            return Case(kind, {f"{name}.safetensors": made})
        if kind == "card":
            card = (SEEDS / "knowledge.md").read_bytes()
            return Case(kind, {"knowledge.safetensors": self.seeds["knowledge"], "knowledge.md": bend(random, card)})
        if kind == "run":
            return Case(kind, _run(random))
        return Case(kind, _records(random, self.lines))

    def run(self, case: Case, path: Path) -> None:
        """Whatever reads such files."""
        if case.kind == "run":
            redo(path.parent)
        elif case.kind == "records":
            _read_records(path)
        else:
            os.environ["SEMCAST_WEIGHTS"] = str(path.parent)
            load_tables.cache_clear()
            try:
                assert _examine(path).state  # what `models` says of it
                if case.kind == "card":
                    read_card("knowledge")
                LOADERS[path.stem]()
            finally:
                os.environ.pop("SEMCAST_WEIGHTS", None)
                load_tables.cache_clear()

    def command(self, case: Case, path: Path, out: Path) -> list[str] | None:
        """report on a folder of results."""
        return ["report", str(path.parent), "--check"] if case.kind == "run" else None


def _head(path: Path) -> list[Any]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(next(file)) for _ in range(6)]


# ---- weights ---------------------------------------------------------------------------------------------------------


def _header(random: Random, data: bytes) -> bytes:
    """Safetensors whose JSON says something else of the same bytes."""
    length = int.from_bytes(data[:8], "little")
    tree = bend_json(random, json.loads(data[8 : 8 + length]))
    text = write_json(random, tree).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _taken_apart(path: Path) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        meta = file.metadata()
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    for name, (kind, shape) in json.loads(meta.get("deflated", "{}")).items():
        stored[name] = store._inflated(stored[name], kind, shape)
    return meta["kind"], json.loads(meta["config"]), stored


def _signed(random: Random, kind: str, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    """Another configuration or other tensors under a fingerprint that is right: whoever made the file knew how to."""
    bent = dict(tensors)
    if random.random() < 0.5:
        for _ in range(random.choice((1, 1, 3))):
            config = bend_json(random, config)
    else:
        _bend_tensors(random, bent)
    text = json.dumps(config) if random.random() < 0.9 else write_json(random, config)
    text = text.encode("utf-8", "replace").decode()
    meta = {"format": store.FORMAT, "kind": kind, "config": text, "sha256": _digest(bent, kind, text)}
    if random.random() < 0.05:
        del meta[random.choice(list(meta))]
    if random.random() < 0.1:
        name = random.choice(list(bent) or ["x"])
        odd = random.choice(([-1], [0, 10**30], [2**40, 2**40], [2.5], "x", [True], [10**9]))
        meta["deflated"] = write_json(random, {name: [random.choice(("float32", "int8", "x", 3)), odd]})
    return bytes(as_bytes({name: tensor.contiguous() for name, tensor in bent.items()}, meta))


def _digest(tensors: dict[str, torch.Tensor], kind: str, text: str) -> str:
    try:
        return store._digest(tensors, kind, text)
    except (TypeError, SemcastError):
        return "0" * 64


def _bend_tensors(random: Random, tensors: dict[str, torch.Tensor]) -> None:
    name = random.choice(list(tensors))
    tensor = tensors.pop(name)
    way = random.randrange(7)
    if way == 0:
        return
    if way == 1:
        tensors[random.choice((name + ".int8_scale", name + ".int4", name[:-1], "", "é" * 1000))] = tensor
    elif way == 2:
        tensors[name] = tensor.reshape(random.choice(((-1,), (1, *tensor.shape), (*tensor.shape, 1), tuple(tensor.shape[::-1]))))
    elif way == 3:
        tensors[name] = tensor.to(random.choice(TYPES))
    elif way == 4:
        tensors[name] = tensor[: random.choice((0, 1, len(tensor) // 2))].clone() if tensor.ndim else tensor
    elif way == 5:
        tensors[name] = torch.full_like(tensor, random.choice((0, 1, -1, 127)))
    else:
        tensors[name] = tensor
        suffix = random.choice((".int8_scale", ".int4", ".int4_scale"))
        tensors[name + suffix] = torch.ones(random.choice(((), (0,), (1,), (len(tensor) if tensor.ndim else 1,), (3, 3))))


# ---- results ---------------------------------------------------------------------------------------------------------


def _records(random: Random, lines: Mapping[str, list[Any]]) -> dict[str, bytes]:
    name = random.choice(list(lines))
    kept = [dict(line) for line in lines[name]]
    for _ in range(random.choice((1, 1, 2))):
        i = random.randrange(len(kept))
        kept[i] = bend_json(random, kept[i])
    text = "".join(write_json(random, line) + "\n" for line in kept).encode("utf-8", "surrogatepass")
    if random.random() < 0.3:
        text = bend(random, text)
    return {name.replace("/", "-"): text}


def _read_records(path: Path) -> None:
    """Read them, sum them up, and go on with the file, which may take off a last line that was cut short and nothing else."""
    kind = next(kind for name, kind in RECORDS.items() if name.replace("/", "-") == path.name)
    before = path.read_bytes()
    try:
        records: list[Any] = read(path, kind)
        if kind is Record:
            summary(records)
        for record in records:
            json.loads(record.line())
        with Store(path, kind) as held:
            assert len(held.earlier) == len(records)
    finally:
        after = path.read_bytes()
        assert before.startswith(after.removesuffix(b"\n")), "lines were lost"
        assert b"\n" not in before[len(after) :], "a whole line was lost"
        assert [each.name for each in path.parent.iterdir()] == [path.name], "something was left beside it"


def _run(random: Random) -> dict[str, bytes]:
    """A folder of results whose description is bent."""
    about = json.loads((RESULTS / "run.json").read_text(encoding="utf-8"))
    name = random.choice([study for study in about if study in ("fig3", "fig4", "fading", "rivals")])
    tree: Any = {name: about[name] | {"photos": about[name]["photos"][:2]}}
    for _ in range(random.choice((0, 1, 1, 2))):
        tree = bend_json(random, tree)
    records = "".join(json.dumps(line) + "\n" for line in _head(RESULTS / "fig3-4.jsonl")).encode()
    text = write_json(random, tree).encode("utf-8", "surrogatepass")
    return {"run.json": text, random.choice(("fig3-4.jsonl", "fading.jsonl", "rivals.jsonl")): bend(random, records)}
