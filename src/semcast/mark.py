"""The mark of a picture that a network painted: what it says, and its XMP.

XMP is the metadata that PNG, JPEG, WebP and TIFF all carry. The mark is the IPTC's *digital source type* for pictures made by a
trained model (IPTC Photo Metadata Standard 2023.1, "Digital Source Type"), which image software and archives read, beside fields
of our own that say which system painted from how many symbols. What is read may come from anybody: it is bounded in size, no
document type and so no entity is accepted, and what is not exactly a mark is none.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from semcast.errors import BadInput, SemcastError
from semcast.files import quote

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""The IPTC's term for media created by a model that was trained on examples."""

MAX_XMP = 65_000
"""Bytes of XMP that are read: what fits into one segment of a JPEG."""

_OURS = "urn:semcast:mark:1/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
MOST_TEXT = 200
"""Letters of each text of a mark."""


def _version() -> str:
    try:
        return version("semcast")
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Mark:
    """What a picture's file says of the network that painted it.

    Args:
        system: the name of the system or codec.
        symbols: k, the complex symbols that carried data; None for a file that crossed no channel.
        snr_db: of the channel in dB; None where there was none.
        channel: its name; empty where there was none.
        fingerprint: of the system's weights.
        version: of semcast.
        what: what was done to the picture.
        doubt: why it is unsure that it shows what was sent; "" where it is not.

    Raises:
        SemcastError: a text is over 200 characters or holds what cannot be printed, k is below 1, or the SNR is not finite.

    >>> Mark("generative", symbols=640, snr_db=5.0, channel="awgn", version="0.2").sentence
    'painted by a network: generative, k = 640, 5 dB, awgn (semcast 0.2)'
    """

    system: str
    symbols: int | None = None
    snr_db: float | None = None
    channel: str = ""
    fingerprint: str = ""
    version: str = _version()
    what: str = "painted"
    doubt: str = ""

    def __post_init__(self) -> None:
        for name in ("system", "channel", "fingerprint", "version", "what", "doubt"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > MOST_TEXT or not value.isprintable():
                raise BadInput(f"a mark's {name} must be printable text of at most {MOST_TEXT} characters")
        if not self.system or not self.what:
            raise BadInput("a mark names the system and what it did")
        if self.symbols is not None and (type(self.symbols) is not int or not 1 <= self.symbols <= 2**53):
            raise BadInput(f"a mark's k must be a whole number from 1, not {quote(self.symbols)}")
        if self.snr_db is not None and (type(self.snr_db) not in (int, float) or not math.isfinite(self.snr_db)):
            raise BadInput(f"a mark's SNR must be a finite number, not {quote(self.snr_db)}")

    @property
    def sentence(self) -> str:
        """The mark in words."""
        found = [self.system]
        if self.symbols is not None:
            found.append(f"k = {self.symbols}")
        if self.snr_db is not None:
            found.append(f"{self.snr_db:g} dB")
        if self.channel:
            found.append(self.channel)
        told = f"{self.what} by a network: {', '.join(found)}" + (f" (semcast {self.version})" if self.version else "")
        return told + (f"; unsure: {self.doubt}" if self.doubt else "")


def write_xmp(mark: Mark) -> bytes:
    """The mark as an XMP packet."""
    values = {name: str(value) for name, value in asdict(mark).items() if value is not None}
    ours = "".join(f" semcast:{name}={quoteattr(value)}" for name, value in values.items())
    tool = quoteattr(f"semcast {mark.version}".strip())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="{_IPTC}"'
        f' xmlns:semcast="{_OURS}" xmp:CreatorTool={tool} Iptc4xmpExt:DigitalSourceType="{TRAINED}"{ours}/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def read_xmp(packet: bytes) -> Mark | None:
    """The mark of an XMP packet, also after other software wrote it anew; None where there is none, or no well-formed one.

    >>> read_xmp(write_xmp(Mark("linear-gan", 64, -2.5, "rayleigh", "abc", "0.2"))).sentence
    'painted by a network: linear-gan, k = 64, -2.5 dB, rayleigh (semcast 0.2)'
    """
    if len(packet) > MAX_XMP:
        return None
    parser = expat.ParserCreate(namespace_separator=" ")
    found: dict[str, str] = {}
    inside: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("XMP has no document type")

    def start(tag: str, attributes: dict[str, str]) -> None:
        inside.append(tag)
        found.update(attributes)
        found[tag] = ""

    def end(_: str) -> None:
        inside.pop()

    def text(data: str) -> None:
        if inside:
            found[inside[-1]] += data

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(packet.rstrip(b"\0 \n"), True)
    except (expat.ExpatError, ValueError):
        return None
    if found.get(f"{_IPTC} DigitalSourceType", "").strip() != TRAINED:
        return None
    return _of_texts({field.name: found.get(f"{_OURS} {field.name}") for field in fields(Mark)})


def write_text(mark: Mark) -> str:
    """The mark as one line of JSON, for the text chunk ``semcast`` of a PNG."""
    return json.dumps(asdict(mark))


def read_text(text: str) -> Mark | None:
    """The mark of such a line; None where it is none."""
    if len(text) > MAX_XMP:
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    return _of_texts({name: None if value is None else str(value) for name, value in values.items()})


def _of_texts(values: dict[str, str | None]) -> Mark | None:
    known = {field.name for field in fields(Mark)}
    texts = {name: value for name, value in values.items() if name in known and value is not None}
    try:
        symbols, snr = texts.pop("symbols", None), texts.pop("snr_db", None)
        return Mark(
            **{"system": "", "version": ""} | texts,
            symbols=None if symbols is None else int(symbols),
            snr_db=None if snr is None else float(snr),
        )
    except (SemcastError, ValueError):
        return None
