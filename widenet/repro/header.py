"""The header of a paper script: its docstring, read without running it.

    '''Title of the paper (authors, venue and year).

    Paper: bibkey
    Figure: what of it is made again
    Claim: what the paper says that can be checked
    Expected: the numbers
    Minutes: 6 (full, on 4 cores), 0.7 (--quick, on 2 cores)
    Command: python paper_repro/ntk.py [--quick] [--out DIR] [--seed N]

    Anything else: how it differs from the paper, which data it needs.
    '''

A field may run on over further lines, indented.  The key of a script is its file's name without `.py`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

FIELDS = ("paper", "figure", "claim", "expected", "minutes", "command")


@dataclass(frozen=True)
class Header:
    """What a paper script says about itself."""

    key: str
    title: str
    paper: str  # key in theory/bibliography.bib
    figure: str
    claim: str
    expected: str
    minutes: float  # of the full run
    command: str


def headers(folder: Path) -> list[Header]:
    """The headers of all paper scripts in `folder`, by key."""
    return [read_header(path) for path in sorted(Path(folder).glob("*.py")) if not path.name.startswith("_")]


def read_header(path: Path) -> Header:
    """The header of the paper script `path`.

    Raises: ValueError naming the script and the field that is missing, unknown or not a number.
    """
    path = Path(path)
    title, fields = _fields(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "", path.name)
    missing = [name for name in FIELDS if not fields.get(name)]
    if missing:
        raise ValueError(f"{path.name}: the header has no {', '.join(missing)}; add e.g. '{missing[0].title()}: ...'.")
    minutes = re.match(r"\d+(\.\d+)?", fields.pop("minutes"))
    if minutes is None:
        raise ValueError(f"{path.name}: 'Minutes:' must begin with a number, the minutes of the full run.")
    return Header(key=path.stem, title=title, minutes=float(minutes[0]), **fields)


def _fields(docstring: str, name: str) -> tuple[str, dict[str, str]]:
    """The title and the fields: one `Name: text` a line, an indented line continues the one before."""
    title, _, rest = docstring.partition("\n")
    fields: dict[str, str] = {}
    for line in takewhile(str.strip, rest.lstrip("\n").splitlines()):
        field, colon, text = line.partition(":")
        if line[0].isspace() and fields:
            fields[next(reversed(fields))] += f" {line.strip()}"
        elif colon and field.lower() in FIELDS:
            fields[field.lower()] = text.strip()
        else:
            known = ", ".join(FIELDS)
            raise ValueError(f"{name}: header line {line!r} is none of {known}; indent what continues a field.")
    return title.strip(), fields
