"""Document: what a printed paper says, block by block, without a look.

In: nothing. Out: frozen blocks, which page.py makes HTML of and pdf.py a PDF: both say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ground.paper.chart import Chart

Tone = Literal["good", "watch", "bad", "unknown"]


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str
    small: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, side by side in two columns."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A box that says how one thing stands, and what to do."""

    tone: Tone
    label: str
    title: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """align: one letter a column, `l` or `r`; widths: shares of the page's width."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    widths: tuple[float, ...]
    caption: str = ""
    mono: bool = False
    """Hashes and names: a font of one width, wrapped anywhere."""


@dataclass(frozen=True, slots=True)
class Figure:
    chart: Chart
    height: float = 50.0


Block = Heading | Paragraph | Facts | Verdict | Table | Figure


@dataclass(frozen=True, slots=True)
class Document:
    """footer: stands on every page, with the page's number."""

    title: str
    subtitle: str
    footer: str
    blocks: tuple[Block, ...]
