"""A face embedder out of its ONNX file as a differentiable network: the same dozen operators, executed by torch.

onnxruntime gives no gradients, and a loss on a person's identity needs them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.errors import BadInput, Damaged, Missing
from semcast.networks.precision import exact

SIDE = 112
"""Side in pixels of the aligned crops that such networks take."""


class _Step(NamedTuple):
    """One operator: what it reads (names of values, empty where left out), what it writes, its attributes."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


def _convolve(a: dict[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    top, left, bottom, right = pads
    if (top, left) != (bottom, right):
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    return F.conv2d(x, weight, bias, a.get("strides", 1), (top, left), a.get("dilations", 1), a.get("group", 1))


def _normalise(a: dict[str, Any], x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, a.get("epsilon", 1e-5))


def _product(a: dict[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, weight = x.T if a.get("transA") else x, weight.T if a.get("transB") else weight
    y: Tensor = a.get("alpha", 1.0) * (x @ weight)
    return y if bias is None else y + a.get("beta", 1.0) * bias


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Conv": _convolve,
    "BatchNormalization": _normalise,
    "Gemm": _product,
    "MatMul": lambda a, x, y: x @ y,
    "Clip": lambda a, x, low=None, high=None: x.clamp(low, high),
    "Relu": lambda a, x: x.relu(),
    "PRelu": lambda a, x, slope: torch.where(x < 0, x * slope, x),
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x / y,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
}


class Embedder(nn.Module):
    """Aligned face crops → embeddings of unit length, in float32 on the device of its buffers.

    Its constants are buffers that no checkpoint holds: they belong to others.

    Args:
        path: the ONNX file of a network ``[N, 3, 112, 112]``, RGB 0..255 → ``[N, D]``.

    Raises:
        SemcastError: the ``onnx`` package is not installed, there is no such file, it is no such network, or it has an operator
            that is not known here.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.path = Path(path)
        steps, constants, self.first, self.last = _read(self.path)
        steps = _merge(steps, constants)
        self.names = {name: f"constant_{i}" for i, name in enumerate(constants)}
        for name, value in constants.items():
            self.register_buffer(self.names[name], value, persistent=False)
        self.steps = steps
        try:
            dims = self(torch.zeros(1, 3, SIDE, SIDE)).shape
        except (RuntimeError, KeyError, TypeError, ValueError):
            raise BadInput(f"{path} does not take face crops [N, 3, {SIDE}, {SIDE}]") from None
        if len(dims) != 2:
            raise BadInput(f"{path} does not give one embedding a face")

    def forward(self, crop: Tensor) -> Tensor:
        """Crops ``[B, 3, 112, 112]`` in [0, 1], ArcFace-aligned → ``[B, D]`` of unit length."""
        with exact(crop.device):
            values = {name: getattr(self, own) for name, own in self.names.items()}
            values[self.first] = crop.float().clamp(0, 1) * 255
            for step in self.steps:
                inputs = [values[name] if name else None for name in step.inputs]
                values[step.output] = _OPERATORS[step.operator](step.attributes, *inputs)
            return F.normalize(values[self.last], dim=1)


def _read(path: Path) -> tuple[list[_Step], dict[str, Tensor], str, str]:
    """The steps of a file, its constants by name, and the names of its input and its output."""
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise Missing("a differentiable face embedder needs onnx: pip install 'semcast[identity]'") from None
    if not path.is_file():
        raise Missing(f"there is no face embedder {path}")
    try:
        graph = onnx.load(str(path)).graph
        constants = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    except Exception:  # noqa: BLE001 - a parser of foreign bytes raises anything at all
        raise Damaged(f"{path} is not an ONNX model that can be read") from None
    strange = {node.op_type for node in graph.node} - set(_OPERATORS)
    if strange or not graph.node or not graph.input or not graph.output:
        raise BadInput(f"{path} is no embedder that can be read here (operators: {', '.join(sorted(strange)) or 'none'})")
    steps = [
        _Step(node.op_type, tuple(node.input), node.output[0], {a.name: helper.get_attribute_value(a) for a in node.attribute})
        for node in graph.node
    ]
    return steps, constants, graph.input[0].name, graph.output[0].name


def _merge(steps: list[_Step], constants: dict[str, Tensor]) -> list[_Step]:
    """The same steps, each normalisation that follows a convolution merged into its weights: half of the time is theirs."""
    uses = Counter(name for step in steps for name in step.inputs)
    made = {step.output: i for i, step in enumerate(steps)}
    left: list[_Step | None] = list(steps)
    for i, step in enumerate(steps):
        j = made.get(step.inputs[0], -1) if step.operator == "BatchNormalization" else -1
        if j < 0 or steps[j].operator != "Conv" or uses[steps[j].output] > 1 or uses[steps[j].inputs[1]] > 1:
            continue
        weight, bias, mean, variance = (constants.pop(name) for name in step.inputs[1:])
        scale = weight / (variance + step.attributes.get("epsilon", 1e-5)).sqrt()
        x, kernel, *own = steps[j].inputs
        shift = bias - mean * scale + (constants.pop(own[0]) * scale if own and own[0] else 0)
        constants[kernel] = constants[kernel] * scale[:, None, None, None]
        constants[f"{step.output}.bias"] = shift
        left[j] = None
        left[i] = _Step("Conv", (x, kernel, f"{step.output}.bias"), step.output, steps[j].attributes)
    return [step for step in left if step is not None]
