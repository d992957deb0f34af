"""The learned rival: its whole numbers are whole everywhere, a stream decodes to what was encoded, bytes are a limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semcast.errors import Damaged, DoesNotFit
from semcast.photos import to_tensor
from semcast.rivals.hyperprior import SCALES, Hyperprior, HyperpriorConfig, WholeConv
from semcast.rivals.hyperprior_codec import HyperpriorCodec, Tables, reach, y_tables, z_table

pytest.importorskip("constriction")


def made(seed: int = 0, *, wild: float = 0.0) -> HyperpriorCodec:
    torch.manual_seed(seed)
    network = Hyperprior(HyperpriorConfig(width=16, latent=24, hyper=8, levels=3)).eval()
    if wild:
        with torch.no_grad():
            network.log_gain += wild
    return HyperpriorCodec(network, Tables(y_tables(), z_table(network.z_logits.detach())))


def photo(height: int = 256, width: int = 256) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], -1).astype(np.uint8)


def test_whole_convolutions_are_exact_and_learn() -> None:
    layer = WholeConv(8, 8, 0, 255)
    x = torch.randint(0, 256, (1, 8, 9, 9)).float()
    exact = layer.eval()(x)
    assert torch.equal(exact, exact.round()) and exact.max() <= 255 and exact.min() >= 0
    weight = torch.floor(layer.weight.double() * 64 + 0.5).long()
    sums = torch.nn.functional.conv2d(x.long().double(), weight.double(), padding=1).long()
    assert torch.equal(exact.long(), ((sums + 32).div(64, rounding_mode="floor")).clamp(0, 255))
    learning = layer.train()(x)
    assert (learning - exact).abs().max() <= 1  # float32 may round a tie to the other side
    learning.sum().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.abs().sum() > 0)


def test_tables_are_whole_numbers_that_cover_their_gaussian() -> None:
    for index, table in enumerate(y_tables()):
        assert table.sum() == 1 << 24 and table.min() >= 1 and table.shape[1] == 2 * reach(index) + 1
        assert abs(int(table[0, : reach(index)].sum()) - int(table[0, reach(index) + 1 :].sum())) < 300
    assert reach(0) == 1 and reach(len(SCALES) - 1) == 255


@pytest.mark.parametrize("size", [(256, 256), (64, 64), (100, 70), (1, 1)])
def test_a_stream_decodes_to_what_was_encoded(size: tuple[int, int]) -> None:
    codec = made(wild=1.0)
    image = photo(*size)
    stream = codec.compress(image, 100_000)
    shown = codec.decompress(stream)
    assert shown.shape == image.shape and np.array_equal(shown, made(wild=1.0).decompress(stream))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert np.abs(codec.decompress(stream).astype(int) - shown).max() <= 1  # the picture may round; nothing is lost
    finally:
        torch.set_num_threads(threads)


def test_the_symbols_that_arrive_are_those_that_were_sent() -> None:
    codec = made(wild=1.0)
    tensor = to_tensor(photo(128, 128))
    with torch.no_grad():
        y = codec.network.analyse(tensor) * codec._gain(20)
        z = torch.floor(codec.network.hyper_analysis(y) + 0.5).clamp(-31, 31)
        mean, index = codec.network.describe(z)
        sent = torch.floor(y - mean + 0.5)
        shown = codec.network.synthesise((sent + mean) / codec._gain(20))
    stream = codec._head(20, 128, 128) + codec._code(codec.network.analyse(tensor), 20)
    back = to_tensor(codec.decompress(stream))
    assert float(index.max()) > 0 and (back - shown.clamp(0, 1)).abs().max() < 0.003


def test_bytes_are_a_limit_and_more_of_them_are_used() -> None:
    codec = made(wild=1.0)
    whole = len(codec.compress(photo(), 1_000_000))
    least = 1 + len(codec._code(codec.network.analyse(to_tensor(photo())), 0))
    stream = codec.compress(photo(), (least + whole) // 2)
    assert least <= len(stream) <= (least + whole) // 2 < whole
    with pytest.raises(DoesNotFit):
        codec.compress(photo(), 3)


def test_the_bits_of_training_are_those_of_the_coder() -> None:
    codec, levels = made(wild=1.0), 3
    tensor = to_tensor(photo())
    with torch.no_grad():
        told = torch.stack([codec.network(tensor, torch.tensor([levels - 1.0]))[1] for _ in range(8)]).mean() / 8
    real = len(codec._code(codec.network.analyse(tensor), 16 * (levels - 1)))
    assert real == pytest.approx(float(told), rel=0.1)


@pytest.mark.parametrize("seed", range(12))
def test_any_bytes_are_a_picture_or_a_sentence(seed: int) -> None:
    random = np.random.default_rng(seed)
    stream = bytes([seed * 7 % 256]) + random.bytes(int(random.integers(0, 60)))
    try:
        shown = made().decompress(stream[: 30 + seed])
        assert shown.dtype == np.uint8
    except Damaged:
        pass
    with pytest.raises(Damaged):
        made().decompress(b"")


def test_tables_travel_with_the_weights(tmp_path: object) -> None:
    codec = made()
    packed = codec.tables.pack()
    assert packed["tables.y"].dtype == torch.int32 and int(packed["tables.y"].sum()) == len(SCALES) << 24
