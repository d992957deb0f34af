"""The command line: each verb parses and calls functions that anybody can import."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from semcast.stopping import Stop


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; whatever goes wrong ends in one sentence: exit 2 for the user's mistake, 1 for ours.

    Ctrl-C and SIGTERM end it with what was begun cleaned up, and exit 130 and 143.
    """
    stop = Stop()
    try:
        with stop.listening(to_the_end=arguments is None):
            from semcast.cli.app import run  # here, where a signal already ends in a sentence

            code = run(list(sys.argv[1:] if arguments is None else arguments), stop)
    except KeyboardInterrupt:
        print("semcast: stopped", file=sys.stderr)
        code = stop.code
    sys.exit(code)


__all__ = ["main"]
