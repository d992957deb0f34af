"""One visitor: the photo that they chose, framed, and nothing else of it; gone when their tab is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semcast import api
from semcast.domains import STREET
from semcast.errors import BadInput, SemcastError
from semcast.photos import Photo, resize
from semcast.sources import doubts
from semcast.web.limits import MOST_VISITORS, Pace, clean_name, read_photo

if TYPE_CHECKING:
    from torch import Tensor

    from semcast.framing import Picture


@dataclass
class Face:
    """A face that is found and aligned, and what was computed of it once.

    Args:
        picture: 256 x 256.
        kept: results by what they are of: codes of ``generative``, labels of the parser, what a protection made.
    """

    picture: Picture
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def tensor(self) -> Tensor:
        """``[1, 3, 256, 256]``."""
        return self.picture.tensor


@dataclass
class Subject:
    """A photo as the page keeps it: its face and its scene, 256 x 256 each; the photo itself is let go.

    Args:
        name: of the file.
        scene: all of it, squeezed.
        size: width and height that it had.
        face: None where none was found.
        why: why there is no face, a sentence.
        kept: results by what they are of, for the codec.
    """

    name: str
    scene: Photo
    size: tuple[int, int]
    face: Face | None
    why: str = ""
    kept: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, pixels: Photo, name: str) -> Subject:
        """Frame a photo uint8 ``[H, W, 3]``."""
        try:
            face, why = Face(api.photo(pixels, name).face()), ""
        except SemcastError as error:
            face, why = None, str(error)
        return cls(name, resize(pixels, 256), (pixels.shape[1], pixels.shape[0]), face, why)

    def fresh(self) -> Subject:
        """The same photo with nothing remembered: what one visitor does with it no other finds."""
        return Subject(self.name, self.scene, self.size, Face(self.face.picture) if self.face else None, self.why)

    def need_face(self) -> Face:
        """Its face.

        Raises:
            BadInput: there is none.
        """
        if self.face is None:
            raise BadInput(self.why)
        return self.face

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying of it, a sentence each."""
        return self.face.picture.notes if self.face else (self.why,)

    def doubts(self, domain: str) -> tuple[str, ...]:
        """What speaks against its being of a domain; asked once."""
        if domain != STREET.name:
            return ()
        if "doubts" not in self.kept:
            self.kept["doubts"] = doubts(self.scene, STREET, self.name)
        found: tuple[str, ...] = self.kept["doubts"]
        return found


class Visitor:
    """What the page knows of one open tab.

    Args:
        name: of the tab, which nobody else knows.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.subject: Subject | None = None
        self.pace = Pace()

    def take_photo(self, data: bytes, name: str) -> Subject:
        """Frame an upload and forget its bytes.

        Raises:
            SemcastError: it is no photo that is taken here.
        """
        self.count_upload()
        self.subject = Subject.of(read_photo(data, name), clean_name(name))
        return self.subject

    def count_upload(self) -> None:
        """Count a file of theirs, of whatever kind.

        Raises:
            BadInput: there were too many of late.
        """
        self.pace.count(time.monotonic())

    def need(self) -> Subject:
        """The photo that was chosen.

        Raises:
            BadInput: none was.
        """
        if self.subject is None:
            raise BadInput("choose a photo first, or take the bundled portrait")
        return self.subject

    def need_face(self) -> Face:
        """Its face.

        Raises:
            BadInput: there is none.
        """
        return self.need().need_face()


class Guests:
    """The visitors who are there now."""

    def __init__(self, most: int = MOST_VISITORS) -> None:
        self.most, self.there, self.away = most, dict[str, Visitor](), set[str]()

    @property
    def present(self) -> int:
        """How many are connected."""
        return len(self.there) - len(self.away)

    def welcome(self, name: str) -> Visitor:
        """A new visitor.

        Raises:
            BadInput: there are too many.
        """
        if self.present >= self.most:
            raise BadInput(f"{self.most} tabs are open here, the most that this page serves: close one and load it again")
        self.there[name] = Visitor(name)
        return self.there[name]

    def step_out(self, name: str) -> None:
        """A tab was closed, or its connection broke: it may come back, and keeps nobody out meanwhile."""
        if name in self.there:
            self.away.add(name)

    def come_back(self, name: str) -> None:
        """The connection of a tab is there again."""
        self.away.discard(name)

    def leave(self, name: str) -> None:
        """Forget all that a visitor had."""
        self.away.discard(name)
        gone = self.there.pop(name, None)
        if gone is not None:
            gone.subject = None
