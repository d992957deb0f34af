"""What levels mean in each version, and the network in whole numbers that codes the features of version 2."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("constriction")

from semcast.codec.concepts import CATEGORIES, GRID, Concept
from semcast.codec.context_coder import BLOCKS, SIGMOID_MOST, SPREADS, ContextCoder, count_inputs, scale_tables
from semcast.codec.entropy import TOTAL, Decoder, Encoder
from semcast.codec.ladder import LADDERS, V1, V2, Ladder, ladder_of
from semcast.errors import BadInput, Damaged
from semcast.train.context import ContextNetwork

BOTH = pytest.mark.parametrize("ladder", [V1, V2], ids=["v1", "v2"])


def features_of(ladder: Ladder, seed: int) -> np.ndarray:
    """Features ``[channels, 16, 16]`` that vary slowly, each as far as it may go."""
    rng = np.random.default_rng(seed)
    reach = np.array([ladder.reach(i) for i in range(ladder.channels)])
    waves = np.tanh(rng.normal(0, 0.3, (ladder.channels, GRID, GRID)).cumsum(1).cumsum(2) / 3)
    return (reach[:, None, None] * waves * (1 if ladder is V1 else 0.4)).astype(np.float32)


def cells_of_areas(seed: int) -> np.ndarray:
    """Cells of a few categories."""
    rng = np.random.default_rng(seed)
    centres, kinds = rng.uniform(0, GRID, (6, 2)), rng.integers(0, CATEGORIES, 6)
    places = np.stack(np.mgrid[:GRID, :GRID], -1)[:, :, None]
    return kinds[((places - centres) ** 2).sum(-1).argmin(-1)].astype(np.uint8)


def concepts_of(cells: np.ndarray) -> list[Concept]:
    return [Concept(int(c), np.flatnonzero(cells.reshape(-1) == c)) for c in np.unique(cells)]


@pytest.fixture(scope="module")
def network() -> ContextNetwork:
    """Untrained, but every weight counts."""
    torch.manual_seed(3)
    network = ContextNetwork(8)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.endswith("spread.bias"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="module")
def coder(network: ContextNetwork) -> ContextCoder:
    return network.whole()


# ---- ladders ---------------------------------------------------------------------------------------------------------


def test_versions() -> None:
    assert LADDERS == {1: V1, 2: V2} and ladder_of(2) is V2
    with pytest.raises(BadInput, match="version 7; this semcast reads versions 1, 2"):
        ladder_of(7)
    for ladder in LADDERS.values():
        assert len(ladder.sent) == len(ladder.plain) == ladder.levels
        assert ladder.sent[0] == ladder.plain[0] == 0 and list(ladder.plain) == sorted(ladder.plain)
        assert (ladder.parts[0], ladder.parts[-1]) == (0, ladder.channels)
    assert all(width % 2 == 0 for width in V2.widths)  # an edge between two steps is a whole number of 1/64
    assert V2.most.max() <= 127  # 2 K + 1 indices fit into a byte
    assert all(len({V2.reach(i) for i in range(first, last)}) == 1 for first, last in zip(BLOCKS, BLOCKS[1:], strict=False))


@BOTH
def test_quantiser_agrees_with_the_file(ladder: Ladder) -> None:
    values = np.stack([features_of(ladder, seed) for seed in range(2)]) * 1.5  # some beyond the reach
    for level in range(1, ladder.levels):
        indices = ladder.to_indices(values.transpose(0, 2, 3, 1), level)
        assert (indices < ladder.alphabet(level)).all()
        sent = ladder.dequantise(indices, level).transpose(0, 3, 1, 2)
        made = ladder.quantise(torch.from_numpy(values).double(), torch.full((2, GRID, GRID), level)).float().numpy()
        assert np.array_equal(made, sent)
        assert not sent[:, ladder.sent[level] :].any()


def test_errors_are_half_a_step_at_most() -> None:
    values = features_of(V2, 0)
    for level in range(1, V2.levels):
        made = V2.quantise(torch.from_numpy(values)[None], torch.full((1, GRID, GRID), level))[0].numpy()
        sent = V2.sent[level]
        assert np.abs(made - values)[:sent].max() <= V2.widths[level] / 128 + 1e-5
    plain = V1.quantise(torch.from_numpy(features_of(V1, 0))[None], torch.full((1, GRID, GRID), 3))
    assert (plain - torch.from_numpy(features_of(V1, 0))).abs().max() <= 1 / V1.steps[3] + 1e-6


@BOTH
def test_quantiser_passes_the_gradient_but_for_what_is_not_sent(ladder: Ladder) -> None:
    values = torch.zeros(1, ladder.channels, GRID, GRID, requires_grad=True)
    levels = torch.zeros(1, GRID, GRID, dtype=torch.long)
    levels[:, 8:] = 3
    for noise in (None, torch.Generator().manual_seed(0)):
        made = ladder.quantise(values, levels, noise)
        assert not made[:, :, :8].any() and not made[:, ladder.sent[3] :].any()
        (gradient,) = torch.autograd.grad(made.sum(), values)
        sent = (levels > 0)[:, None] & (torch.arange(ladder.channels) < ladder.sent[3])[:, None, None]
        assert torch.equal(gradient, sent.float())
        assert noise is None or made.unique().numel() > 1000


def test_finer_levels_are_nearer() -> None:
    values = torch.from_numpy(features_of(V2, 1))[None]
    errors = [float((V2.quantise(values, torch.full((1, GRID, GRID), k)) - values).square().sum()) for k in range(V2.levels)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01 * errors[0]


# ---- the coder of version 2 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(1, V2.levels))
def test_features_come_back_and_cost_what_they_take(level: int, coder: ContextCoder) -> None:
    cells, features = cells_of_areas(level), features_of(V2, level)
    costs = coder.cost_cells(features, cells)
    assert costs.shape == (V2.levels, GRID, GRID) and not costs[0].any()
    for found in concepts_of(cells):
        concept = found.code(features, level, V2)
        encoder = Encoder()
        coder.encode(concept, encoder)
        data = encoder.finish()
        back = coder.decode(replace(concept, indices=None), Decoder(data))
        assert concept.indices is not None and np.array_equal(back, concept.indices) and back.dtype == np.uint8
        bits = coder.cost_bits(concept)
        assert bits <= costs[level].reshape(-1)[concept.cells].sum() <= 1.001 * bits
        assert -2 < len(data) - bits / 8 <= 1


def test_any_bytes_decode_or_are_damaged(coder: ContextCoder) -> None:
    rng = np.random.default_rng(0)
    for level in (1, 4, 8):
        for concept in concepts_of(cells_of_areas(0)):
            try:
                found = coder.decode(replace(concept, level=level), Decoder(rng.bytes(30)))
            except Damaged:
                continue
            assert (found < V2.alphabet(level)).all()


def test_the_whole_numbers_count_as_their_float_twin(network: ContextNetwork, coder: ContextCoder) -> None:
    cells, features = cells_of_areas(5), features_of(V2, 5)
    costs = coder.cost_cells(features, cells).sum((1, 2))
    for level in range(1, V2.levels):
        levels = torch.full((1, GRID, GRID), level)
        made = V2.quantise(torch.from_numpy(features)[None], levels)
        with torch.no_grad():
            bits = float(network(made, torch.from_numpy(cells)[None], levels).sum())
        assert costs[level] == pytest.approx(bits, rel=0.1)


def test_chances_sum_to_one(network: ContextNetwork) -> None:
    """Over all values of one feature of a cell that has no neighbours."""
    level = 2
    levels = torch.zeros(1, GRID, GRID, dtype=torch.long)
    levels[0, 3, 3] = level
    cells = torch.zeros(1, GRID, GRID, dtype=torch.uint8)
    most, width = int(V2.most[level, 5]), V2.widths[level] / 64
    others = torch.zeros(1, V2.channels, GRID, GRID)
    with torch.no_grad():
        bits = []
        for step in range(-most, most + 1):
            made = others.clone()
            made[0, 5, 3, 3] = step * width
            bits.append(float(network(made, cells, levels)[0, 3, 3]))
        told = torch.zeros(1, CATEGORIES + V2.levels, 1, 1)
        told[0, [0, CATEGORIES + level]] = 1
        parts = network.blocks[1](*(torch.zeros(1, V2.channels, 1, 1),) * 3, told)
        mean, scale = float(parts[0][0, 1]), float(2 ** ((parts[1][0, 1] - 16) / 4) / 8)
    nearest = max(-most + 1, min(most - 1, round(mean / width)))
    edges = (torch.tensor([-0.5, 0.5]) * width + nearest * width - mean) / scale
    rest = bits[nearest + most] + float((edges.sigmoid() @ torch.tensor([-1.0, 1.0])).log2())  # what the other features take
    assert sum(2 ** -(each - rest) for each in bits) == pytest.approx(1, abs=1e-3)


def test_frequencies_are_whole_and_sum_up(coder: ContextCoder) -> None:
    rng = np.random.default_rng(0)
    for block, level in ((0, 8), (1, 2), (4, 7)):
        mean, number = rng.integers(-5000, 5000, (7, 4)), rng.integers(0, SPREADS, (7, 4))
        found = coder._frequencies(block, level, mean, number)
        assert found.shape == (28, 2 * V2.most[level, BLOCKS[block]] + 1)
        assert found.min() >= 1 and (found.sum(1) == TOTAL).all()


def test_only_what_comes_before_is_looked_at(network: ContextNetwork) -> None:
    """A cell's expectations hang on the cells to its left and above, and on earlier blocks: nothing that is not decoded yet."""
    levels, cells = torch.full((1, GRID, GRID), 8), torch.zeros(1, GRID, GRID, dtype=torch.uint8)
    made = torch.randn(1, V2.channels, GRID, GRID, requires_grad=True)
    found = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, args, out: found.append(out))
    network(made, cells, levels)
    for block, (mean, _) in enumerate(found):
        (gradient,) = torch.autograd.grad(mean[0, :, 5, 5].sum(), made, retain_graph=True)
        seen = {(int(y), int(x)) for y, x in gradient[0].abs().sum(0).nonzero()}
        assert seen <= {(5, 4), (4, 5), (5, 5)}
        assert not gradient[0, BLOCKS[block] :, 5, 5].any()
    for block in network.blocks:
        block._forward_hooks.clear()


