"""Fuzzing: what strangers send, bent in every way, must end in a result or in one sentence (``python -m tests.fuzz --help``)."""
