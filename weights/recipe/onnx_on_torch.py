"""Run an ONNX file with torch, so that a graphics card can speak: a table of operators and a loop over the nodes.

Quantised weights are turned into ordinary numbers when the file is read; what the file quantises on the fly
(DynamicQuantizeLinear) then simply passes through. Only the operators of one small speech synthesiser are here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from onnx import numpy_helper

Values = list[Any]
Attributes = dict[str, Any]
DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float32, 11: torch.float64}


def together(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring two tensors to one device; lone numbers may stay where they are."""
    if a.device == b.device or a.ndim == 0 or b.ndim == 0:
        return a, b
    return (a.to(b.device), b) if a.device.type == "cpu" else (a, b.to(a.device))


def binary(f: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[Values, Attributes], Any]:
    return lambda x, _: f(*together(x[0], x[1]))


def unary(f: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Values, Attributes], Any]:
    return lambda x, _: f(x[0])


def ints(x: torch.Tensor) -> list[int]:
    return [int(v) for v in x.reshape(-1).tolist()]


def divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def reshape(x: Values, _: Attributes) -> torch.Tensor:
    shape = [x[0].shape[i] if n == 0 else n for i, n in enumerate(ints(x[1]))]
    return x[0].reshape(shape)


def gather(x: Values, a: Attributes) -> torch.Tensor:
    axis, index = a.get("axis", 0), x[1].to(x[0].device).long()
    if index.ndim == 0:
        return x[0].select(axis, int(x[1]))
    shape = [*x[0].shape[:axis], *index.shape, *x[0].shape[axis + 1 :]] if axis >= 0 else None
    index = torch.where(index < 0, index + x[0].shape[axis], index)
    y = x[0].index_select(axis, index.reshape(-1))
    return y.reshape(shape) if shape else y


def reduce(f: Callable[..., torch.Tensor]) -> Callable[[Values, Attributes], torch.Tensor]:
    def run(x: Values, a: Attributes) -> torch.Tensor:
        axes = ints(x[1]) if len(x) > 1 and x[1] is not None else a.get("axes")
        keep = bool(a.get("keepdims", 1))
        return f(x[0], dim=axes, keepdim=keep) if axes else f(x[0])

    return run


def cut(x: Values, _: Attributes) -> torch.Tensor:
    starts, ends = ints(x[1]), ints(x[2])
    axes = ints(x[3]) if len(x) > 3 and x[3] is not None else list(range(len(starts)))
    steps = ints(x[4]) if len(x) > 4 and x[4] is not None else [1] * len(starts)
    y = x[0]
    for s, e, axis, step in zip(starts, ends, axes, steps, strict=True):
        where: list[Any] = [slice(None)] * y.ndim
        where[axis] = slice(s, min(e, 2**62), step)
        y = y[tuple(where)]
    return y


def split(x: Values, a: Attributes) -> tuple[torch.Tensor, ...]:
    axis = a.get("axis", 0)
    if len(x) > 1 and x[1] is not None:
        return torch.split(x[0], ints(x[1]), axis)
    return torch.chunk(x[0], a["num_outputs"], axis)


def conv(x: Values, a: Attributes) -> torch.Tensor:
    bias = x[2] if len(x) > 2 else None
    pads = a.get("pads", [0, 0])
    y = F.pad(x[0], (pads[0], pads[1])) if pads[0] != pads[1] else x[0]
    pad = pads[0] if pads[0] == pads[1] else 0
    stride, dilation = a.get("strides", [1])[0], a.get("dilations", [1])[0]
    return F.conv1d(y, x[1], bias, stride, pad, dilation, a.get("group", 1))


def conv_transpose(x: Values, a: Attributes) -> torch.Tensor:
    bias, extra = x[2] if len(x) > 2 else None, a.get("output_padding", [0])[0]
    return F.conv_transpose1d(x[0], x[1], bias, a["strides"][0], a["pads"][0], extra, a.get("group", 1))


