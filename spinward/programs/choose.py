"""Chooses the program that runs a system. No other file decides."""

from typing import Any

import jax

from spinward.experience import ffi
from spinward.experience.callback_source import CallbackSource, Host
from spinward.experience.material import innermost, with_innermost
from spinward.experience.streamed import StreamedSteps
from spinward.experience.vector import Vector
from spinward.experience.workers import Workers
from spinward.loop import Parts, at, first_agent
from spinward.programs import calling, device, python
from spinward.programs.seeds import Program

LARGE = 1_000_000  # numbers in an agent; above, learning takes much longer than waking a thread


def program(parts: Parts) -> Program:
    """The program for the loop of all seeds.

    Where experience is computed on the device, the whole loop is one compiled program. Where
    environments are on a host, the compiled program calls them. A loop in Python runs three cases:
    a large agent, which learns while environments are stepped, actors, which it waits for, and
    logged data that stay on the disk.
    """
    host = innermost(parts.source)
    if not on_host(parts):
        return device.program(parts)
    if isinstance(host, Vector) and ffi.available() and not large(parts):
        source: Any = with_innermost(parts.source, CallbackSource(host.spec, host.steps))
        return calling.program(parts._replace(source=source), Host(host.env))
    return python.program(parts, host)


def on_host(parts: Parts) -> bool:
    """Whether environments are stepped outside the compiled program. Such a run cannot be repeated
    bit for bit, and its seeds are one batch."""
    return isinstance(innermost(parts.source), Vector | Workers | StreamedSteps)


def large(parts: Parts) -> bool:
    """Whether learning takes long enough to run in the background while environments step."""
    algorithm, source, reward, _ = at(parts, 0)
    shapes = jax.eval_shape(
        lambda key: first_agent(algorithm, reward, source.spec, key)[0], jax.random.key(0)
    )
    return sum(leaf.size for leaf in jax.tree.leaves(shapes)) >= LARGE
