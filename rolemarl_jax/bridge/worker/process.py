"""Worker processes: each a process group with a folder of its own, none left over."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")
LOG = "worker.log"


@dataclass
class Child:
    """A worker process.

    Attributes:
        process: leader of its process group.
        folder: its TMPDIR and log.
    """

    process: subprocess.Popen
    folder: Path

    def alive(self) -> bool:
        """Whether the worker itself still runs."""
        return self.process.poll() is None

    def how(self) -> str:
        """How it ended, for messages."""
        code = self.process.poll()
        if code is None:
            return "still running"
        if code < 0:
            # Real-time signals have numbers alone.
            known = -code in set(signal.Signals)
            return f"killed by signal {signal.Signals(-code).name if known else -code}"
        return f"exit status {code}"

    def log(self, lines: int = 8) -> str:
        """The last lines that it and its game printed."""
        try:
            text = (self.folder / LOG).read_text(encoding="utf8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def kill(self) -> None:
        """Ends the whole group at once and removes its folder."""
        # The group may outlive its leader: the game is another process of it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def session_folder() -> Path:
    """A new private folder for socket and workers of one learner."""
    return Path(tempfile.mkdtemp(prefix="rolemarl-"))


def start(
    python: str | None,
    arguments: list[str],
    session: Path,
    name: str,
    secret: dict[str, str],
) -> Child:
    """Starts a worker.

    Args:
        python: interpreter, ``None`` for this one.
        arguments: of ``bridge.worker``. session: folder of the learner.
        name: of the worker's folder in it. secret: environment variables.
    """
    folder = session / name
    folder.mkdir(mode=0o700)
    environment = {
        **os.environ,
        **secret,
        "TMPDIR": str(folder),
        # One process an environment: more threads only take cores from the others.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [
                python or sys.executable,
                str(LAUNCH),
                *arguments,
                "--session",
                str(session),
            ],
            stdin=subprocess.PIPE,  # held open: its end is the worker's leash
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Child(process, folder)
