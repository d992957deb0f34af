"""Commands without their imports: a process that has loaded everything forks for each, which takes a tenth of the time."""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.commands import LATE_S, ROOT, Done, environment, hear_ctrl_c


class Server:
    """Runs commands, one after another; ends with the block."""

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "tests.faults.server"]
        pipe = subprocess.PIPE
        own = environment()
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=own, stdin=pipe, stdout=pipe, text=True, preexec_fn=hear_ctrl_c
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def run(self, arguments: Sequence[object], cwd: Path, fault: str = "", disk: int | None = None) -> Done:
        """A command from its beginning to its end; ``disk``: no file may grow over so many bytes."""
        assert self.process.stdin and self.process.stdout
        asked = {"arguments": [*map(str, arguments)], "cwd": str(cwd), "fault": fault, "disk": disk}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        done = Done(**json.loads(self.process.stdout.readline()))
        assert done.code != -signal.SIGALRM, f"hangs: {arguments}"
        return done


def serve() -> None:
    """Fork for every line of stdin; what comes of it is a line of stdout."""
    import semcast.api  # noqa: F401
    import semcast.bench.front  # noqa: F401
    import semcast.cli.app  # noqa: F401
    import semcast.codec.codec  # noqa: F401
    import semcast.metrics.report  # noqa: F401
    import semcast.train.recipes  # noqa: F401

    for line in sys.stdin:
        asked, streams = json.loads(line), (os.pipe(), os.pipe())  # no files: those may be limited
        child = os.fork()
        if child == 0:
            _obey(asked, [end for _, end in streams])
        for _, end in streams:
            os.close(end)
        told: list[str] = []
        reader = threading.Thread(target=lambda err=streams[1][0], told=told: told.append(_read(err)))
        reader.start()
        out = _read(streams[0][0])
        reader.join()
        _, status, used = os.wait4(child, 0)
        done = Done(os.waitstatus_to_exitcode(status), out, told[0], used.ru_maxrss / 1024)
        print(json.dumps(asdict(done)), flush=True)


def _read(end: int) -> str:
    with open(end, encoding="utf-8", errors="replace") as file:
        return file.read()


def _obey(asked: dict[str, Any], streams: Sequence[int]) -> None:
    """In the child: the command with its streams in pipes, as if it had been started by itself."""
    code: object = 70
    try:
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(asked["cwd"])
        signal.alarm(LATE_S)
        import sitecustomize

        from semcast.cli import main

        sys.argv = ["semcast", *asked["arguments"]]
        if asked["disk"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["disk"], resource.RLIM_INFINITY))
        sitecustomize._begin(*(asked["fault"] or ":").split(":", 1))
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - nothing may leave a child but its end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    serve()
