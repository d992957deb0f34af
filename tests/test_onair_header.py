"""The header: what is packed is unpacked, noise is corrected or refused, and nothing impossible is believed."""

from __future__ import annotations

import numpy as np
import pytest
from on_air import header_of, hear, sound_of

from semcast.errors import BadInput, Damaged
from semcast.onair.header import VERSION, Header, crc24c, decode, encode, from_soft, soften, to_cells
from semcast.onair.transmitter import to_sound, to_wave
from semcast.onair.waveform import qpsk

KS = [1, 2, 39, 40, 41, 64, 640, 1024, 1025, 1 << 19, (1 << 20) - 1, 1 << 20]


def word(header: Header, **changed: int) -> bytes:
    """Eight bytes written by hand, with fields changed to what no Header allows."""
    values = {
        "version": header.version, "analog": int(header.scheme == 0), "k": header.symbols - 1, "system": header.system,
        "model": header.model, "snr": round(2 * (header.snr_db + 10)), "scheme": header.scheme, "flags": header.flags,
    }  # fmt: skip
    total = 0
    for (name, value), bits in zip((values | changed).items(), (3, 1, 24, 5, 16, 7, 5, 3), strict=True):
        assert name in values and 0 <= value < 1 << bits
        total = total << bits | value
    return total.to_bytes(8, "big")


def cells_with(data: bytes, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Cells of eight bytes, whatever they say."""
    with monkeypatch.context() as patched:
        patched.setattr(Header, "pack", lambda self: data)
        return to_cells(header_of(1))


@pytest.mark.parametrize("k", KS)
def test_every_k_comes_back(k: int) -> None:
    for fields in ({}, {"scheme": 31, "flags": 7}, {"flags": 1}):
        for snr_db in (-10.0, 0.5, 53.5):
            header = Header(k, 31, 0xFFFF, snr_db, **fields)
            assert header.pack() == word(header)
            read = from_soft(soften(to_cells(header), np.ones((3, 48))))
            assert read is not None and Header.unpack(read) == header


@pytest.mark.parametrize("k", [1, 40, 41, 1024, 1025])
def test_every_k_comes_back_as_sound(k: int) -> None:
    sound = sound_of(np.ones(k, complex))
    (capture,) = hear(sound)
    assert capture.header == header_of(k) and capture.share == 1


@pytest.mark.parametrize(
    "fields",
    [{"symbols": 0}, {"symbols": (1 << 20) + 1}, {"system": 0}, {"system": 32}, {"model": -1}, {"model": 1 << 16},
     {"snr_db": -10.5}, {"snr_db": 54.0}, {"snr_db": float("nan")}, {"scheme": 32}, {"flags": 8}, {"flags": -1}],
)  # fmt: skip
def test_what_a_header_cannot_hold_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="a header holds"):
        Header(**({"symbols": 640, "system": 1, "model": 1, "snr_db": 0.0} | fields))


def test_the_crc_is_a_remainder() -> None:
    """CRC-24C of 3GPP TS 38.212: D^24 + D^23 + D^21 + D^20 + D^17 + D^15 + D^13 + D^12 + D^8 + D^4 + D^2 + D + 1."""
    polynomial = sum(1 << power for power in (24, 23, 21, 20, 17, 15, 13, 12, 8, 4, 2, 1, 0))
    for bits in np.random.default_rng(0).integers(0, 2, (20, 64)):
        value = int("".join(map(str, bits)), 2) << 24
        for place in range(87, 23, -1):
            if value >> place & 1:
                value ^= polynomial << (place - 24)
        assert crc24c(bits) == value


def test_the_code_is_the_one_with_those_generators() -> None:
    """Each output bit is the parity of this bit and the eight before it, under an octal mask whose highest bit is this one."""
    bits = np.concatenate((np.random.default_rng(0).integers(0, 2, 40), np.zeros(8, int)))
    padded = np.concatenate((np.zeros(8, int), bits))
    coded = [
        sum(int(mask >> (8 - back) & 1) * padded[i + 8 - back] for back in range(9)) % 2
        for i in range(len(bits)) for mask in (0o557, 0o663, 0o711)
    ]  # fmt: skip
    assert encode(bits).tolist() == coded
    soft = 1.0 - 2.0 * encode(bits)
    soft[[0, 30, 31, 60, 90, 91, 120]] *= -1  # errors, far enough apart
    assert decode(soft).tolist() == bits.tolist()


def test_two_copies_are_read_where_one_is_not() -> None:
    """Soft bits add: at -3 dB one copy is read now and then, two of them nearly always."""
    random, read = np.random.default_rng(0), [0, 0]
    header, variance = Header(640, 3, 77, 5.0), 10**0.3
    for _ in range(30):
        noise = np.sqrt(variance / 2) * (random.standard_normal((2, 3, 48)) + 1j * random.standard_normal((2, 3, 48)))
        copies = [soften(to_cells(header) + one, np.full((3, 48), variance)) for one in noise]
        for count in (1, 2):
            data = from_soft(sum(copies[:count]))
            assert data is None or Header.unpack(data) == header
            read[count - 1] += data is not None
    assert read[1] >= 28 and read[0] < read[1]


def test_noise_alone_is_no_header() -> None:
    """A CRC of 24 bits: of 300 tries none, and zeros, which would pass it, are refused."""
    random = np.random.default_rng(1)
    assert all(from_soft(random.standard_normal(288)) is None for _ in range(300))
    assert from_soft(np.ones(288)) is None and from_soft(np.zeros(288)) is None


def test_a_newer_version_is_named() -> None:
    for version in (0, 2, 7):
        with pytest.raises(Damaged, match=f"version {version} of the waveform; this semcast reads version {VERSION}"):
            Header.unpack(word(header_of(640), version=version))


@pytest.mark.parametrize("changed", [{"analog": 0}, {"scheme": 3}, {"system": 0}, {"k": 1 << 20}, {"k": (1 << 24) - 1}])
def test_what_no_transmitter_says_is_refused(changed: dict[str, int]) -> None:
    with pytest.raises(Damaged, match="a burst (with an impossible header|whose header contradicts itself)"):
        Header.unpack(word(header_of(640), **changed))


def test_any_eight_bytes_are_a_header_or_a_sentence() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        data = random.bytes(8)
        try:
            assert Header.unpack(data).pack() == data
        except Damaged as error:
            assert "\n" not in str(error)


def test_a_newer_version_in_a_recording_is_said_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from semcast.onair.receiver import Receiver, receive_all

    cells = cells_with(word(header_of(64), version=2), monkeypatch)
    monkeypatch.setattr("semcast.onair.transmitter.to_cells", lambda header: cells)
    receiver = Receiver(12_000)
    sound = to_sound([to_wave(np.ones(64, complex), header_of(64), oversampling=2)], rate=12_000)
    assert not list(receive_all(receiver, [sound]))
    assert receiver.refused and all("version 2" in sentence for _, sentence in receiver.refused)


def test_qpsk_is_what_soften_expects() -> None:
    bits = np.random.default_rng(0).integers(0, 2, 288)
    points = qpsk(bits)
    assert np.allclose(np.abs(points), 1) and qpsk(np.array([0, 1]))[0] == pytest.approx((1 - 1j) / 2**0.5)
