"""Where tensors live and which number format convolutions run in there.

On a processor that is bfloat16 where it multiplies it natively and float32 elsewhere: emulated bfloat16 is slower than float32
by a factor of eight (measured on a processor with AVX2 alone); native, it is three to five times as fast. On a GPU it is
bfloat16 where that is native.
"""

from __future__ import annotations

import os
from functools import cache

import torch
from torch import Tensor

from semcast.errors import BadInput
from semcast.files import quote

NATIVE = ("amx_bf16", "avx512_bf16", "bf16")  # x86 with AMX or AVX-512 BF16; Arm


@cache
def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in NATIVE)


def mixed(device: torch.device | str = "cpu") -> torch.autocast:
    """Autocast to bfloat16 where the device has it natively; a context that changes nothing elsewhere.

    >>> with mixed("meta"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.autocast("cpu", torch.bfloat16, enabled=kind == "cpu" and has_bfloat16())


def exact(device: torch.device | str = "cpu") -> torch.autocast:
    """No autocast inside another's: what needs all digits of float32 stays in it."""
    kind = torch.device(device).type
    return torch.autocast(kind if kind == "cuda" else "cpu", enabled=False)


def computing_dtype(tensor: Tensor) -> torch.dtype:
    """The format that autocast gives a product with this tensor here and now; its own where autocast is off."""
    kind = tensor.device.type
    if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return tensor.dtype


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name; ``auto`` is the first GPU where there is one, and the processor elsewhere.

    Raises:
        BadInput: there is no such device here, or it computes nothing.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown = str(name) if isinstance(name, torch.device) else name
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError, OverflowError):
        raise BadInput(f"there is no device {quote(shown)} here; auto takes the best there is, cpu always works") from None
    if device.type == "meta":
        raise BadInput("the device meta holds shapes and no numbers: nothing can be sent or shown there")
    return device


def use_threads(most: int = 8) -> None:
    """Let torch use the processors that this process may use, at most ``most`` (one photo fills no more).

    Whoever set ``OMP_NUM_THREADS`` has chosen already, and importing the package chooses nothing.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(min(most, usable))
