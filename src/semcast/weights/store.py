"""Weights as safetensors: never unpickled, never trusted before their fingerprint was checked.

A file's metadata holds ``format`` (the version), ``kind`` (what it is), ``config`` (JSON: the frozen dataclass of the
model) and ``sha256`` over config and tensors. Matrices may be stored as int8 with one fp16 scale a row, their last rows in
4 bits. Bytes that Huffman coding makes fewer are stored so, which changes neither tensors nor fingerprint: ``deflated`` tells
their types and shapes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor

from semcast.errors import BadInput, Damaged, Missing, SemcastError
from semcast.files import quote, reason_of, whole

FORMAT = "semcast-1"
_SCALE, _TAIL, _TAIL_SCALE = ".int8_scale", ".int4", ".int4_scale"
_GROUP = 64  # entries of a row that share a 4-bit scale
_HERE = Path(__file__).parent
_KINDS = {str(kind).removeprefix("torch."): kind for kind in (
    torch.float16, torch.float32, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool,
)}  # fmt: skip
C = TypeVar("C")
N = TypeVar("N", bound=torch.nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds: float32 tensors by name, the model's configuration, and its fingerprint (sha256)."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    kind: str
    fingerprint: str
    path: Path

    def configuration(self, kind: type[C], section: str | None = None) -> C:
        """The configuration (or a section of it) as its frozen dataclass; JSON's lists become tuples again."""
        values = self.config if section is None else self.config[section]
        known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})

    @property
    def version(self) -> int:
        """Of the format that they serve; 1 where they do not say.

        Raises:
            Damaged: it is no number.
        """
        with self.trusted():
            return int(self.config.get("version", 1))

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under ``prefix.``, without it."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(prefix + ".")}

    def build(
        self, make: Callable[[C], N], kind: type[C], section: str | None = None, *,
        tensors: Mapping[str, Tensor] | None = None, derived: Collection[str] = (),
        fits: Callable[[C, Mapping[str, Tensor]], bool] | None = None,
    ) -> N:  # fmt: skip
        """The network of a configuration (or of a section of it) with its tensors.

        A fingerprint says that a file was not changed, not that whoever made it meant well: sizes are compared with the tensors
        that are there before a network of those sizes takes memory.

        Args:
            make: a network from its configuration.
            kind: the configuration's dataclass.
            tensors: of that network; those under ``section.`` where none are given, or all of them without a section.
            derived: names that the network makes itself and that need not be there.
            fits: says for a network that cannot be made without numbers whether its sizes are those of the tensors.

        Raises:
            Damaged: the configuration is none, or the tensors are of another network.
        """
        given = dict(tensors if tensors is not None else self.tensors if section is None else self.part(section))
        with self.trusted():
            config = self.configuration(kind, section)
            if fits is not None and not fits(config, given):
                raise ValueError("the sizes are not those of the tensors")
            with torch.device("cpu" if fits else "meta"):
                wanted = {name: tuple(tensor.shape) for name, tensor in make(config).state_dict().items()}
            found = {name: tuple(tensor.shape) for name, tensor in given.items()}
            odd = [name for name, shape in wanted.items() if found.get(name, shape if name in derived else None) != shape]
            odd += [*(found.keys() - wanted.keys()), *(name for name, tensor in given.items() if tensor.is_complex())]
            if odd:
                one = quote(odd[0])
                raise ValueError(f"{len(odd)} tensors are missing, too many, not real or of another shape, {one} among them")
            network = make(config)
            network.load_state_dict(given, strict=False)
        return network

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Whatever becomes of sizes, names and tensors that are not those of its kind is :class:`~semcast.errors.Damaged`."""
        try:
            with warnings.catch_warnings(action="ignore"):  # torch warns of layers of no size
                yield
        except SemcastError:
            raise
        except Exception as error:  # noqa: BLE001 - configurations of a stranger can make anything go wrong
            raise Damaged(f"{self.path} does not hold what {self.kind!r} weights need ({reason_of(error)})") from None


def folders() -> list[Path]:
    """Where weights are looked for: ``$SEMCAST_WEIGHTS`` first, then the package."""
    extra = os.environ.get("SEMCAST_WEIGHTS")
    return ([Path(extra)] if extra else []) + [_HERE]


def available() -> list[Path]:
    """Every weights file there is, the first of each name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return sorted(found.values())


