"""A drawing of the whole network, with the shape on every arrow: as text, and as a figure.

Both are made from the same `steps`, which follow from a `ModelDimensions`; a test compares their shapes with a trace.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from npwhisper.lab.plots import _pyplot
from npwhisper.model import ModelDimensions

Shape = tuple[int | str, ...]

WIDTH = 37  # characters per column
BOX = "#2E86C9"
LINE = "#7b7b7b"


class Step(NamedTuple):
    """A box of the drawing: its label, the shape on its outgoing arrow, and its name in a trace."""

    text: str
    shape: Shape
    trace: str = ""
    is_in_block: bool = False


def steps(d: ModelDimensions) -> dict[str, list[Step]]:
    """The computation for one window and T tokens, in three columns: encoder, decoder, cross-attention of a block.

    Parameters
    ----------
    d : ModelDimensions

    Returns
    -------
    dict
        Title of a column -> its list of `Step`, of which the first is the input.
    """
    return {
        f"encoder ({d.n_audio_layer} blocks)": _encoder(d),
        f"decoder ({d.n_text_layer} blocks)": _decoder(d),
        f"cross-attention ({d.n_text_head} heads)": _cross_attention(d),
    }


def _encoder(d: ModelDimensions) -> list[Step]:
    x, block = (1, d.n_audio_ctx, d.n_audio_state), "encoder.blocks.0"
    return [
        Step("log-mel spectrogram", (1, d.n_mels, 2 * d.n_audio_ctx)),
        Step("conv1, GELU", (1, d.n_audio_state, 2 * d.n_audio_ctx), "encoder.conv1"),
        Step("conv2 (stride 2), GELU", (1, d.n_audio_state, d.n_audio_ctx), "encoder.conv2"),
        Step("transpose, + positions", x, f"{block}.attn_ln"),
        Step("x + attn(attn_ln(x))", x, f"{block}.attn", is_in_block=True),
        *_mlp(x, block),
        Step("ln_post: the features", x, "encoder"),
    ]


def _decoder(d: ModelDimensions) -> list[Step]:
    x, block = (1, "T", d.n_text_state), "decoder.blocks.0"
    return [
        Step("tokens", (1, "T")),
        Step("token_embedding, + positions", x, "decoder.token_embedding"),
        Step("x + attn(attn_ln(x), mask)", x, f"{block}.attn", is_in_block=True),
        Step("x + cross_attn(ln(x), features)", x, f"{block}.cross_attn", is_in_block=True),
        *_mlp(x, block),
        Step("ln", x, "decoder.ln"),
        Step("logits: x @ embedding.T", (1, "T", d.n_vocab), "decoder.logits"),
    ]


def _mlp(x: Shape, block: str) -> list[Step]:
    wide = (*x[:2], 4 * int(x[2]))
    return [
        Step("mlp.0 of mlp_ln(x)", wide, f"{block}.mlp.0", is_in_block=True),
        Step("GELU", wide, f"{block}.mlp.gelu", is_in_block=True),
        Step("x + mlp.2", x, f"{block}.mlp.2", is_in_block=True),
    ]


def _cross_attention(d: ModelDimensions) -> list[Step]:
    """Self-attention is the same, with keys and values from x, and a mask in the decoder."""
    heads, width, inside = d.n_text_head, d.n_text_state // d.n_text_head, "decoder.blocks.0.cross_attn"
    x = (1, "T", d.n_text_state)
    return [
        Step("ln(x)", x, "decoder.blocks.0.cross_attn_ln"),
        Step("query, split_heads", (1, heads, "T", width), f"{inside}.split_heads"),
        Step("scores with the keys / √K", (1, heads, "T", d.n_audio_ctx), f"{inside}.scores"),
        Step("softmax", (1, heads, "T", d.n_audio_ctx), f"{inside}.softmax"),
        Step("mean of the values", (1, heads, "T", width), f"{inside}.attend"),
        Step("merge_heads", x, f"{inside}.merge_heads"),
        Step("out", x, f"{inside}.out"),
    ]


def draw_text(d: ModelDimensions) -> str:
    """Draw the network as text, with its columns side by side.

    Parameters
    ----------
    d : ModelDimensions

    Returns
    -------
    str

    Examples
    --------
    >>> tiny = ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)
    >>> for line in draw_text(tiny).splitlines()[2:4]:
    ...     print(line[:30].strip())
    log-mel spectrogram
    ↓ (1, 80, 3000)
    """
    columns = [[title, "", *_lines(column)] for title, column in steps(d).items()]
    height = max(map(len, columns))
    padded = [[*column, *[""] * (height - len(column))] for column in columns]
    return "\n".join("".join(f"{part:{WIDTH}}" for part in row).rstrip() for row in zip(*padded, strict=True))


def _lines(column: list[Step]) -> list[str]:
    """A line per box and per arrow, with a bar beside the boxes that repeat in every block."""
    found = []
    for step in column:
        bar = "│ " if step.is_in_block else "  "
        found += [f"{bar}{step.text}", f"{bar}   ↓ {_spelled(step.shape)}"]
    return found


def _spelled(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def plot_network(d: ModelDimensions, ax: Any = None) -> Any:
    """Draw the network: one column each for encoder, decoder and cross-attention, with the shape beside every arrow.

    Parameters
    ----------
    d : ModelDimensions
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
    """
    if ax is None:
        ax = _pyplot().subplots(figsize=(10, 8), layout="constrained")[1]
    columns = steps(d)
    for x, (title, column) in enumerate(columns.items()):
        _draw_column(ax, x, title, column)
    encoder, decoder = list(columns.values())[:2]
    _draw_features(ax, -len(encoder), 1 - _row(decoder, "cross_attn("), f"keys, values\n{_spelled(_heads(d))}")
    ax.set(xlim=(-0.42, 2.42), ylim=(0.3 - max(map(len, columns.values())), 1.9))
    ax.axis("off")
    return ax


def _heads(d: ModelDimensions) -> Shape:
    return (1, d.n_text_head, d.n_audio_ctx, d.n_text_state // d.n_text_head)


def _row(column: list[Step], text: str) -> int:
    return next(i for i, step in enumerate(column) if text in step.text)


def _draw_column(ax: Any, x: int, title: str, column: list[Step]) -> None:
    ax.text(x, 1.6, title, ha="center", weight="bold", color=LINE)
    for i, step in enumerate(column):
        box = {"boxstyle": "round,pad=0.4", "facecolor": "none", "edgecolor": BOX if step.is_in_block else LINE}
        ax.text(x, 1 - i, step.text, ha="center", va="center", bbox=box, fontsize="small", color=LINE)
        _draw_arrow(ax, (x, 0.72 - i), (x, 0.28 - i))
        ax.text(x + 0.04, 0.5 - i, _spelled(step.shape), va="center", fontsize="small", color=LINE)
    repeated = [i for i, step in enumerate(column) if step.is_in_block]
    if repeated:
        _draw_frame(ax, x, 1 - repeated[0], 1 - repeated[-1])


def _draw_frame(ax: Any, x: int, top: float, bottom: float) -> None:
    """A dashed line to the left of the boxes that repeat in every block."""
    ax.plot([x - 0.32] * 2, [top + 0.3, bottom - 0.3], color=BOX, linestyle="--")
    ax.text(x - 0.33, (top + bottom) / 2, "in every block", rotation=90, ha="right", va="center", color=BOX)


def _draw_arrow(ax: Any, begin: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate("", end, begin, arrowprops={"arrowstyle": "->", "color": LINE})


def _draw_features(ax: Any, bottom: float, row: float, label: str) -> None:
    """An arrow from the end of the encoder to the decoder's cross-attention."""
    ax.plot([0, 0.42, 0.42], [bottom + 1.3, bottom + 1.3, row], color=BOX)
    ax.text(0.44, bottom + 1.4, label, va="bottom", fontsize="small", color=BOX)
    ax.annotate("", (0.72, row), (0.42, row), arrowprops={"arrowstyle": "->", "color": BOX})
