"""Weights files: what is written is read; anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from semcast.errors import SemcastError
from semcast.weights import load, save

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
