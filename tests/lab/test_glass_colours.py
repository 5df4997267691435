"""The colours of the glass box as people see them who lack one kind of cone, or all.

The matrices are Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision
Deficiency", severity 1.0, for linear RGB. Distances are CIE 1976 (L*a*b*): 2.3 is just noticeable.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import npwhisper

WEB = Path(npwhisper.__file__).parent / "lab/glass/web"
EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "achromatopsia": np.tile([0.2126729, 0.7151522, 0.0721750], (3, 1)),  # the luminance alone
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = XYZ.sum(axis=1)
APART = 20.0  # nearly ten times what is just noticeable
DASHED = r"dash", (".node.cross rect", ".wire.cross", ".stage.cross")
THICK = r"width: 2\.", (".node.text rect", ".stage.text")
BOLD = r"font-weight: 700", (".node.here text",)
SECOND_MARK = {("sound", "cross"): DASHED}  # for all eyes
IN_GREY = {
    ("text", "cross"): DASHED, ("sound", "text"): THICK, ("sound", "mark"): BOLD, ("text", "mark"): BOLD,
    ("cross", "mark"): BOLD,
}  # fmt: skip


def lab(colour: str, eyes: str = "normal") -> np.ndarray:
    """A colour like #0067a5 as L*, a* and b*, as those eyes see it."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    t = XYZ @ np.clip(EYES[eyes] @ linear, 0, 1) / WHITE
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def palette(theme: str) -> dict[str, str]:
    """The colours with a meaning, and the ground they stand on."""
    style = (WEB / "style.css").read_text(encoding="utf-8")
    block = style.split(':root[data-theme="dark"]')[theme == "dark"]
    return {name: re.search(rf"--{name}: (#\w{{6}})", block)[1] for name in ("sound", "text", "cross", "mark", "card")}  # type: ignore[index]


def scales(theme: str) -> dict[str, list[str]]:
    """The stops of the scales of pictures."""
    block = (WEB / "colours.js").read_text(encoding="utf-8").split("dark: {")[theme == "dark"].split("},")[0]
    return {name: re.findall(r"#\w{6}", stops) for name, stops in re.findall(r"(\w+): \[(.*?)\]", block)}


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_with_a_meaning_stay_apart(theme: str, eyes: str) -> None:
    seen = {name: lab(colour, eyes) for name, colour in palette(theme).items()}
    marked = SECOND_MARK | (IN_GREY if eyes == "achromatopsia" else {})
    for pair in combinations(seen, 2):
        if pair not in marked:
            assert np.linalg.norm(seen[pair[0]] - seen[pair[1]]) > APART, pair


def test_what_colour_alone_does_not_tell_has_a_second_mark() -> None:
    style = (WEB / "style.css").read_text(encoding="utf-8")
    for mark, selectors in (SECOND_MARK | IN_GREY).values():
        for selector in selectors:
            assert re.search(rf"{re.escape(selector)} {{[^}}]*{mark}", style), selector


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_scales_can_be_read(theme: str, eyes: str) -> None:
    """In heat and grey lightness runs one way; in signed both ends differ from each other and from the middle.

    Seen without colour, the ends tell only how far from the middle they are, as the page says.
    """
    seen = {name: np.array([lab(colour, eyes) for colour in stops]) for name, stops in scales(theme).items()}
    for name in ("heat", "grey"):
        steps = np.diff(seen[name][:, 0]) * (-1 if theme == "light" else 1)
        assert steps.min() > 1, name
    low, *_, middle, _, high = seen["signed"]
    for a, b in ((low, middle), (high, middle), *([] if eyes == "achromatopsia" else [(low, high)])):
        assert np.linalg.norm(a - b) > 2 * APART


def test_the_measure_itself_finds_red_and_green_alike() -> None:
    red, green = "#c0392b", "#6b7a00"
    assert np.linalg.norm(lab(red) - lab(green)) > 2 * APART
    assert np.linalg.norm(lab(red, "deuteranopia") - lab(green, "deuteranopia")) < APART
    np.testing.assert_allclose(lab("#ffffff"), [100, 0, 0], atol=0.01)
