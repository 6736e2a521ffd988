"""Calls of this process from inside a compiled program, by XLA's foreign function interface.

XLA calls a C function with a frame that says where arguments and results lie. `ctypes` makes that
function, so nothing is compiled here. `jax.experimental.io_callback` does the same in seven times
the time, and programs with one are not kept in the compile cache; these are, for a program holds no
more than the name of a target. The layout is that of `xla/ffi/api/c_api.h`, which has versions.
"""

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

Word = ctypes.c_uint64
Shapes = list[jax.ShapeDtypeStruct]
Answer = Callable[[list[np.ndarray], list[np.ndarray]], None]  # reads arguments, fills in results

# The parts of a frame that are read, and of what describes an array, in words of 64 bits.
FRAME, EXTENSION, ARGUMENTS, RESULTS = Word * 22, 1, 5, 10
COUNT, PLACES = 2, 4  # of arguments, or of results
BUFFER, TYPE, DATA, RANK, SIZES = Word * 6, 2, 3, 4, 5
TABLE_BYTES = 40  # of arguments, and of results
METADATA, VERSION = 3, 3  # in the question about a function, and in what answers it
MAJOR, MINOR = 0, 3
TYPES: dict[int, Any] = {
    1: np.bool_, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 6: np.uint8, 7: np.uint16,
    8: np.uint32, 9: np.uint64, 10: np.float16, 11: np.float32, 12: np.float64,
}  # fmt: skip


class CallbackServer:
    """Who answers the calls of the program that runs: one program at a time in a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: dict[str, Answer] = {}
        self.views: dict[tuple[int, int], np.ndarray] = {}

    def run(self, answers: dict[str, Answer], program: Callable[..., Any], *args: Any) -> Any:
        """What `program` returns, whose calls get these answers by name."""
        with self.lock:
            self.answers = answers
            try:
                return jax.block_until_ready(program(*args))
            finally:
                self.answers = {}
                self.views.clear()  # of memory that is the program's

    def view(self, place: int) -> np.ndarray:
        """The array that is described at `place`."""
        described = BUFFER.from_address(place)
        key = described[DATA], described[SIZES]
        found = self.views.get(key)
        if found is None:
            dtype = np.dtype(TYPES[described[TYPE] & 0xFF])
            shape = (Word * described[RANK]).from_address(described[SIZES])[:]
            memory = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(key[0])
            found = self.views[key] = np.frombuffer(memory, dtype).reshape(shape)
        return found


SERVER = CallbackServer()


def views(frame: Any, table: int) -> list[np.ndarray]:
    places = (Word * frame[table + COUNT]).from_address(frame[table + PLACES])
    return [SERVER.view(place) for place in places]


def answer_version(place: int) -> None:
    """Answers XLA's question which version of the layout a function is made for."""
    metadata = (Word * 4).from_address(place)[METADATA]
    (Word * 6).from_address(metadata)[VERSION] = MAJOR | MINOR << 32


@functools.cache
def target(name: str) -> str:
    """What XLA calls the answer `name` of whoever serves; known to it from here on."""

    def handle(at: int) -> None:
        frame = FRAME.from_address(at)
        if frame[EXTENSION]:
            return answer_version(frame[EXTENSION])
        if frame[ARGUMENTS] == frame[RESULTS] == TABLE_BYTES:
            SERVER.answers[name](views(frame, ARGUMENTS), views(frame, RESULTS))

    called = f"spinward_{name}"
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(handle)
    KEPT.append(function)
    jax.ffi.register_ffi_target(called, jax.ffi.pycapsule(function), platform="cpu")
    return called


KEPT: list[Any] = []  # functions that XLA knows, which must not be collected


def call(name: str, results: Shapes, *args: Array) -> list[Array]:
    """What the answer `name` fills in, in arrays of these shapes; over seeds in one call."""
    ask = jax.ffi.ffi_call(target(name), results, has_side_effect=True, vmap_method="broadcast_all")
    return list(ask(*args))


@functools.cache
def available() -> bool:
    """Whether such calls work with this version of JAX and on what it computes on."""
    if jax.default_backend() != "cpu":
        return False

    def twice(args: list[np.ndarray], results: list[np.ndarray]) -> None:
        results[0][...] = 2 * args[0]

    shape = [jax.ShapeDtypeStruct((3,), np.float32)]
    numbers = np.arange(3, dtype=np.float32)
    try:
        (found,) = SERVER.run({"twice": twice}, call, "twice", shape, numbers)
    except Exception:
        return False
    return bool((np.asarray(found) == 2 * numbers).all())
