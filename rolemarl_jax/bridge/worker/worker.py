"""A worker: one environment, one connection to the learner, one request at a time.

    python -m rolemarl_jax.bridge.worker --connect tcp://learner:5555 --key-file FILE

serves a learner on another host, and ends with its environment; `bridge.host` keeps
several of them running. Workers on the learner's host are started by the learner.
"""

import argparse
import contextlib
import hashlib
import importlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.bridge.worker.games import Game, SetupError

TOKEN = "ROLEMARL_BRIDGE_TOKEN"
FRAMES = 12  # of a traceback that is told, the innermost
# A learner that is gone without a word, with its host, is noticed by these.
HEARTBEAT_MS, SILENCE_MS = 5_000, 30_000
GRACE_S = 5.0  # that the learner's own watchdog has first


class Worker:
    """What serves the requests of one learner."""

    def __init__(self, socket: zmq.Socket, args: argparse.Namespace) -> None:
        self._socket, self._token = socket, token(args.key_file)
        self._slot, self._generation = args.slot, args.generation
        self._game: Game | None = None
        self._connected = False
        self._since = 0.0  # when the request in progress came
        self._events = socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._known_restarts = -1  # of the game, that the learner has heard of
        self.until = float("inf")  # when the request in progress is overdue

    def serve(self) -> None:
        """Joins and answers until the learner says CLOSE or its connection ends.

        Whoever was cut off has lost its place, and another learner may listen there.
        """
        self._send(p.JOIN, texts=_host())
        while True:
            if not self._asked():
                return
            frames = self._socket.recv_multipart()
            header = p.unpack(frames[0])
            if header.kind == p.CLOSE:
                return
            try:
                self._since = time.monotonic()
                self.until = self._since + header.seconds
                self._answer(header, frames[1:])
                self.until = float("inf")
            except SetupError as error:
                self._fault(header, "setup", str(error))
                return
            except Exception as error:
                # Whatever a simulator raises: this process cannot be trusted.
                text = traceback.format_exc(limit=-FRAMES)
                kind = "action" if isinstance(error, _ActionError) else "crash"
                self._fault(header, kind, f"{type(error).__name__}: {error}\n{text}")
                return

    def _asked(self) -> bool:
        """Waits for a request; false if the connection ended instead.

        One that never stood is no loss: the learner may listen later.
        """
        poller = zmq.Poller()
        for socket in (self._socket, self._events):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._socket in ready:
                return True
            event = recv_monitor_message(self._events)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._connected = True
            elif self._connected:
                print("the connection to the learner ended", file=sys.stderr)
                return False

    def close(self) -> None:
        """Ends the game, whatever state it is in."""
        if self._game is not None:
            with contextlib.suppress(Exception):
                self._game.close()

    def _answer(self, header: p.Header, frames: Sequence[bytes]) -> None:
        if header.kind == p.SETUP:
            self._set_up(header, p.read_text(frames))
        elif header.kind == p.RESET:
            self._reset(header)
        elif header.kind == p.STEP:
            self._step(header, frames)
        elif header.kind == p.REPLAY:
            self._save_replay(header, p.read_text(frames)["folder"])
        else:
            raise p.ProtocolError(f"a worker does not answer kind {header.kind}")

    def _set_up(self, header: p.Header, values: dict[str, Any]) -> None:
        self._slot, self._generation = header.slot, header.generation
        name = values["game"]
        module = importlib.import_module(f"rolemarl_jax.bridge.worker.games.{name}")
        game = module.make(values["settings"], values["seed"])
        self._game = game
        hello = {
            **game.shapes._asdict(),
            "episode_limit": game.episode_limit,
            "same_scale": game.same_scale,
            "max_return": game.max_return,
            "flags": game.flags._asdict(),
            "jax": "jax" in sys.modules,
            **_host(),
        }
        self._send(p.HELLO, texts=hello)

    def _reset(self, header: p.Header) -> None:
        game = self._running()
        self._seen = game.reset()
        extra = []
        if self._known_restarts != game.restarts():
            extra = [p.text_frame(game.info())]
            self._known_restarts = game.restarts()
        flags = p.INFO if extra else 0
        head = self._header(p.SEEN, header.episode)
        head = head._replace(flags=flags, scale=game.scale())
        self._socket.send_multipart(
            [p.pack(head), *p.seen_frames(self._seen), *extra], copy=False
        )

    def _step(self, header: p.Header, frames: Sequence[bytes]) -> None:
        game = self._running()
        actions = p.read_actions(b"".join(frames), game.shapes.n_agents)
        self._require_available(actions)
        out = game.step(actions)
        self._seen = out.seen
        flags = (
            p.TERMINATED * out.terminated
            | p.TRUNCATED * out.truncated
            | p.WON * out.won
            | p.ABORTED * out.aborted
        )
        head = self._header(p.SEEN, header.episode)._replace(
            flags=flags, step=header.step + 1, reward=out.reward, scale=game.scale()
        )
        self._socket.send_multipart(
            [p.pack(head), *p.seen_frames(out.seen)], copy=False
        )

    def _save_replay(self, header: p.Header, folder: str | None) -> None:
        """Into a folder that the learner sees; or, if there is none, over the net."""
        with tempfile.TemporaryDirectory() as own:
            path = self._running().save_replay(folder or own)
            data = Path(path).read_bytes() if path and folder is None else b""
        self._send(p.DONE, header.episode, texts={"path": path}, data=data)

    def _require_available(self, actions: list[int]) -> None:
        for agent, (action, avail) in enumerate(
            zip(actions, self._seen.avail, strict=True)
        ):
            if not (0 <= action < len(avail) and avail[action]):
                allowed = [int(a) for a in avail.nonzero()[0]]
                raise _ActionError(
                    f"agent {agent} cannot take action {action}; available: {allowed}"
                )

    def _running(self) -> Game:
        if self._game is None:
            raise p.ProtocolError("a request before SETUP")
        return self._game

    def _header(self, kind: int, episode: int = 0) -> p.Header:
        return p.Header(
            kind,
            self._slot,
            self._generation,
            episode=episode,
            seconds=time.monotonic() - self._since,
            token=self._token,
        )

    def _send(
        self, kind: int, episode: int = 0, *, texts: dict[str, Any], data: bytes = b""
    ) -> None:
        frames = [p.pack(self._header(kind, episode)), p.text_frame(texts)]
        self._socket.send_multipart([*frames, data] if data else frames)

    def _fault(self, header: p.Header, kind: str, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        self._send(p.FAULT, header.episode, texts={"kind": kind, "text": text})


class _ActionError(ValueError):
    """The learner chose what the environment does not allow."""


def token(key_file: str | None) -> bytes:
    """Secret of the session: from the key file, else from the environment."""
    if key_file:
        return hashlib.blake2b(Path(key_file).read_bytes(), digest_size=16).digest()
    return bytes.fromhex(os.environ.get(TOKEN, "")).ljust(16, b"\0")[:16]


def _host() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
    }


