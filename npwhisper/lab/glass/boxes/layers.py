"""The box of each kind of layer: norm, linear layer, attention, mlp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npwhisper.lab.glass.boxes.cells import Cells
from npwhisper.lab.glass.recording import Window
from npwhisper.model import Network
from npwhisper.tracing.seam import Array

COLUMN = 3  # the feature computed in the examples
HEAD = ("query", "scores", "softmax", "merge_heads")


class Place(NamedTuple):
    """One position in the encoder or the decoder.

    `values` are the recorded values by name (scores and weights: of the first head), `where` describes the position,
    `length` is the number of positions.
    """

    values: Mapping[str, Array]
    where: str
    length: int | str


def box(function: str, output: Sequence[Any], cell: dict[str, Any], where: str) -> dict[str, Any]:
    """A box without weights."""
    return {"function": function, "output": list(output), "weights": {}, "cell": cell, "where": where}


class Boxes:
    """Collects the boxes of one window; the encoder's examples are at audio position `at`."""

    def __init__(self, model: Network, window: Window) -> None:
        self.model, self.window, self.cells = model, window, Cells()
        self.boxes: dict[str, dict[str, Any]] = {}
        self.at = model.dims.n_audio_ctx // 8

    def add(self, name: str, function: str, output: Sequence[Any], cell: dict[str, Any], where: str) -> None:
        """Add a box, with the shapes of the weights of that name."""
        weights = {
            key.removeprefix(f"{name}."): list(value.shape)
            for key, value in self.model.weights.items()
            if key.startswith(f"{name}.") and "." not in key.removeprefix(f"{name}.")
        }
        self.boxes[name] = box(function, output, cell, where) | {"weights": weights}

    def weight(self, name: str) -> Array:
        """A tensor of the model, as float32."""
        return np.asarray(self.model.weights[name])

    def linear(self, name: str, x: Array, place: Place) -> None:
        """One feature of a linear layer: x (D_in,) times a row of the weight (D_out, D_in)."""
        weight = self.weight(f"{name}.weight")
        has_bias = f"{name}.bias" in self.model.weights
        bias = float(self.weight(f"{name}.bias")[COLUMN]) if has_bias else 0.0
        labels = ("x", f"weight[{COLUMN}]")
        cell = self.cells.dot(x, weight[COLUMN], float(place.values[name][COLUMN]), labels, bias=bias)
        self.add(name, "linear", [place.length, len(weight)], cell, f"{place.where}, feature {COLUMN}")

    def norm(self, name: str, x: Array, place: Place) -> None:
        """One feature of a layer norm."""
        gamma, beta = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        cell = self.cells.norm(x, gamma, beta, COLUMN, place.values[name][COLUMN])
        self.add(name, "layer_norm", [place.length, len(x)], cell, f"{place.where}, feature {COLUMN}")

    def gelu(self, name: str, x: Array, place: Place) -> None:
        """GELU of one number."""
        cell = self.cells.gelu(x[COLUMN], place.values[name][COLUMN])
        self.add(name, "gelu", [place.length, len(x)], cell, f"{place.where}, feature {COLUMN}")

    def total(self, name: str, function: str, terms: Mapping[str, Array], place: Place) -> None:
        """One feature of the residual stream after a block: the sum of its terms."""
        y, numbers = place.values[name], [(label, term[COLUMN]) for label, term in terms.items()]
        cell = self.cells.add(numbers, y[COLUMN])
        self.add(name, function, [place.length, len(y)], cell, f"{place.where}, feature {COLUMN}")

    def attention(self, name: str, function: str, x: Array, keys: Sequence[Array], place: Place) -> None:
        """An attention and the norm before it: projections, the first head, and the output projection.

        `keys` are the keys and the values of the first head: (S, K) each.
        """
        get, parts = place.values, ("query",) if function == "cross_attention" else ("query", "key", "value")
        self.norm(f"{name}_ln", x, place)
        for part in parts:
            self.linear(f"{name}.{part}", get[f"{name}_ln"], place)
        self._head(name, keys, place)
        self.linear(f"{name}.out", get[f"{name}.merge_heads"], place)
        self.whole(name, "out", function)

    def _head(self, name: str, keys: Sequence[Array], place: Place) -> None:
        """One score, one weight and one weighted value of the first head."""
        q, scores, weights, y = (place.values[f"{name}.{part}"] for part in HEAD)
        (k, v), best = keys, int(weights.argmax())
        width, n_head = k.shape[1], len(y) // k.shape[1]
        where, shape = f"{place.where}, head 0", [n_head, "T", len(k)]
        cell = self.cells.dot(q[:width], k[best], scores[best], ("q", f"k[{best}]"), scale=width**-0.5)
        self.add(f"{name}.scores", "scores", shape, cell, f"{where}, key position {best}")
        cell = self.cells.softmax(scores, best, weights[best])
        self.add(f"{name}.softmax", "softmax", shape, cell, f"{where}, key position {best}")
        cell = self.cells.dot(weights, v[:, COLUMN], y[COLUMN], ("weights", f"v[:, {COLUMN}]"))
        self.add(f"{name}.attend", "attend", [n_head, "T", width], cell, f"{where}, feature {COLUMN}")

    def mlp(self, name: str, x: Array, place: Place) -> None:
        """An mlp and the norm before it: to four times the width, GELU, and back."""
        get = place.values
        self.norm(f"{name}_ln", x, place)
        self.linear(f"{name}.0", get[f"{name}_ln"], place)
        self.gelu(f"{name}.gelu", get[f"{name}.0"], place)
        self.linear(f"{name}.2", get[f"{name}.gelu"], place)
        self.whole(name, "2", "mlp")

    def whole(self, name: str, last: str, function: str) -> None:
        """A function of several layers, with the worked example of its last layer."""
        shared = self.boxes[f"{name}.{last}"]
        where = f"{shared['where']}: the last layer, {last}"
        self.boxes[name] = shared | {"function": function, "weights": {}, "where": where}
