"""Page: a document as one HTML file that needs no network and prints well.

In: a `Document`. Out: HTML. Always holds: all text is escaped; there is no script in it.
"""

from __future__ import annotations

import html

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
from ground.paper.svg import svg

WIDTH_MM = 180.0
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}: {subtitle}</title>
<style>
@page {{ size: A4; margin: 15mm 15mm 18mm; @bottom-left {{ content: "{footer}"; font-size: 7pt; color: #666 }}
  @bottom-right {{ content: counter(page) " / " counter(pages); font-size: 7pt; color: #666 }} }}
:root {{ --ink: #222; --soft: #666; --rule: #d5d9de; --head: #1f3a57; }}
* {{ box-sizing: border-box }}
body {{ font: 9.5pt/1.42 Helvetica, Arial, sans-serif; color: var(--ink); margin: 0 auto; max-width: 180mm;
  padding: 8mm 4mm }}
header {{ border-bottom: 2px solid var(--head); padding-bottom: 2mm; margin-bottom: 4mm }}
h1 {{ font-size: 17pt; margin: 0; color: var(--head) }}
header p {{ margin: .5mm 0 0; color: var(--soft) }}
h2 {{ font-size: 11.5pt; color: var(--head); margin: 6.5mm 0 2mm; border-bottom: .3mm solid var(--rule);
  padding-bottom: .8mm; break-after: avoid }}
p {{ margin: 0 0 2mm }} p.small {{ font-size: 8pt; color: var(--soft) }}
dl {{ display: grid; grid-template-columns: 1fr 1fr; gap: 0 8mm; margin: 0 0 3mm }}
dl div {{ display: grid; grid-template-columns: 34mm 1fr; border-bottom: .2mm solid #eceff2; padding: .6mm 0 }}
dt {{ color: var(--soft) }} dd {{ margin: 0; overflow-wrap: anywhere }}
.verdict {{ border-left: 1.6mm solid; padding: 2.2mm 3.5mm; margin: 0 0 2.5mm; break-inside: avoid }}
.verdict b {{ font-size: 11pt }} .verdict .label {{ float: right; font-weight: bold; font-size: 9pt;
  letter-spacing: .03em }}
.verdict p {{ margin: .8mm 0 0 }} .verdict .advice {{ color: #333 }}
.good {{ border-color: #1e8449; background: #eef7f1 }} .good .label {{ color: #1e8449 }}
.watch {{ border-color: #b9770e; background: #fdf6ea }} .watch .label {{ color: #9a6108 }}
.bad {{ border-color: #c0392b; background: #fcefed }} .bad .label {{ color: #c0392b }}
.unknown {{ border-color: #7b8794; background: #f3f5f7 }} .unknown .label {{ color: #55606b }}
table {{ width: 100%; border-collapse: collapse; font-size: 8.3pt; margin: 0 0 3mm; table-layout: fixed }}
caption {{ text-align: left; color: var(--soft); padding-bottom: 1.2mm; font-size: 8.3pt }}
th {{ text-align: left; color: var(--soft); font-weight: bold; border-bottom: .3mm solid #9aa5b1 }}
th, td {{ padding: .8mm 1.2mm; vertical-align: top; overflow-wrap: anywhere }}
td {{ border-bottom: .2mm solid #e6e9ed }} tr {{ break-inside: avoid }} thead {{ display: table-header-group }}
.r {{ text-align: right; font-variant-numeric: tabular-nums }}
.mono td {{ font: 7pt/1.35 Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
figure {{ margin: 0 0 3mm; break-inside: avoid }} svg {{ display: block }}
footer {{ color: var(--soft); font-size: 8pt; border-top: .3mm solid var(--rule); margin-top: 6mm;
  padding-top: 1.5mm }}
@media print {{ body {{ padding: 0; max-width: none }} footer {{ display: none }} }}
</style></head>
<body><header><h1>{title}</h1><p>{subtitle}</p></header>
{body}
<footer>{footer}</footer></body></html>
"""


def page(document: Document) -> str:
    """The whole file."""
    return _PAGE.format(
        title=_text(document.title), subtitle=_text(document.subtitle),
        footer=_text(document.footer), body="\n".join(map(_block, document.blocks)),
    )  # fmt: skip


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h2>{_text(block.text)}</h2>"
    if isinstance(block, Paragraph):
        return f"<p{' class=small' if block.small else ''}>{_text(block.text)}</p>"
    if isinstance(block, Facts):
        rows = "".join(f"<div><dt>{_text(a)}</dt><dd>{_text(b)}</dd></div>" for a, b in block.rows)
        return f"<dl>{rows}</dl>"
    if isinstance(block, Figure):
        return f"<figure>{svg(block.chart, WIDTH_MM, block.height)}</figure>"
    return _verdict(block) if isinstance(block, Verdict) else _table(block)


def _verdict(block: Verdict) -> str:
    advice = f'<p class="advice">{_text(block.advice)}</p>' if block.advice else ""
    return (
        f'<section class="verdict {block.tone}"><span class="label">{_text(block.label)}</span>'
        f"<b>{_text(block.title)}</b><p>{_text(block.text)}</p>{advice}</section>"
    )


def _table(table: Table) -> str:
    classes = ['class="r"' if one == "r" else "" for one in table.align]
    columns = "".join(f'<col style="width:{100 * w:.1f}%">' for w in table.widths)
    head = "".join(
        f"<th {c}>{_text(cell)}</th>" for c, cell in zip(classes, table.head, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(f"<td {c}>{_text(cell)}</td>"
                         for c, cell in zip(classes, row, strict=True)) + "</tr>"
        for row in table.rows
    )  # fmt: skip
    caption = f"<caption>{_text(table.caption)}</caption>" if table.caption else ""
    mono = ' class="mono"' if table.mono else ""
    return (
        f"<table{mono}>{caption}<colgroup>{columns}</colgroup>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _text(text: str) -> str:
    return html.escape(text)
