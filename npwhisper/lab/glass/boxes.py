"""Every box of the drawing, opened: which function it is, its shapes, and one cell computed with this run's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npwhisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, mel_filters
from npwhisper.audio.mel import hann, mel_edges
from npwhisper.lab.glass.cells import Cells
from npwhisper.lab.glass.recording import Attempt, Window
from npwhisper.lab.glass.steps import Step
from npwhisper.model import Network
from npwhisper.tracing.seam import Array

COLUMN = 3  # the feature that the examples compute


class Boxes:
    """Makes the boxes of one window.

    Parameters
    ----------
    model : Network
    window : Window
    row : int
        The row (beam or sample) of the step from which the decoder's examples are taken.
    """

    def __init__(self, model: Network, window: Window, rows: Sequence[int]) -> None:
        self.model, self.window, self.rows, self.cells = model, window, rows, Cells()
        self.boxes: dict[str, dict[str, Any]] = {}
        self.at = model.dims.n_audio_ctx // 8

    def add(self, name: str, function: str, output: Sequence[Any], cell: dict[str, Any], where: str) -> None:
        """One box; its weights' shapes follow from its name."""
        weights = {
            key.removeprefix(f"{name}."): list(value.shape)
            for key, value in self.model.weights.items()
            if key.startswith(f"{name}.") and "." not in key.removeprefix(f"{name}.")
        }
        self.boxes[name] = {
            "function": function,
            "output": list(output),
            "weights": weights,
            "cell": cell,
            "where": where,
        }

    def weight(self, name: str) -> Array:
        """A tensor of the model as floats."""
        return np.asarray(self.model.weights[name])

    def linear(self, name: str, x: Array, y: Array, where: str, output: Sequence[Any]) -> None:
        """One feature of a linear layer: x (D_in,) times a row of the weight."""
        row = self.weight(f"{name}.weight")[COLUMN]
        has_bias = f"{name}.bias" in self.model.weights
        bias = float(self.weight(f"{name}.bias")[COLUMN]) if has_bias else 0.0
        cell = self.cells.dot(x, row, float(y[COLUMN]), ("x", f"weight[{COLUMN}]"), bias=bias)
        self.add(name, "linear", output, cell, f"{where}, feature {COLUMN}")

    def norm(self, name: str, x: Array, y: Array, where: str, output: Sequence[Any]) -> None:
        """One feature of a layer norm."""
        gamma, beta = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        cell = self.cells.norm(x, gamma, beta, COLUMN, y[COLUMN])
        self.add(name, "layer_norm", output, cell, f"{where}, feature {COLUMN}")

    def heads(self, name: str, q: Array, k: Array, v: Array, scores: Array, weights: Array, y: Array, at: str) -> None:
        """Scores, softmax and weighted values of the first head: q (K,), k and v (S, K), scores and weights (S,)."""
        width, best = k.shape[1], int(weights.argmax())
        n_head, shape = len(y) // width, [len(y) // width, "T", len(k)]
        cell = self.cells.dot(q, k[best], scores[best], ("q", f"k[{best}]"), scale=width**-0.5)
        self.add(f"{name}.scores", "scores", shape, cell, f"{at}, head 0, key position {best}")
        cell = self.cells.softmax(scores, best, weights[best])
        self.add(f"{name}.softmax", "softmax", shape, cell, f"{at}, head 0, key position {best}")
        cell = self.cells.dot(weights, v[:, COLUMN], y[COLUMN], ("weights", f"v[:, {COLUMN}]"))
        self.add(f"{name}.attend", "attend", [n_head, "T", width], cell, f"{at}, head 0, feature {COLUMN}")

    def mlp(self, name: str, get: Mapping[str, Array], where: str, length: Any) -> None:
        """Out to four times the width, GELU, and back."""
        hidden, active = get[f"{name}.0"], get[f"{name}.gelu"]
        self.linear(f"{name}.0", get[f"{name}_ln"], hidden, where, [length, len(hidden)])
        cell = self.cells.gelu(hidden[COLUMN], active[COLUMN])
        self.add(f"{name}.gelu", "gelu", [length, len(hidden)], cell, f"{where}, feature {COLUMN}")
        out = get[f"{name}.2"]
        self.linear(f"{name}.2", active, out, where, [length, len(out)])
        self.whole(name, "2", "mlp")

    def whole(self, name: str, last: str, function: str) -> None:
        """A function of several layers ends with its last one, whose cell it shares."""
        box = self.boxes[f"{name}.{last}"]
        self.boxes[name] = box | {
            "function": function,
            "weights": {},
            "where": f"{box['where']}: the last layer, {last}",
        }

    def _audio_keys(self, name: str) -> None:
        """Keys and values of the audio, which are computed once for a window."""
        x, at = self.window.rows["encoder.ln_post"], self.at
        for part in ("key", "value"):
            y = self.window.keys[f"{name}.{part}"]
            shape = [self.model.dims.n_audio_ctx, len(x)]
            self.linear(f"{name}.{part}", x, y[at], f"position {at} ({at * 0.02:.2f} s)", shape)

    def encoder(self) -> None:
        """Everything from the mel spectrogram to what the decoder is given, at one position."""
        rows, at, n = self.window.rows, self.at, self.model.dims.n_audio_ctx
        self._convolutions(rows)
        x = rows["encoder.gelu.2"] + self.weight("encoder.positional_embedding")[at]
        where = f"position {at} ({at * 0.02:.2f} s)"
        for i in range(self.model.dims.n_audio_layer):
            name = f"encoder.blocks.{i}"
            self._encoder_block(name, x, rows, where, n)
            x = rows[name]
        self.norm("encoder.ln_post", x, rows["encoder.ln_post"], where, [n, len(x)])

    def _convolutions(self, rows: Mapping[str, Array]) -> None:
        at, frame = self.at, 2 * self.at
        n = 2 * self.model.dims.n_audio_ctx
        for name, x, y, label, length in (
            ("encoder.conv1", self.window.mel[:, frame - 1 : frame + 2], rows["encoder.conv1"][:, 1], "mel", n),
            ("encoder.conv2", rows["encoder.gelu"], rows["encoder.conv2.2"], "x", n // 2),
        ):
            kernel, bias = self.weight(f"{name}.weight")[COLUMN].ravel(), float(self.weight(f"{name}.bias")[COLUMN])
            labels = (f"{label}, three frames", f"weight[{COLUMN}]")
            cell = self.cells.dot(x.ravel(), kernel, y[COLUMN], labels, bias=bias)
            where = f"channel {COLUMN}, {'frame' if length == n else 'position'} {frame if length == n else at}"
            self.add(name, "conv1d", [len(y), length], cell, where)
        conv, active = rows["encoder.conv1"][:, 1], rows["encoder.gelu"][:, 1]
        cell = self.cells.gelu(conv[COLUMN], active[COLUMN])
        self.add("encoder.gelu", "gelu", [len(conv), n], cell, f"channel {COLUMN}, frame {frame}")

    def _encoder_block(self, name: str, x: Array, rows: Mapping[str, Array], where: str, n: int) -> None:
        width, shape = len(x) // self.model.dims.n_audio_head, [n, len(x)]
        attn, normed = f"{name}.attn", rows[f"{name}.attn_ln"]
        self.norm(f"{name}.attn_ln", x, normed, where, shape)
        for part in ("query", "key", "value"):
            self.linear(f"{attn}.{part}", normed, rows[f"{attn}.{part}"], where, shape)
        k, v = self.window.keys[f"{attn}.key"], self.window.keys[f"{attn}.value"]
        merged = rows[f"{attn}.merge_heads"]
        q = rows[f"{attn}.query"][:width]
        self.heads(attn, q, k, v, rows[f"{attn}.scores"], rows[f"{attn}.softmax"], merged, where)
        self.linear(f"{attn}.out", merged, rows[f"{attn}.out"], where, shape)
        self.whole(attn, "out", "self_attention")
        self.norm(f"{name}.mlp_ln", x + rows[attn], rows[f"{name}.mlp_ln"], where, shape)
        self.mlp(f"{name}.mlp", rows, where, n)
        terms = [("x", x), ("self-attention", rows[attn]), ("mlp", rows[f"{name}.mlp"])]
        cell = self.cells.add([(label, y[COLUMN]) for label, y in terms], rows[name][COLUMN])
        self.add(name, "encoder_block", shape, cell, f"{where}, feature {COLUMN}")

    def decoder(self, attempt: Attempt) -> None:
        """Everything from the last token to the logits, at one step."""
        last = len(attempt.values) - 1
        row, values, step = self.rows[last], attempt.values[last], attempt.steps[last]
        get = _Last(values, row)
        where, token = f"step {last + 1}", int(step.last[row])
        table, x = self.weight("decoder.token_embedding.weight"), get["decoder.token_embedding"]
        cell = self.cells.lookup(table[token], token)
        self.add("decoder.token_embedding", "embedding", ["T", len(x)], cell, f"{where}, token {token}")
        x = x + self.weight("decoder.positional_embedding")[step.length - 1]
        for i in range(self.model.dims.n_text_layer):
            self._decoder_block(f"decoder.blocks.{i}", x, get, attempt, where)
            x = get[f"decoder.blocks.{i}"]
        normed = get["decoder.ln"]
        self.norm("decoder.ln", x, normed, where, ["T", len(x)])
        self._cache(step, values)
        self._audio_cache()
        self._mask(step)
        best = int(get["decoder"].argmax())
        cell = self.cells.dot(normed, table[best], get["decoder"][best], ("x", f"embedding[{best}]"))
        self.add("decoder.logits", "logits", ["T", len(table)], cell, f"{where}, token {best}, the likeliest")

    def _cache(self, step: Step, values: Mapping[str, Array]) -> None:
        """How many positions the first block's self-attention looks at."""
        scores, new = values["decoder.blocks.0.attn.scores"], step.fed.shape[1]
        held = step.length - new
        cell = self.cells.add([("held before", held), ("read now", new)], scores.shape[-1])
        heads, width = scores.shape[1], self.model.dims.n_text_state // scores.shape[1]
        where = f"the number of positions, step {len(self.window.attempts[-1].values)}"
        self.add("KeyValues", "KeyValues", [len(step.fed), heads, scores.shape[-1], width], cell, where)

    def _audio_cache(self) -> None:
        """The keys and values of the audio: the cell is that of the first block's keys."""
        dims, first = self.model.dims, self.boxes["decoder.blocks.0.cross_attn.key"]
        heads = dims.n_text_head
        shape = [dims.n_text_layer, 2, 1, heads, dims.n_audio_ctx, dims.n_text_state // heads]
        self.add("start_cache", "start_cache", shape, first["cell"], f"block 0, the key of {first['where']}")

    def _mask(self, step: Step) -> None:
        """What the middle query of a call may not see; a call that reads one token needs no mask."""
        mask = self.window.mask
        if mask is None:
            cell = {"kind": "mask", "queries": 1, "keys": step.length}
            self.add("causal_mask", "causal_mask", [1, step.length], cell, "every step, which reads one token")
            return
        t = (len(mask) - 1) // 2
        where = f"row {t}, column {t + mask.shape[1] - len(mask) + 1}, of a call that reads {len(mask)} tokens at once"
        self.add("causal_mask", "causal_mask", mask.shape, self.cells.mask(mask, t), where)

    def _decoder_block(self, name: str, x: Array, get: _Last, attempt: Attempt, where: str) -> None:
        width, shape = len(x) // self.model.dims.n_text_head, ["T", len(x)]
        history = [(values, self.rows[t]) for t, values in enumerate(attempt.values)]
        for part in ("attn", "cross_attn"):
            attn, is_cross = f"{name}.{part}", part == "cross_attn"
            if is_cross:
                self._audio_keys(attn)
            normed = get[f"{attn}_ln"]
            self.norm(f"{attn}_ln", x, normed, where, shape)
            for w in ("query",) if is_cross else ("query", "key", "value"):
                self.linear(f"{attn}.{w}", normed, get[f"{attn}.{w}"], where, shape)
            if is_cross:
                k, v = (self.window.keys[f"{attn}.{w}"] for w in ("key", "value"))
            else:
                k, v = (
                    np.concatenate([values[f"{attn}.{w}"][row] for values, row in history])[:, :width]
                    for w in ("key", "value")
                )
            scores, weights = get.head(f"{attn}.scores"), get.head(f"{attn}.softmax")
            merged = get[f"{attn}.merge_heads"]
            self.heads(attn, get[f"{attn}.query"][:width], k, v, scores, weights, merged, where)
            self.linear(f"{attn}.out", merged, get[f"{attn}.out"], where, shape)
            self.whole(attn, "out", "cross_attention" if is_cross else "self_attention")
            x = x + get[attn]
        self.norm(f"{name}.mlp_ln", x, get[f"{name}.mlp_ln"], where, shape)
        self.mlp(f"{name}.mlp", get, where, "T")
        terms = [("x", x - get[f"{name}.attn"] - get[f"{name}.cross_attn"])]
        terms += [(label, get[f"{name}.{part}"]) for label, part in PARTS]
        cell = self.cells.add([(label, y[COLUMN]) for label, y in terms], get[name][COLUMN])
        self.add(name, "decoder_block", shape, cell, f"{where}, feature {COLUMN}")

    def sound(self, samples: Array | None, start: float) -> None:
        """One number of the power of each frequency, of a filter, and of the spectrogram, in one frame.

        The power is that of the recording's first 30 seconds, as far as they hold the window's frame.
        """
        power, mel, bin_ = self.window.power, self.window.mel, 10
        frame = 2 * self.at
        place = frame + round(start * SAMPLE_RATE / HOP_LENGTH)  # in the recording
        filters, edges = mel_filters(len(mel)), mel_edges(len(mel))
        cell = self.cells.triangle(edges[bin_ : bin_ + 3], int(filters[bin_].argmax()), float(filters[bin_].max()))
        self.add("mel_filters", "mel_filters", list(filters.shape), cell, f"bin {bin_}, frequency {cell['at']}")
        if power is None or place >= power.shape[1]:
            return
        cell = self.cells.dot(filters[bin_], power[:, place], 0.0, ("filter", "power"))
        cell |= {"kind": "mel", "recorded": float(mel[bin_, frame]), "log": float(np.log10(max(cell["sum"], 1e-10)))}
        cell["result"] = (cell["log"] + 4.0) / 4.0
        for name in ("mel", "compress"):
            self.add(name, "compress", list(mel.shape), cell, f"bin {bin_}, frame {frame}")
        first = HOP_LENGTH * place - N_FFT // 2
        if samples is not None and first >= 0 and first + N_FFT <= len(samples):
            cell = self.cells.power(samples[first : first + N_FFT] * hann(), bin_, power[bin_, place])
            self.add("stft", "stft", [len(power), len(mel[0])], cell, f"frequency {bin_}, frame {place}")

    def timing(self) -> None:
        """One cell of each stage of the word times."""
        stages = self.window.timing
        if "dtw" not in stages:
            return
        weights, standard, smooth, matrix = (
            stages[n] for n in ("softmax", "standardise", "median_filter", "token_map")
        )
        row = min(len(stages["tokens"]) // 2, weights.shape[1] - 2)
        frame = int(matrix[row].argmax())
        frame = min(max(frame, 3), weights.shape[2] - 4) if weights.shape[2] > 8 else frame
        where, shape = f"head 0, row {row}, frame {frame}", list(weights.shape)
        cell = self.cells.standardised(weights[0, :, frame], row, standard[0, row, frame])
        self.add("standardise", "standardise", shape, cell, where)
        if weights.shape[2] > 8:
            cell = self.cells.median(standard[0, row, frame - 3 : frame + 4], smooth[0, row, frame])
            self.add("median_filter", "median_filter", shape, cell, where)
        cell = self.cells.mean(smooth[:, row, frame], matrix[row, frame])
        self.add("token_map", "token_map", list(matrix.shape), cell, f"row {row}, frame {frame}")
        self._path(stages["dtw_cost"], stages["dtw"])
        self._warping(stages["dtw_cost"], matrix, row, frame)

    def _warping(self, cost: Array, matrix: Array, row: int, frame: int) -> None:
        """The cost of a cell; its rows leave out the start sequence, which the matrix still has, and the end."""
        i = row - (len(matrix) - 1 - len(cost))
        if 0 < i < len(cost) and 0 < frame < cost.shape[1]:
            cell = self.cells.cheapest(cost, i, frame, float(-matrix[row, frame]))
            self.add("dtw", "dtw_cost", list(cost.shape), cell, f"row {i}, frame {frame}")

    def _path(self, cost: Array, path: Array) -> None:
        """Where the path came from, at its middle."""
        inner = [k for k in range(1, path.shape[1]) if path[0, k] > 0 and path[1, k] > 0]
        if inner:
            k = inner[len(inner) // 2]
            (i, j), before = path[:, k].tolist(), path[:, k - 1].tolist()
            cell = self.cells.cheapest_neighbour(cost, i, j, before)
            self.add("backtrace", "backtrace", list(path.shape), cell, f"row {i}, frame {j}")


PARTS = (("self-attention", "attn"), ("cross-attention", "cross_attn"), ("mlp", "mlp"))


class _Last(Mapping[str, Array]):
    """The last position of one row of the values of a step."""

    def __init__(self, values: Mapping[str, Array], row: int) -> None:
        self.values_, self.row = values, row

    def __getitem__(self, name: str) -> Array:
        return self._last(self.values_[name])

    def _last(self, value: Array) -> Array:
        """The last position of the row; inside cross-attention the rows of a window lie one after the other."""
        flat = value.reshape(-1, value.shape[-1])
        return flat[(self.row + 1) * (len(flat) // len(self.values_["decoder.token_embedding"])) - 1]

    def head(self, name: str) -> Array:
        """The first head of scores or weights: (S,); rows of a window are further queries to its audio."""
        value = self.values_[name]
        if "cross_attn" not in name:
            return value[self.row, 0, -1]
        per_row = value.shape[2] // max(1, len(self.values_["decoder.token_embedding"]))
        return value[0, 0, (self.row + 1) * per_row - 1]

    def __iter__(self) -> Any:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)
