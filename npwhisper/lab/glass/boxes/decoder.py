"""The boxes of the decoder, at one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from npwhisper.lab.glass.boxes.cache import audio_cache_box, cache_box, mask_box
from npwhisper.lab.glass.boxes.layers import Boxes, Place
from npwhisper.lab.glass.recording import Attempt
from npwhisper.tracing.seam import Array


class DecoderBoxes:
    """Adds the boxes of the decoder, at the last step whose values were kept.

    Parameters
    ----------
    boxes : Boxes
    attempt : Attempt
    rows : sequence of int
        The row (beam or sample) of the chosen text at each step.
    """

    def __init__(self, boxes: Boxes, attempt: Attempt, rows: Sequence[int]) -> None:
        self.boxes, self.values = boxes, attempt.values[-1]
        self.history = list(zip(attempt.values, rows, strict=False))
        n, row = len(attempt.values), rows[len(attempt.values) - 1]
        self.step = attempt.steps[n - 1]
        self.token = int(self.step.last[row])
        self.place = Place(Last(self.values, row), f"step {n}", "T")

    def all(self) -> None:
        """From the last token to the logits."""
        x = self.embedding()
        for i in range(self.boxes.model.dims.n_text_layer):
            x = self.block(f"decoder.blocks.{i}", x)
        self.boxes.norm("decoder.ln", x, self.place)
        cache_box(self.boxes, self.step, self.values)
        audio_cache_box(self.boxes)
        mask_box(self.boxes, self.step)
        self.logits()

    def embedding(self) -> Array:
        """The token's row of the table; returns it with the positional embedding added."""
        table, x = self.boxes.weight("decoder.token_embedding.weight"), self.place.values["decoder.token_embedding"]
        cell, where = self.boxes.cells.lookup(table[self.token], self.token), f"{self.place.where}, token {self.token}"
        self.boxes.add("decoder.token_embedding", "embedding", ["T", len(x)], cell, where)
        return x + self.boxes.weight("decoder.positional_embedding")[self.step.length - 1]

    def block(self, name: str, x: Array) -> Array:
        """Self-attention, cross-attention and mlp, which are added to `x`; returns the sum."""
        boxes, get, place = self.boxes, self.place.values, self.place
        attn, cross, mlp = f"{name}.attn", f"{name}.cross_attn", f"{name}.mlp"
        boxes.attention(attn, "self_attention", x, self._text_keys(attn), place)
        self._audio_keys(cross)
        keys = boxes.window.keys[f"{cross}.key"], boxes.window.keys[f"{cross}.value"]
        boxes.attention(cross, "cross_attention", x + get[attn], keys, place)
        boxes.mlp(mlp, x + get[attn] + get[cross], place)
        terms = {"x": x, "self-attention": get[attn], "cross-attention": get[cross], "mlp": get[mlp]}
        boxes.total(name, "decoder_block", terms, place)
        return get[name]

    def _text_keys(self, name: str) -> list[Array]:
        """Keys and values of the first head for all tokens so far: (T, K) each."""
        width = self.boxes.model.dims.n_text_state // self.boxes.model.dims.n_text_head
        return [
            np.concatenate([values[f"{name}.{part}"][row] for values, row in self.history])[:, :width]
            for part in ("key", "value")
        ]

    def _audio_keys(self, name: str) -> None:
        """Projections of the audio to keys and values, computed once per window."""
        window, at, n = self.boxes.window, self.boxes.at, self.boxes.model.dims.n_audio_ctx
        values = {f"{name}.{part}": window.keys[f"{name}.{part}"][at] for part in ("key", "value")}
        place = Place(values, f"position {at} ({at * 0.02:.2f} s)", n)
        for layer in values:
            self.boxes.linear(layer, window.rows["encoder.ln_post"], place)

    def logits(self) -> None:
        """The most probable token: the final vector times its embedding."""
        table, logits = self.boxes.weight("decoder.token_embedding.weight"), self.place.values["decoder"]
        best, normed = int(logits.argmax()), self.place.values["decoder.ln"]
        cell = self.boxes.cells.dot(normed, table[best], logits[best], ("x", f"embedding[{best}]"))
        where = f"{self.place.where}, token {best}, the most probable"
        self.boxes.add("decoder.logits", "logits", ["T", len(table)], cell, where)


class Last(Mapping[str, Array]):
    """The values of a step at the last position of one row; of scores and weights, the first head."""

    def __init__(self, values: Mapping[str, Array], row: int) -> None:
        self.all, self.row = values, row

    def __getitem__(self, name: str) -> Array:
        value = self.all[name]
        if name.endswith((".scores", ".softmax")):
            return self._head(value, is_cross="cross_attn" in name)
        flat = value.reshape(-1, value.shape[-1])  # in cross-attention the rows are concatenated
        return flat[(self.row + 1) * (len(flat) // self._n_rows) - 1]

    def _head(self, value: Array, is_cross: bool) -> Array:
        """The weights (S,) of the first head; in cross-attention the rows of a window are stacked as queries."""
        if not is_cross:
            return value[self.row, 0, -1]
        return value[0, 0, (self.row + 1) * (value.shape[2] // self._n_rows) - 1]

    @property
    def _n_rows(self) -> int:
        return len(self.all["decoder.token_embedding"])

    def __iter__(self) -> Iterator[str]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)
