"""What the tests of the command line share."""

from __future__ import annotations


def refused(result: tuple[int, str, str], *words: str) -> None:
    """The verb ended as bad input does: one sentence on stderr with these words in it, nothing on stdout, exit code 2."""
    code, out, err = result
    assert code == 2 and out == "", (code, out, err)
    assert err.count("\n") == 1 and err.startswith("semcast: ") and "Traceback" not in err, err
    for word in words:
        assert word in err, err