def test_tables_of_another_size_are_refused(coder: ContextCoder) -> None:
    packed = coder.pack()
    back = ContextCoder.of(packed)
    features, cells = features_of(V2, 0), cells_of_areas(0)
    assert np.array_equal(back.cost_cells(features, cells), coder.cost_cells(features, cells))
    assert packed["sigmoid"].shape == (2 * SIGMOID_MOST + 1,) and packed["3.enter"].shape == (count_inputs(3), 8)
    with pytest.raises(Damaged, match="lack '2.mean'"):
        ContextCoder.of({name: value for name, value in packed.items() if name != "2.mean"})
    for name in ("1.pull", "sigmoid"):
        with pytest.raises(Damaged, match="another size"):
            ContextCoder.of(packed | {name: packed[name][..., :-1]})


def test_scales_grow_by_a_fourth_of_an_octave() -> None:
    sigmoid, inverse = scale_tables()
    assert (np.diff(sigmoid) >= 0).all() and sigmoid[SIGMOID_MOST] == 1 << 19
    assert inverse[:-4] / inverse[4:] == pytest.approx(2.0, rel=1e-3)


CHECKSUM = """
import zlib, sys
sys.path.insert(0, "tests")
import torch
from test_ladder import *
torch.manual_seed(3)
coder = ContextNetwork(8).whole()
data = b""
for level in (2, 5, 8):
    for concept in concepts_of(cells_of_areas(1)):
        encoder = Encoder()
        coder.encode(concept.code(features_of(V2, 1).round(2), level, V2), encoder)
        data += encoder.finish()
print(zlib.crc32(data), len(data))
"""


@pytest.mark.slow
def test_the_same_bytes_on_other_kernels_and_threads() -> None:
    """What is written does not hang on the instructions that a processor has, nor on how many threads share the work."""
    found = []
    for more in ({}, {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Nehalem"}):
        done = subprocess.run(
            [sys.executable, "-c", CHECKSUM], env=os.environ | more, capture_output=True, text=True, check=True,
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        )  # fmt: skip
        found.append(done.stdout)
    assert found[0] == found[1] and int(found[0].split()[1]) > 1000
