"""Small matrices are for one thread: two spend their time waiting for each other, ten times as long where others compute too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    import scipy.linalg.lapack  # noqa: F401 - the controller knows the libraries that are loaded when it is made

    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra of numpy and scipy on one thread meanwhile; that of torch is left alone."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
