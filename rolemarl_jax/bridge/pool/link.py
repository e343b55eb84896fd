"""The learner's socket: who may speak, and what counts as a message."""

import contextlib
import resource
import secrets
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.bridge.worker.worker import TOKEN, token
from rolemarl_jax.config import ConfigError

# What a server sees of somebody who says nothing, and of one with another key.
REFUSALS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "no handshake",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "wrong key",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "wrong key",
}
EVENTS = "inproc://events"
HANDSHAKE_S = 5.0  # after which somebody who only connects is sent away
HEARTBEAT_S = 2.0  # between two questions whether a peer is there
SILENCE_S = 6.0  # without an answer, after which its connection is ended
DESCRIPTORS = 65536  # that a learner with open doors may have, if the system lets it


class Message(NamedTuple):
    """A message of somebody who knows the session's secret.

    Attributes:
        peer: address of the sender.
        header: its first frame, read.
        frames: the others.
    """

    peer: bytes
    header: p.Header
    frames: list[bytes]


class _OneKey:
    """Lets in whoever has the shared key pair."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    def callback(self, _: str, key: bytes) -> bool:
        return secrets.compare_digest(key, self._public)


class Link:
    """A ROUTER socket; messages of strangers are counted and dropped.

    Attributes:
        endpoint: where workers connect.
        refused: strangers' messages, by reason.
        secret: environment variables that a worker of this host needs.
        lost: addresses whose connection has ended, that nobody has taken yet. Only
            where others than this host can reach the socket.
    """

    def __init__(self, cfg: BridgeConfig, session: Path) -> None:
        self.refused: Counter[str] = Counter()
        self._context = zmq.Context()
        self._auth: ThreadAuthenticator | None = None
        self._events: zmq.Socket | None = None
        self._peers: dict[int, bytes] = {}  # by descriptor of the connection
        self.lost: list[bytes] = []
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 500
        self._socket.maxmsgsize = 64 * 2**20
        self._token = secrets.token_bytes(16)
        if cfg.key_file:
            self._token = token(cfg.key_file)
            self._encrypt(Path(cfg.key_file))
        if cfg.listen:
            self._open_doors()
        self.secret = {} if cfg.key_file else {TOKEN: self._token.hex()}
        self.endpoint = cfg.listen or f"ipc://{session}/bridge"
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"bridge.listen: cannot listen at '{self.endpoint}': {error}"
            ) from None
        if cfg.listen:
            bound: Any = self._socket.get(zmq.LAST_ENDPOINT)
            self.endpoint = bound.rstrip(b"\0").decode()

    def receive(self, timeout_s: float) -> list[Message]:
        """All messages that are there, waiting for the first one at most so long."""
        messages: list[Message] = []
        self._hear_events()
        wait = max(0, round(1000 * timeout_s))
        while self._socket.poll(wait if not messages else 0):
            got = self._socket.recv_multipart(copy=False)
            peer, *frames = (frame.bytes for frame in got)
            message = self._checked(peer, frames)
            if message is not None:
                messages.append(message)
                self._peers[got[-1].get(zmq.SRCFD)] = peer
            else:
                wait = 0
        return messages

    def send(
        self, peer: bytes, header: p.Header, frames: list[bytes] | None = None
    ) -> None:
        """Sends; a peer that is gone is noticed by its deadline."""
        message = [peer, p.pack(header._replace(token=self._token)), *(frames or [])]
        with contextlib.suppress(zmq.ZMQError):
            self._socket.send_multipart(message)

    def strangers(self) -> str:
        """Who was refused, for messages."""
        refused = ", ".join(f"{reason} ({n})" for reason, n in self.refused.items())
        return f"somebody was refused: {refused}" if refused else "no reason known"

    def close(self) -> None:
        """Closes socket and threads."""
        if self._events is not None:
            self._socket.disable_monitor()
        if self._auth is not None:
            self._auth.stop()
        self._context.destroy(linger=500)

    def _encrypt(self, key_file: Path) -> None:
        """CURVE with one key pair for everybody who may join."""
        public, secret = key_file.read_text(encoding="utf8").split()
        self._auth = ThreadAuthenticator(self._context)
        self._auth.start()
        self._auth.configure_curve_callback("*", _OneKey(public.encode()))
        self._socket.curve_server = True
        self._socket.curve_publickey = public.encode()
        self._socket.curve_secretkey = secret.encode()

    def _open_doors(self) -> None:
        """What a socket needs that strangers knock at, and workers are cut off from."""
        self._socket.handshake_ivl = round(1000 * HANDSHAKE_S)
        self._socket.heartbeat_ivl = round(1000 * HEARTBEAT_S)
        self._socket.heartbeat_timeout = round(1000 * SILENCE_S)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        kinds = sum(REFUSALS) | zmq.EVENT_DISCONNECTED
        self._socket.monitor(EVENTS, kinds)
        self._events = self._context.socket(zmq.PAIR)
        # Without a limit: where a crowd leaves at once, the thread that moves messages
        # would wait for us to hear of it, with a lock that closing needs.
        self._events.rcvhwm = 0
        self._events.connect(EVENTS)

    def _hear_events(self) -> None:
        """Connections that failed or ended; before messages, as descriptors return."""
        while self._events is not None and self._events.poll(0):
            event = recv_monitor_message(self._events)
            if event["event"] in REFUSALS:
                self.refused[REFUSALS[event["event"]]] += 1
                continue
            peer = self._peers.pop(event["value"], None)
            if peer is not None:
                self.lost.append(peer)

    def _checked(self, peer: bytes, frames: list[bytes]) -> Message | None:
        try:
            header = p.unpack(frames[0] if frames else b"")
        except p.ProtocolError:
            self.refused["no message of ours"] += 1
            return None
        if not secrets.compare_digest(header.token, self._token):
            self.refused["wrong key"] += 1
            return None
        return Message(peer, header, frames[1:])
