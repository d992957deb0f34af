"""The one error a user ever sees: a clear sentence, exit code 2."""


class SemcastError(Exception):
    """Something the user gave cannot be used; the message is one sentence that says what and why."""