def resize(x: Values, a: Attributes) -> torch.Tensor:
    scales = [float(v) for v in x[2].tolist()] if len(x) > 2 and x[2] is not None and x[2].numel() else None
    if scales is None:
        return F.interpolate(x[0], size=ints(x[3])[2:], mode="linear" if a["mode"] == b"linear" else "nearest")
    if a["mode"] == b"linear":
        return F.interpolate(x[0], scale_factor=scales[2], mode="linear", recompute_scale_factor=False)
    return F.interpolate(x[0], scale_factor=scales[2], mode="nearest")


def short_time_fourier(x: Values, _: Attributes) -> torch.Tensor:
    """With a breath of noise: the export left out the network's own, and exact silence has no phase."""
    window, signal = x[2], x[0].reshape(x[0].shape[0], -1)
    signal = signal + 0.003 * torch.randn_like(signal)
    s = torch.stft(signal, len(window), int(x[1]), window=window, center=False, return_complex=True)
    return torch.view_as_real(s.transpose(1, 2))


def pad(x: Values, a: Attributes) -> torch.Tensor:
    p = ints(x[1])
    n = len(p) // 2
    y = F.pad(x[0].reshape(1, -1, x[0].shape[-1]), (p[n - 1], p[-1]), mode=a["mode"].decode())
    return y.reshape(*x[0].shape[:-1], -1)


def scatter(x: Values, _: Attributes) -> torch.Tensor:
    y = x[0].clone()
    index = x[1].to(y.device).long()
    y[tuple(index[..., i] for i in range(index.shape[-1]))] = x[2].to(y.dtype)
    return y


def layer_norm(x: Values, a: Attributes) -> torch.Tensor:
    return F.layer_norm(x[0], x[1].shape, x[1], x[2] if len(x) > 2 else None, a.get("epsilon", 1e-5))


def skip_layer_norm(x: Values, a: Attributes) -> torch.Tensor:
    total = x[0] + x[1] + (x[4] if len(x) > 4 and x[4] is not None else 0)
    return F.layer_norm(total, x[2].shape, x[2], x[3], a.get("epsilon", 1e-12))


def fast_gelu(x: Values, _: Attributes) -> torch.Tensor:
    return F.gelu(x[0] + x[1] if len(x) > 1 and x[1] is not None else x[0], approximate="tanh")


def fused_matmul(x: Values, a: Attributes) -> torch.Tensor:
    p = x[0].transpose(-1, -2) if a.get("transA") else x[0]
    q = x[1].transpose(-1, -2) if a.get("transB") else x[1]
    return a.get("alpha", 1.0) * (p @ q)


def lstm(x: Values, a: Attributes) -> tuple[torch.Tensor, ...]:
    """x[1] is a torch.nn.LSTM that `ready` has made of the node's weights."""
    y, (h, c) = x[1](x[0])
    return y.reshape(*y.shape[:2], -1, a["hidden_size"]).transpose(1, 2), h, c


def squeeze(x: Values, a: Attributes) -> torch.Tensor:
    axes = ints(x[1]) if len(x) > 1 and x[1] is not None else a.get("axes")
    return x[0].squeeze(tuple(axes)) if axes else x[0].squeeze()


def unsqueeze(x: Values, a: Attributes) -> torch.Tensor:
    y = x[0]
    for axis in sorted(ints(x[1]) if len(x) > 1 else a["axes"]):
        y = y.unsqueeze(axis)
    return y


def where(x: Values, _: Attributes) -> torch.Tensor:
    device = next((v.device for v in x if v.device.type != "cpu"), x[0].device)
    return torch.where(*(v.to(device) for v in x))


def concat(x: Values, a: Attributes) -> torch.Tensor:
    device = next((v.device for v in x if v.device.type != "cpu"), x[0].device)
    return torch.cat([v.to(device) for v in x], a["axis"])


def constant_of_shape(x: Values, a: Attributes) -> torch.Tensor:
    value = torch.from_numpy(numpy_helper.to_array(a["value"]).copy()) if "value" in a else torch.zeros(1)
    return value.reshape(()).expand(ints(x[0])).clone()


