"""A photo as bytes and back, without a channel: what every codec is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from semcast.hashes import hash_source
from semcast.photos import Photo


class BitCodec(Protocol):
    """Source coding: a photo as at most so many bytes, and back.

    To bring one, subclass it (or have the same members) and write ``compress`` and ``decompress``.
    """

    @property
    def name(self) -> str:
        """The name of the codec."""
        return type(self).__name__.lower()

    @property
    def version(self) -> str:
        """Changes with the bytes that it makes: by default a hash of the class's source."""
        return hash_source(type(self), BitCodec)

    @abstractmethod
    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """uint8 ``[height, width, 3]`` → at most ``max_bytes``. Raises DoesNotFit where nothing fits."""
        ...

    @abstractmethod
    def decompress(self, stream: bytes) -> Photo:
        """Bytes → uint8 ``[height, width, 3]``. Raises Damaged where the stream is."""
        ...
