"""One compilation cache for all processes of a test session, and devices as in a real run.

Nearly all the time of these tests goes into compiling programs that then run for milliseconds, so
XLA is told to spend less on them, here and where the library asks for more: about half. What it
computes is the same mathematics, rounded elsewhere. XLA_FLAGS of your own take the place of these,
and then the library has what it asks for; `XLA_FLAGS= make test` is as in a real run.
"""

import gc
import os
import shutil
import tempfile

FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
CACHE = "JAX_COMPILATION_CACHE_DIR"
_made = ""

if CACHE not in os.environ:  # set here once, and inherited by xdist's workers and by subprocesses
    _made = os.environ[CACHE] = tempfile.mkdtemp(prefix="spinward-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

quick = os.environ.setdefault("XLA_FLAGS", FLAGS) == FLAGS

import jax  # noqa: E402, it reads the variables when it is imported

from spinward.run import device  # noqa: E402

device.prepare()
gc.set_threshold(20_000, 20, 20)  # tracing makes many objects, few of them garbage


def jit(*args, compiler_options=None, as_is=jax.jit, **settings):
    """`jax.jit`, but for the effort that a program asks for."""
    return as_is(*args, **settings)


if quick:
    jax.jit = jit


def pytest_unconfigure():
    if _made:
        shutil.rmtree(_made, ignore_errors=True)
