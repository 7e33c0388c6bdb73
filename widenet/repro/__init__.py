"""The frame of the paper scripts: header, claims and verdicts, command line, figures, result.json."""

from widenet.repro.claim import Claim, Outcome, Verdict, about, at_least, at_most
from widenet.repro.command import Run, run
from widenet.repro.figures import COLOURS, panels, save
from widenet.repro.header import Header, headers, read_header
from widenet.repro.report import Report

__all__ = [
    "COLOURS",
    "Claim",
    "Header",
    "Outcome",
    "Report",
    "Run",
    "Verdict",
    "about",
    "at_least",
    "at_most",
    "headers",
    "panels",
    "read_header",
    "run",
    "save",
]
