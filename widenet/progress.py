"""Progress of long work, on standard error and only once it has taken a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE = 2.0  # seconds of silence before, and between, lines
PATIENCE_WITHIN = 30.0  # the same where other work, which has lines of its own, consists of such work
_PART: ContextVar[str] = ContextVar("part", default="")


@contextmanager
def part(name: str) -> Iterator[None]:
    """Progress of what is done inside is that of the part `name` of other work: said less often, with its name."""
    token = _PART.set(f"{name}: ")
    try:
        yield
    finally:
        _PART.reset(token)


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items`, saying every few seconds how many are done, at which rate, and how long the rest will take."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    begin = said = time.monotonic()
    patience = PATIENCE_WITHIN if _PART.get() else PATIENCE
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said > patience:
            print(_PART.get() + _line(what, done, total, now - begin), file=sys.stderr, flush=True)
            said = now
        yield item


def _line(what: str, done: int, total: int | None, seconds: float) -> str:
    rate = done / seconds
    if total is None:
        return f"{what}: {done} done, {rate:.3g}/s"
    return f"{what}: {done}/{total}, {rate:.3g}/s, {(total - done) / rate:.0f} s left"