def leash(session: str) -> None:
    """Kills this process group and removes ``session`` when the learner is gone.

    The learner holds the other end of standard input; its death, however sudden,
    closes it. A thread can wait for that while the game hangs.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        # What removes the folder must outlive the group.
        subprocess.Popen(
            ["/bin/sh", "-c", 'sleep 0.5; rm -rf -- "$0"', session],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def watch(worker: Worker) -> None:
    """Kills this process group when a request is long overdue.

    The learner does so itself where it can; this is for workers of other hosts.
    """

    def wait() -> None:
        while time.monotonic() < worker.until + GRACE_S:
            time.sleep(1.0)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def connect(context: zmq.Context, endpoint: str, key_file: str | None) -> zmq.Socket:
    """A connected socket, encrypted if there is a key."""
    socket = context.socket(zmq.DEALER)
    socket.linger = 1000
    socket.heartbeat_ivl, socket.heartbeat_timeout = HEARTBEAT_MS, SILENCE_MS
    if key_file:
        public, secret = Path(key_file).read_text(encoding="utf8").split()
        socket.curve_publickey = socket.curve_serverkey = public.encode()
        socket.curve_secretkey = secret.encode()
    socket.connect(endpoint)
    return socket


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Serves one world to a learner.")
    parser.add_argument("--connect", required=True, help="endpoint of the learner")
    parser.add_argument("--key-file", help="shared key, for tcp:// endpoints")
    parser.add_argument("--slot", type=int, default=p.ANY_SLOT)
    parser.add_argument("--generation", type=int, default=0)
    parser.add_argument("--session", help="folder to remove when the learner is gone")
    args = parser.parse_args()
    if args.session:
        leash(args.session)
    context = zmq.Context()
    worker = Worker(connect(context, args.connect, args.key_file), args)
    if args.session:
        watch(worker)
    try:
        worker.serve()
    finally:
        worker.close()
        context.destroy(linger=1000)
        if args.session:
            shutil.rmtree(os.environ.get("TMPDIR", ""), ignore_errors=True)
