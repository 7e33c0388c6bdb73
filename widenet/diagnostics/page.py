"""A signal report as one page of HTML."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from widenet.diagnostics.draw import draw

if TYPE_CHECKING:
    from widenet.diagnostics.report import SignalReport

STYLE = (
    "body{font:15px sans-serif;max-width:75em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;"
    "font-size:13px}th,td{padding:2px 9px;text-align:right;border-bottom:1px solid #ddd}th:first-child,"
    "td:first-child{text-align:left;font-family:monospace}img{max-width:100%}"
)


def page(report: SignalReport) -> str:
    """The verdict, the picture, which is inside of the page, and the table."""
    picture = io.BytesIO()
    draw(report).savefig(picture, dpi=110, format="png")
    coded = base64.b64encode(picture.getvalue()).decode()
    head, *rows = report.rows()
    table = "\n".join([_row("th", head), *(_row("td", row) for row in rows)])
    found = "\n".join(f"<p><b>{escape(f.verdict)}</b>: {escape(f.reason)}</p>" for f in report.findings)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Signal report: {escape(report.verdict)}'
        f"</title><style>{STYLE}</style></head><body>\n<h1>Signal report</h1>\n{found}\n"
        f'<img alt="signals by layer" src="data:image/png;base64,{coded}">\n'
        f"<table>\n{table}\n</table>\n</body></html>\n"
    )


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
