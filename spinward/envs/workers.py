"""The program of a worker process, which steps its share of the environments.

It imports neither JAX nor the package, so that it is up in a fraction of a second, and so that an
environment that crashes or hangs takes nothing with it. Numbers travel through shared memory; a
byte over a socket says that they are there.
"""

import contextlib
import json
import mmap
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np

from . import actions, encoding, inspection, opening, remarks
from .places import place_of

Layout = list[tuple[str, tuple[int, ...], str]]
MAKE, RESET, STEP = range(3)  # what a worker is doing, for the post mortem
METHODS = ("__init__", "reset", "step")
GRACE_S = 2.0  # to close environments in, once the parent is gone


def views(buffer: Any, layout: Layout) -> dict[str, np.ndarray]:
    """Arrays in `buffer`, one after another, each at a multiple of a cache line."""
    arrays, offset = {}, 0
    for name, shape, dtype in layout:
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(buffer, dtype, count, offset).reshape(shape)
        offset += -(-count * np.dtype(dtype).itemsize // 64) * 64
    return arrays


def size(layout: Layout) -> int:
    """Bytes that the views of `layout` take."""
    items = [int(np.prod(s, dtype=np.int64)) * np.dtype(d).itemsize for _, s, d in layout]
    return sum(-(-item // 64) * 64 for item in items)


class Share:
    """The environments of one worker and their rows of the shared memory."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.mapped = mmap.mmap(settings["shared_file"], size(settings["layout"]))
        self.arrays = views(self.mapped, settings["layout"])
        self.where = self.arrays["where"][settings["worker"]]
        self.indices: list[int] = settings["indices"]
        self.parts = tuple(encoding.Leaf.of(part) for part in settings["parts"])
        self.decode = actions.decoder(settings["form"])
        self.encoders = {index: encoding.Encoder(self.parts) for index in self.indices}
        self.arrays["count"][self.indices] = 0
        self.envs = []
        for index in self.indices:
            self.where[:] = index, MAKE
            self.envs.append(opening.make(*settings["name"]))

    def reset(self) -> None:
        for index, env in zip(self.indices, self.envs, strict=True):
            self.start_episode(index, env, int(self.arrays["seeds"][index]))

    def start_episode(self, index: int, env: Any, seed: int | None) -> None:
        """Starts an episode and writes its first observation."""
        self.where[:] = index, RESET
        obs, info = encoding.two(env.reset(seed=seed))
        self.write("obs", index, self.encoders[index].first(obs, info))

    def step(self) -> None:
        arrays = self.arrays
        for index, env in zip(self.indices, self.envs, strict=True):
            self.where[:] = index, STEP
            arrays["count"][index] += 1
            answer = env.step(self.decode(arrays["action"][index]))
            obs, reward, ended, cut, info = encoding.five(answer)
            arrays["reward"][index] = encoding.number(reward)
            terminated = encoding.flag(ended, "terminated")
            truncated = encoding.flag(cut, "truncated") and not terminated
            arrays["terminated"][index], arrays["truncated"][index] = terminated, truncated
            done = terminated or truncated
            self.write("final" if done else "obs", index, self.encoders[index](obs, info))
            if done:
                self.start_episode(index, env, None)

    def write(self, where: str, index: int, obs: dict[str, np.ndarray]) -> None:
        for name, value in obs.items():
            self.arrays[f"{where}:{name}"][index] = value

    def close(self) -> None:
        for env in self.envs:
            with contextlib.suppress(Exception):
                env.close()


def failure(error: BaseException, where: Any = (0, MAKE), count: int = 0) -> dict[str, Any]:
    """What went wrong, in which environment and method, for the parent to word."""
    fault = isinstance(error, encoding.Fault)
    said = str(error).strip().split("\n")[0]
    return {
        "env": int(where[0]),
        "method": METHODS[where[1]],
        "count": int(count),
        "kind": "fault" if fault else type(error).__name__,
        "message": said,
        "place": "" if fault else place_of(error),
        "missing": isinstance(error, ImportError) or "NotInstalled" in type(error).__name__,
        "unsupported": isinstance(error, encoding.Unsupported),
        "details": traceback.format_exc(),
    }


def describe(settings: dict[str, Any]) -> dict[str, Any]:
    """The spaces of an environment as plain data, from one that is opened and reset."""
    env, reading = opening.make(*settings["name"]), settings["reading"]
    try:
        form = actions.action_form(env.action_space)
        encoding.leaves(env.observation_space, {}, *reading)  # which a reset may not survive
        settings["where"] = 0, RESET
        _, info = encoding.two(env.reset(seed=0))
        parts = encoding.leaves(env.observation_space, info, *reading)
        actions.check_mask(parts, form)
    finally:
        with contextlib.suppress(Exception):
            env.close()
    notes = remarks.notes(env.observation_space, parts)
    limit = env.spec.max_episode_steps if env.spec else None
    described = {"parts": [part._asdict() for part in parts], "form": form, "notes": notes}
    return {**described, "limit": limit or 0}


def inspect(settings: dict[str, Any]) -> dict[str, Any]:
    """The diagnosis of a failed environment, for its author."""
    name, kwargs, known = settings["name"]
    findings = inspection.findings(name, kwargs, known, settings["steps"], settings["reading"])
    return {"findings": findings}


def serve(link: socket.socket, settings: dict[str, Any]) -> None:
    """Opens this worker's environments and obeys one-byte commands until the parent is gone."""
    where, count, share = (settings["indices"][0], MAKE), 0, None
    try:
        share = Share(settings)
        while command := link.recv(1):
            (share.reset if command == b"r" else share.step)()
            link.sendall(b"k")
    except (ConnectionError, KeyboardInterrupt):
        pass
    except Exception as error:
        if share is not None:
            where = share.where.tolist()
            count = share.arrays["count"][where[0]]
        send(link, failure(error, where, count))
    if share is not None:
        share.close()


def send(link: socket.socket, message: dict[str, Any]) -> None:
    text = json.dumps(message).encode()
    with contextlib.suppress(OSError):
        link.sendall(b"e" + struct.pack("<I", len(text)) + text)


def receive(link: socket.socket, count: int) -> bytes:
    """`count` bytes.

    Raises:
        ConnectionError: the other side is gone.
    """
    data = b""
    while len(data) < count:
        part = link.recv(count - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def follow(link: socket.socket) -> None:
    """Ends this process when the parent is gone, whatever its environments are doing."""
    gone = select.poll()
    gone.register(link.fileno(), 0)  # a hang-up is reported even if nothing else is asked for
    gone.poll()
    time.sleep(GRACE_S)
    os._exit(1)


def main(descriptor: int) -> None:
    """Reads what to do from the socket with this file descriptor, and does it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to deal with
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # held back so far
    link = socket.socket(fileno=descriptor)
    threading.Thread(target=follow, args=(link,), daemon=True).start()
    settings: dict[str, Any] = {}
    try:
        settings = pickle.loads(receive(link, struct.unpack("<I", receive(link, 4))[0]))
        sys.path[:] = settings["sys_path"]
        if settings["task"] == "serve":
            return serve(link, settings)
        task = describe if settings["task"] == "describe" else inspect
        send(link, task(settings))
    except ConnectionError:
        pass
    except Exception as error:
        send(link, {"error": failure(error, settings.get("where", (0, MAKE)))})
