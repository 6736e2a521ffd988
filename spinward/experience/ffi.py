"""Callbacks from a compiled program into Python, by XLA's foreign function interface.

XLA calls a C function with a frame, which holds the addresses of arguments and results. `ctypes`
makes the C function, so nothing is compiled here. `jax.experimental.io_callback` takes seven times
as long, and JAX does not keep programs with an `io_callback` in its compile cache. Programs with
these calls are kept, because they contain only the name of a target. The frame's layout is defined
in `xla/ffi/api/c_api.h`, which has version numbers.
"""

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

Uint64 = ctypes.c_uint64
Shapes = list[jax.ShapeDtypeStruct]
Answer = Callable[[list[np.ndarray], list[np.ndarray]], None]  # reads arguments, fills in results

# Positions in a frame, and in the description of an array, counted in units of 64 bits.
FRAME, EXTENSION, ARGUMENTS, RESULTS = Uint64 * 22, 1, 5, 10
COUNT, PLACES = 2, 4  # of arguments, or of results
BUFFER, TYPE, DATA, RANK, SIZES = Uint64 * 6, 2, 3, 4, 5
TABLE_BYTES = 40  # of arguments, and of results
METADATA, VERSION = 3, 3  # in XLA's question about a function, and in the answer
MAJOR, MINOR = 0, 3
TYPES: dict[int, Any] = {
    1: np.bool_, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 6: np.uint8, 7: np.uint16,
    8: np.uint32, 9: np.uint64, 10: np.float16, 11: np.float32, 12: np.float64,
}  # fmt: skip


class CallbackServer:
    """Answers the calls of the running program. In a process, one program runs at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: dict[str, Answer] = {}
        self.views: dict[tuple[int, int], np.ndarray] = {}

    def run(self, answers: dict[str, Answer], program: Callable[..., Any], *args: Any) -> Any:
        """The result of `program`. Its calls are answered by the functions in `answers`."""
        with self.lock:
            self.answers = answers
            try:
                return jax.block_until_ready(program(*args))
            finally:
                self.answers = {}
                self.views.clear()  # they point into the program's memory

    def view(self, place: int) -> np.ndarray:
        """The array whose description is at the address `place`."""
        description = BUFFER.from_address(place)
        key = description[DATA], description[SIZES]
        array = self.views.get(key)
        if array is None:
            dtype = np.dtype(TYPES[description[TYPE] & 0xFF])
            shape = (Uint64 * description[RANK]).from_address(description[SIZES])[:]
            buffer = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(key[0])
            array = self.views[key] = np.frombuffer(buffer, dtype).reshape(shape)
        return array


SERVER = CallbackServer()


def views(frame: Any, table: int) -> list[np.ndarray]:
    places = (Uint64 * frame[table + COUNT]).from_address(frame[table + PLACES])
    return [SERVER.view(place) for place in places]


def answer_version(place: int) -> None:
    """Answers XLA's question about the version of the layout that a function expects."""
    metadata = (Uint64 * 4).from_address(place)[METADATA]
    (Uint64 * 6).from_address(metadata)[VERSION] = MAJOR | MINOR << 32


@functools.cache
def target(name: str) -> str:
    """The name of the XLA target for the answer `name`. The first call registers the target."""

    def handle(address: int) -> None:
        frame = FRAME.from_address(address)
        if frame[EXTENSION]:
            return answer_version(frame[EXTENSION])
        if frame[ARGUMENTS] == frame[RESULTS] == TABLE_BYTES:
            SERVER.answers[name](views(frame, ARGUMENTS), views(frame, RESULTS))

    registered = f"spinward_{name}"
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(handle)
    KEPT.append(function)
    jax.ffi.register_ffi_target(registered, jax.ffi.pycapsule(function), platform="cpu")
    return registered


KEPT: list[Any] = []  # registered functions, which must not be garbage-collected


def call(name: str, results: Shapes, *args: Array) -> list[Array]:
    """The results of the answer `name`: arrays of these shapes. Over seeds, this is one call."""
    target_call = jax.ffi.ffi_call(
        target(name), results, has_side_effect=True, vmap_method="broadcast_all"
    )
    return list(target_call(*args))


@functools.cache
def available() -> bool:
    """Whether such calls work with this version of JAX and on this device."""
    if jax.default_backend() != "cpu":
        return False

    def twice(args: list[np.ndarray], results: list[np.ndarray]) -> None:
        results[0][...] = 2 * args[0]

    shape = [jax.ShapeDtypeStruct((3,), np.float32)]
    numbers = np.arange(3, dtype=np.float32)
    try:
        (result,) = SERVER.run({"twice": twice}, call, "twice", shape, numbers)
    except Exception:
        return False
    return bool((np.asarray(result) == 2 * numbers).all())
