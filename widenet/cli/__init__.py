"""The command line."""

from widenet.cli.main import main

__all__ = ["main"]
