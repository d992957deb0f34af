"""Weights files: what is written is read; anything else is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from semcast.errors import Damaged, SemcastError
from semcast.weights import load, save, store
from semcast.weights.catalogue import read_card

TENSORS = {
    "body.weight": torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0)),
    "body.bias": torch.randn(16, generator=torch.Generator().manual_seed(1)),
    "count": torch.tensor([3]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save(path, TENSORS, kind="net", config={"width": 16})
    return path


def test_round_trip_fp16(path: Path) -> None:
    checkpoint = load(str(path), kind="net")
    assert checkpoint.config == {"width": 16}
    for name, tensor in TENSORS.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(checkpoint.tensors[name], tensor, rtol=1e-3, atol=1e-4)
    assert checkpoint.part("body").keys() == {"weight", "bias"}


def test_round_trip_int8(path: Path) -> None:
    save(path, TENSORS, kind="net", config={}, int8=("body",))
    back = load(str(path), kind="net").tensors
    assert back.keys() == TENSORS.keys()
    weight = TENSORS["body.weight"]
    step = weight.flatten(1).abs().amax(1) / 127
    assert ((back["body.weight"] - weight).flatten(1).abs().amax(1) <= 0.57 * step).all()
    torch.testing.assert_close(back["body.bias"], TENSORS["body.bias"], rtol=1e-3, atol=1e-4)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["deflated"])["body.weight"] == ["int8", list(weight.shape)]


def test_by_name_from_the_users_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(path.parent))
    assert load("net", kind="net").path == path
    with pytest.raises(SemcastError, match="net"):
        load("nothing", kind="net")


def test_changed_tensor(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SemcastError, match="changed or damaged"):
        load(str(path), kind="net")


def _with_metadata(path: Path, **changes: str) -> None:
    config = json.dumps({"width": 16}, sort_keys=True)
    meta = {"format": "semcast-1", "kind": "net", "config": config, "sha256": "0"} | changes
    save_file(load_file(path), path, metadata=meta)


def test_changed_config(path: Path) -> None:
    _with_metadata(path, config='{"width": 17}')
    with pytest.raises(SemcastError, match="changed or damaged"):
        load(str(path), kind="net")


def test_other_version(path: Path) -> None:
    _with_metadata(path, format="semcast-9")
    with pytest.raises(SemcastError, match="semcast-9"):
        load(str(path), kind="net")


def test_other_kind(path: Path) -> None:
    with pytest.raises(SemcastError, match="'net' weights, 'parser' are needed"):
        load(str(path), kind="parser")


def test_without_metadata(path: Path) -> None:
    save_file(load_file(path), path)
    with pytest.raises(SemcastError, match="format None"):
        load(str(path), kind="net")


@pytest.mark.parametrize("content", ["pickle", "empty", "cut"])
def test_not_safetensors(path: Path, content: str) -> None:
    if content == "pickle":
        torch.save(TENSORS, path)
    else:
        path.write_bytes(path.read_bytes()[: 0 if content == "empty" else -100])
    with pytest.raises(SemcastError, match="not a readable weights file"):
        load(str(path), kind="net")


def test_a_tail_in_four_bits_comes_back_in_order(path: Path) -> None:
    matrix = torch.randn(12, 128, generator=torch.Generator().manual_seed(0))
    save(path, {"basis": matrix}, kind="net", config={}, int8=("basis",), int4={"basis": 4})
    back = load(str(path), kind="net").tensors["basis"]
    scale = matrix.abs().amax(1)
    assert float(((back - matrix).abs().amax(1) / scale)[:4].max()) < 0.6 / 127
    assert float(((back - matrix).abs().amax(1) / scale)[4:].max()) < 0.6 / 7
    assert path.stat().st_size < 12 * 128 // 2 + 1200


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    values = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    save(tmp_path / "noise.safetensors", {"w": values, "k": torch.arange(7)}, kind="net", config={}, int8=("w",))
    return tmp_path / "noise.safetensors"


def test_bytes_that_coding_makes_fewer_are_coded(noise: Path) -> None:
    assert noise.stat().st_size < 64 * 256
    loaded = load(str(noise), kind="net")
    values = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    assert (loaded.tensors["w"] - values).abs().max() < 0.03
    assert loaded.tensors["k"].tolist() == list(range(7))


@pytest.mark.parametrize(
    "told",
    ["[", "[]", '{"w": 3}', '{"w": ["int8", [10000000, 1000000]]}', '{"w": ["int8", [64, 255]]}', '{"w": ["object", [1]]}',
     '{"gone": ["int8", [1]]}', '{"w": ["int8", [-1, 4]]}'],
)  # fmt: skip
def test_a_coded_tensor_that_is_told_wrongly(noise: Path, told: str) -> None:
    with safe_open(noise, framework="pt") as file:
        meta = file.metadata()
    assert "w" in json.loads(meta["deflated"])
    save_file(load_file(noise), noise, metadata=meta | {"deflated": told})
    with pytest.raises(SemcastError, match="changed or damaged"):
        load(str(noise), kind="net")


# ---- a right fingerprint is no proof of good will -----------------------------------------------------------------------------


def sign(path: Path, tensors: dict[str, torch.Tensor], config: str, **more: str) -> Path:
    """A file whose fingerprint is right, whatever is in it."""
    digest = store._digest(tensors, "net", config)
    save_file(tensors, path, {"format": store.FORMAT, "kind": "net", "config": config, "sha256": digest, **more})
    return path


@dataclass(frozen=True)
class Sizes:
    width: int = 4
    layers: tuple[int, ...] = (4,)


class Net(torch.nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(sizes.width, width) for width in sizes.layers)


GOOD = {"layers.0.weight": torch.ones(4, 4), "layers.0.bias": torch.zeros(4)}


def test_a_network_is_built_of_what_fits(tmp_path: Path) -> None:
    checkpoint = load(str(sign(tmp_path / "x.safetensors", GOOD, '{"width": 4, "layers": [4]}')), kind="net")
    network = checkpoint.build(Net, Sizes)
    assert torch.equal(network.layers[0].weight, GOOD["layers.0.weight"]) and not network.layers[0].bias.is_meta
    sectioned = {f"part.{name}": tensor for name, tensor in GOOD.items()}
    checkpoint = load(str(sign(tmp_path / "y.safetensors", sectioned, '{"part": {"width": 4}}')), kind="net")
    assert checkpoint.build(Net, Sizes, "part").layers[0].weight.shape == (4, 4)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        ('{"width": 5}', {}), ('{"layers": [4, 4]}', {}), ('{"width": "4"}', {}), ('{"width": -1}', {}), ('{"layers": 3}', {}),
        ('{"width": null}', {}), ('{"width": 1e300}', {}), ('{"width": 1000000000000}', {}),
        ('{"width": 1000000, "layers": [1000000]}', {}),  # 4 TB, if they were made before they were compared
        ("{}", {"layers.0.weight": torch.ones(4, 5)}), ("{}", {"more": torch.ones(1)}), ("{}", {"layers.0.bias": None}),
        ("{}", {"layers.0.bias": torch.zeros(4, dtype=torch.complex64)}),
    ],
)  # fmt: skip
def test_sizes_that_are_not_those_of_the_tensors(tmp_path: Path, config: str, change: dict[str, torch.Tensor | None]) -> None:
    tensors = {name: tensor for name, tensor in (GOOD | change).items() if tensor is not None}
    checkpoint = load(str(sign(tmp_path / "x.safetensors", tensors, config)), kind="net")
    with pytest.raises(Damaged, match="does not hold what 'net' weights need") as said:
        checkpoint.build(Net, Sizes)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("config", "change", "more"),
    [
        ("[1]", {}, {}), ("3", {}, {}), ("{", {}, {}), ("[" * 100_000, {}, {}), ("{}", {}, {"deflated": "[" * 100_000}),
        ("{}", {}, {"deflated": '{"layers.0.bias": ["float32", [0, 1000000000000000000000000]]}'}),
        ("{}", {}, {"deflated": '{"layers.0.bias": ["bool", [-1]]}'}), ("{}", {}, {"deflated": "3"}),
        ("{}", {"layers.0.bias.int8_scale": torch.ones(3, 3)}, {}),
        ("{}", {"layers.0.weight.int8_scale": torch.ones(4), "layers.0.weight.int4": torch.ones(1, 1)}, {}),
    ],
)  # fmt: skip
def test_what_is_no_format_of_ours(
    tmp_path: Path, config: str, change: dict[str, torch.Tensor], more: dict[str, str]
) -> None:
    path = sign(tmp_path / "x.safetensors", GOOD | change, config, **more)
    with pytest.raises(SemcastError) as said:
        load(str(path), kind="net").build(Net, Sizes)
    assert "\n" not in str(said.value) and len(str(said.value)) < 400


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.complex64])
def test_every_type_has_a_fingerprint(tmp_path: Path, dtype: torch.dtype) -> None:
    """numpy, which made them, has not every type of torch."""
    path = sign(tmp_path / "x.safetensors", {"a": torch.ones(3).to(dtype), "b": torch.ones(())}, "{}")
    assert load(str(path), kind="net").tensors["a"].shape == (3,)


@pytest.mark.parametrize("card", [b"\xff\xfe\x00", b"caf\xe9"])
def test_a_card_that_is_no_text(path: Path, card: bytes) -> None:
    path.with_suffix(".md").write_bytes(card)
    with pytest.raises(Damaged, match="cannot be read as text"):
        read_card(str(path))
