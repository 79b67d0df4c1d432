"""PDF: the same document on paper, by fpdf2 and with the fonts every reader of PDF has.

In: a `Document`, when it was made. Out: the bytes of an A4 file, the same for the same document.
Always holds: what page.py shows is here too; a character outside Windows-1252 is spelt in it, or
becomes a question mark.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Final

from fpdf import FPDF, FontFace
from fpdf.enums import MethodReturnValue, TableBordersLayout, WrapMode

from ground.paper.chart import Polygon, Polyline, Text, lay_out
from ground.paper.document import (
    Block,
    Document,
    Facts,
    Figure,
    Heading,
    Paragraph,
    Table,
    Verdict,
)

MARGIN, WIDTH = 15.0, 180.0
FOOT = 16.0
HEADING_ROOM = 32.0  # a heading needs so much below it, else it goes to the next page
NAVY, INK, SOFT, RULE = "#1f3a57", "#222222", "#666666", "#d5d9de"
TONES: Final = {
    "good": ("#1e8449", "#eef7f1"), "watch": ("#9a6108", "#fdf6ea"), "bad": ("#c0392b", "#fcefed"),
    "unknown": ("#55606b", "#f3f5f7"),
}  # fmt: skip
SPELT = str.maketrans({"\u2212": "–", "≤": "<=", "≥": ">=", "θ": "theta", "δ": "delta", "η": "eta",
                       "σ": "sd", "→": "to", "≈": "about", "\u202f": " ", "Ł": "L", "ł": "l"})  # fmt: skip


def pdf(document: Document, made_ns: int) -> bytes:
    """The whole file."""
    paper = _Paper(document, made_ns)
    for block in document.blocks:
        paper.put(block)
    return bytes(paper.output())


class _Paper(FPDF):
    """Draws blocks one below the other."""

    def __init__(self, document: Document, made_ns: int) -> None:
        super().__init__("portrait", "mm", "A4")
        self.core_fonts_encoding = "windows-1252"
        self.set_margins(MARGIN, MARGIN, MARGIN)
        self.c_margin = 0.0
        self.set_auto_page_break(True, FOOT)
        self._footer = _spelt(document.footer)
        self.set_title(_spelt(f"{document.title}: {document.subtitle}"))
        self.set_lang("en")
        self.set_creation_date(datetime.fromtimestamp(made_ns // 10**9, UTC))
        self.alias_nb_pages()
        self.add_page()
        self._header(document)

    def footer(self) -> None:
        """Called by fpdf2 at the end of every page."""
        self.set_y(-11)
        self._font(7, SOFT)
        self.cell(WIDTH - 20, 4, self._footer)
        self.cell(20, 4, f"{self.page_no()} / {{nb}}", align="R")

    def put(self, block: Block) -> None:
        if isinstance(block, Heading):
            self._heading(block)
        elif isinstance(block, Paragraph):
            self._paragraph(block.text, 7.5 if block.small else 9.0)
        elif isinstance(block, Facts):
            self._facts(block)
        elif isinstance(block, Verdict):
            self._verdict(block)
        elif isinstance(block, Table):
            self._table(block)
        else:
            self._figure(block)

    def _font(self, size_pt: float, colour: str = INK, style: str = "", name: str = "helvetica"
              ) -> None:  # fmt: skip
        self.set_font(name, style, size_pt)
        self.set_text_color(colour)

    def _header(self, document: Document) -> None:
        self._font(17, NAVY, "B")
        self.cell(WIDTH, 8, _spelt(document.title), new_x="LMARGIN", new_y="NEXT")
        self._font(10, SOFT)
        self.cell(WIDTH, 5.5, _spelt(document.subtitle), new_x="LMARGIN", new_y="NEXT")
        self._rule(self.get_y() + 1.0, NAVY, 0.6)
        self.ln(5)

    def _rule(self, y: float, colour: str, width: float) -> None:
        self.set_draw_color(colour)
        self.set_line_width(width)
        self.line(MARGIN, y, MARGIN + WIDTH, y)

    def _need(self, height: float) -> None:
        """Go to the next page unless there is so much room on this one."""
        if self.get_y() + height > self.page_break_trigger:
            self.add_page()

    def _heading(self, heading: Heading) -> None:
        self._need(HEADING_ROOM)
        self.ln(3.5)
        self._font(11.5, NAVY, "B")
        self.cell(WIDTH, 6, _spelt(heading.text), new_x="LMARGIN", new_y="NEXT")
        self._rule(self.get_y() + 0.3, RULE, 0.3)
        self.ln(2.2)

    def _paragraph(self, text: str, size_pt: float) -> None:
        self._font(size_pt, INK if size_pt > 8 else SOFT)
        self._lines(MARGIN, WIDTH, text, size_pt)
        self.ln(1.5)

    def _lines(self, x: float, width: float, text: str, size_pt: float) -> None:
        self.set_x(x)
        self.multi_cell(width, size_pt * 0.5, _spelt(text), align="L", new_x="LMARGIN",
                        new_y="NEXT")  # fmt: skip

    def _height(self, width: float, text: str, size_pt: float) -> float:
        if not text:
            return 0.0
        height = self.multi_cell(width, size_pt * 0.5, _spelt(text), align="L", dry_run=True,
                                 output=MethodReturnValue.HEIGHT)  # fmt: skip
        assert isinstance(height, (int, float))
        return float(height)

    def _facts(self, facts: Facts) -> None:
        column = WIDTH / 2 - 4
        name_width = 34.0
        for k in range(0, len(facts.rows), 2):
            pair = facts.rows[k : k + 2]
            self._font(9)
            height = max(self._height(column - name_width, value, 9.0) for _, value in pair) + 1.2
            self._need(height)
            y = self.get_y()
            for i, (name, value) in enumerate(pair):
                x = MARGIN + i * (column + 8)
                self.set_xy(x, y + 0.4)
                self._font(9, SOFT)
                self.cell(name_width, 4.5, _spelt(name))
                self._font(9)
                self._lines(x + name_width, column - name_width, value, 9.0)
                self.set_draw_color("#eceff2")
                self.set_line_width(0.2)
                self.line(x, y + height, x + column, y + height)
            self.set_xy(MARGIN, y + height)
        self.ln(2.5)

    def _verdict(self, block: Verdict) -> None:
        dark, light = TONES[block.tone]
        inside = WIDTH - 9
        self._font(9.5)
        height = 8.5 + self._height(inside, block.text, 9.5) + 2.0
        if block.advice:
            height += self._height(inside, block.advice, 9.5) + 0.8
        self._need(height)
        y = self.get_y()
        self.set_fill_color(light)
        self.rect(MARGIN, y, WIDTH, height, "F")
        self.set_fill_color(dark)
        self.rect(MARGIN, y, 1.6, height, "F")
        self.set_xy(MARGIN + 5, y + 2)
        self._font(11, INK, "B")
        self.cell(inside - 50, 5.5, _spelt(block.title))
        self._font(9, dark, "B")
        self.cell(50, 5.5, _spelt(block.label), align="R", new_x="LMARGIN", new_y="NEXT")
        self.ln(0.6)
        for text in filter(None, (block.text, block.advice)):
            self._font(9.5)
            self._lines(MARGIN + 5, inside, text, 9.5)
            self.ln(0.6)
        self.set_xy(MARGIN, y + height + 2.5)

    def _table(self, table: Table) -> None:
        if table.caption:
            self._font(8, SOFT)
            self._need(self._height(WIDTH, table.caption, 8.0) + 14)
            self._lines(MARGIN, WIDTH, table.caption, 8.0)
            self.ln(0.8)
        self._font(6.6 if table.mono else 8.0, INK, "", "courier" if table.mono else "helvetica")
        self.set_draw_color(RULE)
        self.set_line_width(0.2)
        self.set_fill_color(255)  # the table paints cells with whatever fill was last set
        widths = tuple(WIDTH * width / sum(table.widths) for width in table.widths)
        head = FontFace(family="helvetica", size_pt=8.0, emphasis="BOLD", color="#666666")
        with self.table(
            borders_layout=TableBordersLayout.HORIZONTAL_LINES, col_widths=widths,
            text_align=tuple("RIGHT" if one == "r" else "LEFT" for one in table.align),
            line_height=3.0 if table.mono else 3.9, padding=(0.6, 1.0), headings_style=head,
            v_align="TOP", wrapmode=WrapMode.CHAR if table.mono else WrapMode.WORD,
        ) as made:  # fmt: skip
            for row in (table.head, *table.rows):
                made.row([_spelt(cell) for cell in row])
        self.ln(2.5)

    def _figure(self, figure: Figure) -> None:
        self._need(figure.height)
        x0, y0 = MARGIN, self.get_y()
        for shape in lay_out(figure.chart, WIDTH, figure.height):
            if isinstance(shape, Text):
                self._text(shape, x0, y0)
                continue
            points = [(x0 + x, y0 + y) for x, y in shape.points]
            if isinstance(shape, Polyline):
                self._polyline(shape, points)
            else:
                self._polygon(shape, points)
        self.set_xy(MARGIN, y0 + figure.height + 2)

    def _polyline(self, shape: Polyline, points: list[tuple[float, float]]) -> None:
        self.set_draw_color(shape.colour)
        self.set_line_width(shape.width)
        self.set_dash_pattern(*shape.dash[:2])
        self.polyline(points)
        self.set_dash_pattern()

    def _polygon(self, shape: Polygon, points: list[tuple[float, float]]) -> None:
        self.set_fill_color(shape.colour)
        with self.local_context(fill_opacity=shape.opacity):
            self.polygon(points, style="F")

    def _text(self, shape: Text, x0: float, y0: float) -> None:
        text = _spelt(shape.text)
        if not text:
            return
        self._font(shape.size_pt, shape.colour, "B" if shape.bold else "")
        share = {"start": 0.0, "middle": 0.5, "end": 1.0}[shape.anchor]
        self.text(x0 + shape.x - share * self.get_string_width(text), y0 + shape.y, text)


def _spelt(text: str) -> str:
    """`text` in Windows-1252; control characters are left out."""
    text = "".join(c for c in text.translate(SPELT) if c.isprintable() or c == "\n")
    kept = []
    for character in text:
        try:
            character.encode("windows-1252")
            kept.append(character)
        except UnicodeEncodeError:
            plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
            kept.append(plain or "?")
    return "".join(kept)
