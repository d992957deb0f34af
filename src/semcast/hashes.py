"""Hashes: short names for what a system computes with, so that a result can say of what it is one; and seeds for channels."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping

import torch
from torch import Tensor

from semcast.given import check_seed


def hash_numbers(state: Mapping[str, Tensor], *, but: tuple[str, ...] = (), code: str = "") -> str:
    """Twelve hexadecimal digits of tensors and their names, and of ``code``.

    Args:
        state: the tensors by name.
        but: the beginnings of names that do not count.
        code: what counts besides; nothing where it is empty.
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if but and name.startswith(but):
            continue
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    sha.update(code.encode())
    return sha.hexdigest()[:12]


def hash_source(cls: type, base: type) -> str:
    """Twelve hexadecimal digits of the source of a class and of its bases above ``base``; of their code where none is kept."""
    sha = hashlib.sha256()
    for part in cls.__mro__[: cls.__mro__.index(base)]:
        try:
            sha.update(inspect.getsource(part).encode())
        except (OSError, TypeError):  # typed into a console
            for name, member in sorted(vars(part).items()):
                code = getattr(inspect.unwrap(member) if callable(member) else member, "__code__", None)
                sha.update(f"{name} {code.co_code if code else ''!r} {code.co_names if code else ''!r}".encode())
    return sha.hexdigest()[:12]


def generator_for(seed: int, name: str, draw: int = 0) -> torch.Generator:
    """The channel's randomness for one photo: the same for every system, SNR and k, another per photo and draw.

    Raises:
        BadInput: the seed is no whole number.
    """
    told = f"{check_seed(seed)}\n{name}\n{draw}".encode(errors="surrogateescape")  # a file's name need not be UTF-8
    digest = hashlib.sha256(told).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