def power(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.square() if b.numel() == 1 and b.device.type == "cpu" and float(b) == 2 else a**b


OPERATORS: dict[str, Callable[[Values, Attributes], Any]] = {
    "Add": binary(torch.add),
    "Sub": binary(torch.sub),
    "Mul": binary(torch.mul),
    "Div": binary(divide),
    "Pow": binary(power),
    "MatMul": binary(torch.matmul),
    "MatMulInteger": lambda x, _: x[0] @ x[1],
    "Equal": binary(torch.eq),
    "Greater": binary(torch.gt),
    "Less": binary(torch.lt),
    "GreaterOrEqual": binary(torch.ge),
    "And": binary(torch.logical_and),
    "Sqrt": unary(torch.sqrt),
    "Floor": unary(torch.floor),
    "Round": unary(torch.round),
    "Sin": unary(torch.sin),
    "Cos": unary(torch.cos),
    "Exp": unary(torch.exp),
    "Atan": unary(lambda x: torch.atan(torch.nan_to_num(x))),  # 0 / 0 where a channel is silent
    "Tanh": unary(torch.tanh),
    "Sigmoid": unary(torch.sigmoid),
    "Cast": lambda x, a: x[0].to(DTYPES[a["to"]]),
    "Clip": lambda x, _: x[0].clamp(*(None if v is None else v.to(x[0].device) for v in [*x[1:], None][:2])),
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Reshape": reshape,
    "Expand": lambda x, _: x[0] * torch.ones(ints(x[1]), dtype=x[0].dtype, device=x[0].device),
    "Transpose": lambda x, a: x[0].permute(a["perm"]),
    "Concat": concat,
    "Shape": lambda x, _: torch.tensor(x[0].shape),
    "Gather": gather,
    "Slice": cut,
    "Split": split,
    "Range": lambda x, _: torch.arange(int(x[0]), int(x[1]), int(x[2])),
    "ConstantOfShape": constant_of_shape,
    "NonZero": lambda x, _: x[0].nonzero().T,
    "ScatterND": scatter,
    "Where": where,
    "Pad": pad,
    "CumSum": lambda x, _: x[0].cumsum(int(x[1])),
    "ReduceMean": reduce(torch.mean),
    "ReduceSum": reduce(torch.sum),
    "Softmax": lambda x, a: x[0].softmax(a.get("axis", -1)),
    "LeakyRelu": lambda x, a: F.leaky_relu(x[0], a.get("alpha", 0.01)),
    "LayerNormalization": layer_norm,
    "SkipLayerNormalization": skip_layer_norm,
    "FastGelu": fast_gelu,
    "FusedMatMul": fused_matmul,
    "Conv": conv,
    "ConvInteger": lambda x, a: conv(x[:2], a),
    "ConvTranspose": conv_transpose,
    "Resize": resize,
    "STFT": short_time_fourier,
    "DynamicQuantizeLSTM": lstm,
    "DynamicQuantizeLinear": lambda x, _: (x[0], torch.tensor(1.0), torch.tensor(0)),
    "DequantizeLinear": lambda x, _: (x[0].float() - x[2].to(x[0].device)) * x[1].to(x[0].device),
}


@dataclass
class Step:
    operator: Callable[[Values, Attributes], Any]
    inputs: list[str]
    outputs: list[str]
    attributes: Attributes
    last: list[str] = field(default_factory=list)  # values that no later step needs


def whole(weight: np.ndarray[Any, Any], zero: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    """Integer weights less their zero points, which lie along one axis."""
    shape = [1] * weight.ndim
    if zero.size > 1:
        shape[axis] = zero.size
    return weight.astype(np.float32) - zero.astype(np.float32).reshape(shape)


def make_lstm(node: Any, raw: dict[str, np.ndarray[Any, Any]], size: int) -> torch.nn.LSTM:
    """ONNX keeps the gates as input, output, forget, cell; torch as input, forget, cell, output."""
    w, r, b = (raw[node.input[i]] for i in (1, 2, 3))
    scale = [raw[node.input[i]].reshape(-1, 1, 1).astype(np.float32) for i in (8, 10)]
    zero = [raw[node.input[i]].reshape(-1, 1, 1).astype(np.float32) for i in (9, 11)]
    w, r = ((v.astype(np.float32) - z) * s for v, z, s in zip((w, r), zero, scale, strict=True))
    net = torch.nn.LSTM(w.shape[1], size, bidirectional=True)
    order = np.concatenate([np.arange(size) + k * size for k in (0, 2, 3, 1)])
    with torch.no_grad():
        for d, end in enumerate(("", "_reverse")):
            getattr(net, "weight_ih_l0" + end).copy_(torch.from_numpy(w[d].T[order].copy()))
            getattr(net, "weight_hh_l0" + end).copy_(torch.from_numpy(r[d].T[order].copy()))
            getattr(net, "bias_ih_l0" + end).copy_(torch.from_numpy(b[d, : 4 * size][order].copy()))
            getattr(net, "bias_hh_l0" + end).copy_(torch.from_numpy(b[d, 4 * size :][order].copy()))
    return net


class Graph:
    """graph = Graph(path, device, [names wanted]); graph({input: tensor}) -> list of tensors."""

    def __init__(self, path: str, device: str, wanted: list[str]) -> None:
        graph = onnx.load(path).graph
        self.device, self.wanted = device, wanted
        self.raw = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.constants: dict[str, Any] = {"": None}
        self.steps: list[Step] = []
        for node in graph.node:
            self.ready(node, {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute})
        used = {n for s in self.steps for n in s.inputs}
        self.constants = {n: v for n, v in self.constants.items() if n in used}
        self.forget()
        del self.raw

    def constant(self, name: str) -> bool:
        """Whether a value is known before anything is fed; weights are copied to the device when first asked for."""
        if name not in self.constants and name in self.raw:
            t = torch.from_numpy(self.raw[name].copy())
            index = t.ndim == 0 or t.dtype in (torch.int64, torch.int32)
            self.constants[name] = t if index else t.to(self.device)
        return name in self.constants

    def ready(self, node: Any, attributes: Attributes) -> None:
        """Prepare one node: its weights as floats on the device, its operator, its names."""
        op, inputs, outputs = node.op_type, list(node.input), list(node.output)
        if op in ("ConvInteger", "MatMulInteger"):
            inputs = [inputs[0], self.weights(inputs[1], inputs[3], op)]
        if op == "DynamicQuantizeLSTM":
            self.constants[node.name] = make_lstm(node, self.raw, attributes["hidden_size"]).to(self.device)
            inputs = [inputs[0], node.name]
        if op == "DynamicQuantizeLinear":  # nothing is quantised: step 1, zero point 0
            self.constants.update({outputs[1]: torch.tensor(1.0), outputs[2]: torch.tensor(0)})
        known = [self.constant(n) for n in inputs]
        if all(known) and op != "DynamicQuantizeLinear":
            self.fold(op, inputs, outputs, attributes)
        else:
            self.steps.append(Step(OPERATORS[op], inputs, outputs, attributes))

    def weights(self, name: str, zero: str, op: str) -> str:
        new = name + " whole"
        if new not in self.constants:
            axis = 0 if op == "ConvInteger" else self.raw[name].ndim - 1
            self.constants[new] = torch.from_numpy(whole(self.raw[name], self.raw[zero], axis)).to(self.device)
        return new

    def fold(self, op: str, inputs: list[str], outputs: list[str], attributes: Attributes) -> None:
        """Compute what depends on constants only; the biases, rounded to whole steps in the file, stay as they are."""
        values = [self.constants[n] for n in inputs]
        as_is = op in ("Floor", "Cast") and values[0].is_floating_point()
        result = values[0] if as_is else OPERATORS[op](values, attributes)
        results = result if isinstance(result, tuple | list) else [result]
        self.constants.update(zip(outputs, results, strict=False))

    def forget(self) -> None:
        """Note after which step each value is needed no more."""
        seen = set(self.wanted) | set(self.constants)
        for s in reversed(self.steps):
            s.last = [n for n in {*s.inputs, *s.outputs} if n and n not in seen]
            seen.update(s.last)

    @torch.inference_mode()
    def __call__(self, feed: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        values: dict[str, Any] = {**self.constants, **feed, "": None}
        for s in self.steps:
            result = s.operator([values[n] for n in s.inputs], s.attributes)
            values.update(zip(s.outputs, result if isinstance(result, tuple | list) else [result], strict=False))
            for n in s.last:
                values.pop(n, None)
        return [values[n] for n in self.wanted]
