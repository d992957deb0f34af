"""Which number format convolutions run in: bfloat16 where the processor multiplies it natively, float32 elsewhere.

Emulated bfloat16 is slower than float32 by a factor of eight (measured on a processor with AVX2 alone); native, it is
three to five times as fast.
"""

from __future__ import annotations

from functools import cache

import torch

NATIVE = ("amx_bf16", "avx512_bf16", "bf16")  # x86 with AMX or AVX-512 BF16; Arm


@cache
def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in NATIVE)


def mixed() -> torch.autocast:
    """Autocast to bfloat16 where that is native; a context that changes nothing elsewhere."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16())
