"""Runs inside the command under test, before it: brings about the fault that $SEMCAST_FAULT names.

``signal:NUMBER:N:FOLDER`` sends a signal when the command opens for writing, renames or removes for the Nth time under a folder;
``count:FILE:FOLDER`` writes how often that happens; ``clock:SECONDS:SHARE`` lets time.time jump by up to that much, both ways, in
that share of the calls.
"""

import atexit
import os
import random
import sys
import time

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate")


def _watch(folder, told):
    me, seen = os.getpid(), [0]

    def hook(event, arguments):
        if event not in EVENTS or os.getpid() != me:
            return
        path, writes = arguments[0], event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and isinstance(path, (str, bytes)) and os.path.abspath(os.fsdecode(path)).startswith(folder):
            seen[0] += 1
            told(seen[0])

    sys.addaudithook(hook)
    return seen


def _jump(most, share):
    true, chance = time.time, random.Random(0)
    offset = [0.0]

    def jumping():
        if chance.random() < share:
            offset[0] = chance.uniform(-most, most)
        return true() + offset[0]

    time.time = jumping


def _begin(kind, rest):
    if kind == "signal":
        number, moment, folder = rest.split(":", 2)
        _watch(folder, lambda seen: os.kill(os.getpid(), int(number)) if seen == int(moment) else None)
    elif kind == "count":
        file, folder = rest.split(":", 1)
        seen, me = _watch(folder, lambda seen: None), os.getpid()
        with open(file, "w") as out:  # so that the end needs no further file
            out.write("0")
        atexit.register(lambda: os.getpid() == me and _say(file, seen[0]))
    elif kind == "clock":
        _jump(*map(float, rest.split(":")))


def _say(file, number):
    with open(file, "w") as out:
        out.write(str(number))


if "multiprocessing" not in " ".join(sys.orig_argv) or os.environ.get("SEMCAST_FAULT", "").startswith("clock"):
    _begin(*(os.environ.get("SEMCAST_FAULT") or ":").split(":", 1))
