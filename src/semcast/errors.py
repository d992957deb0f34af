"""What the library raises: one tree, and every message one sentence that says what is wrong and why.

::

    SemcastError
      BadInput      what the caller gave is wrong
      DoesNotFit    a budget, a k or a number of bytes that cannot hold what is asked of it
      Damaged       a file or a stream that is not what it was
      Missing       a file, weights, a library or a computer that is not there
      Unfinished    work that ended before all of it was done

The command line prints the message and exits with code 2.
"""


class SemcastError(Exception):
    """Something that was asked for cannot be done; the message is one sentence that says what and why."""


class BadInput(SemcastError):
    """What the caller gave is wrong: an unknown name, a value out of range, arguments that do not go together."""


class DoesNotFit(SemcastError):
    """A budget, a k or a number of bytes that cannot hold what is asked of it."""


class Damaged(SemcastError):
    """A file or a stream that is not what it was."""


class Missing(SemcastError):
    """A file, weights, a library or a computer that is not there."""


class Unfinished(SemcastError):
    """Work that ended before all of it was done: stopped, diverged, or cut off; what was done is kept."""
