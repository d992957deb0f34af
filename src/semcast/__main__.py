"""``python -m semcast``."""

from semcast.cli import main

main()
