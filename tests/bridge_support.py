"""What tests of the bridge need: settings, pools, and a worker made by hand."""

import contextlib
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml
import zmq
from support import REPO, merge

from rolemarl_jax.bridge.collect import Collector, Stretch
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.pool.pool import Pool
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.config import build
from rolemarl_jax.types import Remote

SHAPES = p.Shapes(3, 4, 8, 6)


def section(path):
    return yaml.safe_load((REPO / "configs" / path).read_text(encoding="utf8"))


def world(**changes):
    settings = {**section("env/scripted.yaml"), **changes}
    settings.pop("defaults")
    settings.pop("name")
    return Remote("scripted", "scripted", settings)


def bridge_values(**changes):
    quick = {"backoff_s": 0.05, "backoff_max_s": 0.2, "workers": 2}
    return merge(section("bridge/_workers.yaml")["bridge"], {**quick, **changes})


def bridge(**changes):
    return build(BridgeConfig, bridge_values(**changes), "bridge")


@contextlib.contextmanager
def pool(env=None, seed=0, **changes):
    with contextlib.closing(Pool(bridge(**changes), env or world(), seed)) as made:
        yield made


def new_key(path):
    public, secret = zmq.curve_keypair()
    path.write_bytes(public + b"\n" + secret + b"\n")
    path.chmod(0o600)
    return path


def remote(key_file, **changes):
    listen = {"listen": "tcp://127.0.0.1:*", "key_file": str(key_file)}
    return pool(world(), **{"workers": 2, "remote": 1, **listen, **changes})


def play(made, count, policy=None, expose=None, stop=lambda: False):
    """Plays until ``count`` episodes have finished; ``expose`` gets the collector.

    Returns the finished episodes, the ids that were lost, and all ids begun.
    """
    seen = SimpleNamespace(done=[], lost=[], begun=[])

    def begin():
        seen.begun.append(len(seen.begun) + 1)
        return seen.begun[-1]

    def right(seen, ready, fresh):
        return (policy or wanted)(seen.obs)

    collector = Collector(made, 0.002)
    if expose is not None:
        expose["collector"] = collector
    collector.play(
        Stretch(
            more=lambda: len(seen.done) < count,
            begin=begin,
            act=right,
            finished=seen.done.append,
            lost=seen.lost.append,
            turn=lambda: None,
            stop=stop,
        )
    )
    return seen


def wanted(obs):
    """The action that the scripted world asks for."""
    return obs[..., 4:8].argmax(-1).astype(np.int32)


class Impostor:
    """A worker's side of the protocol, for saying what no worker says."""

    def __init__(self, endpoint, token=bytes(16), key_file=None):
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        if key_file:
            public, secret = key_file.read_text().split()
            self.socket.curve_publickey = self.socket.curve_serverkey = public.encode()
            self.socket.curve_secretkey = secret.encode()
        self.socket.connect(endpoint)
        self.token = token

    def say(self, kind, *frames, **fields):
        header = p.Header(kind, **{"slot": p.ANY_SLOT, "token": self.token, **fields})
        self.socket.send_multipart([p.pack(header), *frames])

    def hear(self, timeout_s=5.0):
        assert self.socket.poll(int(1000 * timeout_s)), "nothing was said"
        frames = self.socket.recv_multipart()
        return p.unpack(frames[0]), frames[1:]

    def close(self):
        self._context.destroy(linger=0)


def require_whole(episode, limit=20):
    """Every number of an episode of the scripted world, recomputed."""
    length, agents = episode.length, np.arange(3)
    assert len(episode.obs) == len(episode.state) == len(episode.avail) == length + 1
    resets = np.rint(100 * episode.obs[:, :, 1])
    assert len(np.unique(resets)) == 1, "parts of several episodes"
    assert len(np.unique(episode.obs[:, :, 3])) == 1, "parts of several processes"
    clock = np.rint(100 * episode.obs[:, 0, 2])
    np.testing.assert_array_equal(clock, np.arange(length + 1))
    wanted = (agents + resets + clock[:, None]) % 4
    np.testing.assert_array_equal(episode.obs[..., 4:8].argmax(-1), wanted)
    right = (episode.action == wanted[:-1]).sum(-1)
    bonus = np.where(np.arange(length) == length - 1, 200.0 * episode.won, 0.0)
    np.testing.assert_allclose(episode.reward, (10 * right + bonus) / 15.5, rtol=1e-6)
    assert np.take_along_axis(episode.avail[:-1], episode.action[..., None], 2).all()
    taken = np.eye(4)[episode.action].sum(1)
    np.testing.assert_array_equal(episode.state[1:, 2:], taken)
    assert episode.terminated == episode.won
    assert episode.terminated or length == limit, "cut short"


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A zombie whose parent is not us is as good as gone.
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def require_each_id_once(seen):
    """Every episode that began was finished whole, once, or lost, once."""
    finished = [one.id for one in seen.done]
    assert sorted(finished + seen.lost) == seen.begun
    for one in seen.done:
        require_whole(one)