def find(name: str) -> Path:
    """The file of that name (or the path itself where it is one).

    Raises:
        Missing: there is none; the message lists those there are.
    """
    if name.endswith(".safetensors"):
        return Path(name)
    for folder in folders():
        path = folder / f"{name}.safetensors"
        if path.exists():
            return path
    known = ", ".join(p.stem for p in available()) or "none"
    raise Missing(f"there are no weights called {name!r} (there are: {known})")


def _digest(tensors: dict[str, Tensor], kind: str, config: str) -> str:
    sha = hashlib.sha256(f"{FORMAT}\n{kind}\n{config}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())  # numpy has not every type
    return sha.hexdigest()


def save(
    path: Path, tensors: dict[str, Tensor], *, kind: str, config: dict[str, Any],
    int8: tuple[str, ...] = (), int4: dict[str, int] | None = None,
) -> str:  # fmt: skip
    """Write fp16 weights; the file appears whole or not at all.

    Args:
        int8: matrices whose name starts with one of these are stored in 8 bits with a scale for each row.
        int4: those with this name are stored in 4 bits from that row on, with a scale for every 64 entries.

    Returns:
        the fingerprint.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        if tensor.ndim >= 2 and name.startswith(int8) and int8:
            head = (int4 or {}).get(name, len(tensor))
            rows = tensor.float().flatten(1)
            whole, stored[name + _SCALE] = _quantised(rows[:head], 127)
            stored[name] = whole.reshape(-1, *tensor.shape[1:])
            if head < len(tensor):
                tail, stored[name + _TAIL_SCALE] = _quantised(rows[head:].reshape(-1, _GROUP), 7)
                nibbles = (tail + 8).to(torch.uint8).reshape(len(tensor) - head, -1)
                stored[name + _TAIL] = nibbles[:, ::2] * 16 + nibbles[:, 1::2]
        else:
            stored[name] = tensor.half() if tensor.is_floating_point() else tensor
    stored = {k: v.clone(memory_format=torch.contiguous_format) for k, v in stored.items()}
    text = json.dumps(config, sort_keys=True)
    digest = _digest(stored, kind, text)
    _write(path, stored, {"format": FORMAT, "kind": kind, "config": text, "sha256": digest})
    return digest


def _write(path: Path, stored: dict[str, Tensor], metadata: dict[str, str]) -> None:
    written, deflated = {}, {}
    for name, tensor in stored.items():
        planes = tensor.numpy().reshape(-1, 1).view(np.uint8).T  # all low bytes, then all high ones: unlike each other
        coder = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, strategy=zlib.Z_HUFFMAN_ONLY)  # noise does not repeat itself
        data = coder.compress(planes.tobytes()) + coder.flush()
        written[name] = tensor
        if len(data) < planes.size:
            written[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            deflated[name] = [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
    with whole(path) as file:
        file.write(as_bytes(written, metadata | {"deflated": json.dumps(deflated)}))


def _inflated(data: Tensor, kind: str, shape: list[int]) -> Tensor:
    """The tensor that :func:`_write` made fewer bytes of.

    Raises:
        ValueError: the bytes are not those of such a tensor. (Huffman coding saves at most seven bits of eight, so a small file
            cannot ask for much memory.)
    """
    if kind not in _KINDS or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"no such tensor: {kind} {shape}")
    dtype = _KINDS[kind]
    size = math.prod(shape) * dtype.itemsize
    if size > 8 * data.numel():
        raise ValueError("a tensor larger than its bytes")
    decoder = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    found = decoder.decompress(data.numpy().tobytes(), size + 1)
    if len(found) != size:
        raise ValueError("a tensor of another size than its bytes")
    bytes_ = np.frombuffer(found, np.uint8).reshape(dtype.itemsize, -1).T.copy()
    return torch.from_numpy(bytes_).view(dtype).reshape(shape)


def _quantised(rows: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Whole numbers in -largest..largest (int8) and the scale of each row (fp16)."""
    scale = (rows.abs().amax(1) / largest).clamp_min(1e-6).half()  # a row of zeros needs a scale that 16 bits can hold
    return (rows / scale.float()[:, None]).round().clamp(-largest, largest).to(torch.int8), scale


def _restored(name: str, stored: dict[str, Tensor]) -> Tensor:
    """The tensor of that name as it was, but for what the format rounded away."""
    value = stored[name]
    if name + _SCALE not in stored:
        return value.float() if value.is_floating_point() else value
    value = value.float() * stored[name + _SCALE].float().reshape(-1, *[1] * (value.ndim - 1))
    if name + _TAIL not in stored:
        return value
    packed = stored[name + _TAIL]
    nibbles = torch.stack((packed // 16, packed % 16), 2).flatten(1).float() - 8
    scale = stored[name + _TAIL_SCALE].float()[:, None]
    tail = (nibbles.reshape(-1, _GROUP) * scale).reshape(len(packed), *value.shape[1:])
    return torch.cat((value, tail))


def load(name: str, *, kind: str) -> Checkpoint:
    """Read weights by name or path, as float32.

    Raises:
        Missing: there are none of that name.
        Damaged: it was changed since it was written.
        SemcastError: it cannot be read as safetensors, or is of another format or kind.
    """
    path = find(name)
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # noqa: BLE001 - beside its own errors the library raises those of torch for odd shapes
        raise Damaged(f"{path} is not a readable weights file ({reason_of(error)})") from None
    if meta.get("format") != FORMAT:
        raise BadInput(f"{path} is of format {quote(meta.get('format'))}, this version reads {FORMAT!r}")
    if meta.get("kind") != kind:
        raise BadInput(f"{path} holds {quote(meta.get('kind'))} weights, {kind!r} are needed")
    try:
        for key, (dtype, shape) in json.loads(meta.get("deflated", "{}")).items():
            stored[key] = _inflated(stored[key], dtype, shape)
        digest = _digest(stored, kind, meta.get("config", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, zlib.error) as error:  # too deep: a RuntimeError
        raise Damaged(f"{path} was changed or damaged ({reason_of(error)})") from None
    if digest != meta.get("sha256"):
        raise Damaged(f"{path} was changed or damaged: its fingerprint does not match")
    try:
        tensors = {key: _restored(key, stored) for key in stored if not key.endswith((_SCALE, _TAIL, _TAIL_SCALE))}
        config = json.loads(meta["config"])
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise Damaged(f"{path} holds no weights of this format ({reason_of(error)})") from None
    if not isinstance(config, dict):
        raise Damaged(f"{path} holds no weights of this format (its configuration is no table)")
    return Checkpoint(tensors, config, kind, digest, path)


def load_version(name: str, kind: str, version: int | None) -> Checkpoint:
    """Load weights that serve a version of a format: ``<name>`` is of the newest, ``<name>-<version>`` of an older one.

    Where a folder before holds newer ones under the name, those of a later folder serve under it as well: who trains the
    next version still reads the files of this one.

    Args:
        version: None for the newest.

    Raises:
        As :func:`load`.
    """
    newest = load(name, kind=kind)
    if version in (None, newest.version):
        return newest
    for path in (folder / f"{name}.safetensors" for folder in folders()):
        if path.exists() and path != newest.path and (older := load(str(path), kind=kind)).version == version:
            return older
    return load(f"{name}-{version}", kind=kind)
