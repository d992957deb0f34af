"""The command line: each verb parses and calls functions that anybody can import."""

from semcast.cli.app import main

__all__ = ["main"]
