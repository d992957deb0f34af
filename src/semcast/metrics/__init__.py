"""What is measured of a received picture. Called, the package measures all that this computer has the files for.

>>> import torch, semcast
>>> photo = torch.rand(1, 3, 64, 64)
>>> sorted(semcast.metrics(photo, photo.flip(-1)))[-1]
'psnr_db'
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from semcast.errors import BadInput
from semcast.files import quote

if TYPE_CHECKING:
    from torch import Tensor

    from semcast.metrics.report import Metrics


@cache
def _loaded(identity: tuple[Path, ...], vgg: bool) -> Metrics:
    from semcast.metrics.report import Metrics

    return Metrics.load(identity, vgg)


class _Callable(ModuleType):
    """The package under the name of the function: ``semcast.metrics(photo, picture)``, and ``semcast.metrics.pixel``."""

    def __call__(
        self, original: Tensor, received: Tensor, *, identity: Sequence[Path | str] = (), vgg: bool = False
    ) -> dict[str, float]:
        """Measure what arrived: ``psnr_db``, ``ms_ssim``, and what this computer has the files for.

        Args:
            original: the photo that was sent, a :class:`~semcast.Picture` or ``[(B,) 3, H, W]`` in [0, 1].
            received: of the same shape (``reception.image``).
            identity: ONNX face recognisers, at most three: is it still the same person?
            vgg: LPIPS with VGG16 too, ten times as slow.

        Raises:
            BadInput: the shapes differ, or one is no picture yet.
            SemcastError: a recogniser cannot be used.
        """
        import torch

        from semcast.given import check_flag, check_levels, check_path

        for image in (original, received):
            if not isinstance(image, torch.Tensor):
                raise BadInput(f"{quote(image)} is no picture: frame a photo first, with .face(), .scene() or .whole()")
            if image.is_meta or not image.is_floating_point():
                raise BadInput(f"a picture is floats in [0, 1], not {image.dtype}" + " without values" * image.is_meta)
            check_levels("a picture that is measured", image)
        try:
            paths = [identity] if isinstance(identity, str | PathLike) else list(identity)
        except TypeError:
            raise BadInput(f"identity is the paths of face recognisers, not {quote(identity)}") from None
        models = tuple(check_path("a face recogniser", path) for path in paths)
        return _loaded(models, check_flag("vgg", vgg)).measure(original.to(received.device), received)


sys.modules[__name__].__class__ = _Callable
