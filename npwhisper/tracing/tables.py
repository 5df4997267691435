"""Tables, as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be, the first on the left and the others on the right.

    >>> print(text_table(["name", "calls"], [["mlp", "12"], ["softmax", "6"]]))
    name     calls
    mlp         12
    softmax      6
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(_pad, range(len(widths)), line, widths)).rstrip() for line in lines)


def _pad(column: int, cell: str, width: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """The same as HTML; every text is escaped.

    >>> html_table(["a < b"], [["yes"]], "caption")
    '<table><caption>caption</caption><tr><th>a &lt; b</th></tr><tr><td>yes</td></tr></table>'
    """
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f"<table><caption>{escape(caption)}</caption><tr>{heads}</tr>{body}</table>"
