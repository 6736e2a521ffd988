"""One compilation cache for all processes of a test session, and devices as in a real run.

Nearly all the time of these tests goes into compiling programs that then run for milliseconds, so
XLA is told to spend less on them: about half. What it computes is the same mathematics, rounded
elsewhere. XLA_FLAGS of your own take the place of these; `XLA_FLAGS= make test` has none. Versions
of XLA differ in the flags that they know, so each is tried first.
"""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

FLAGS = ("--xla_cpu_use_fusion_emitters=false", "--xla_backend_optimization_level=0")
CACHE = "JAX_COMPILATION_CACHE_DIR"
_made = ""

if CACHE not in os.environ:  # set here once, and inherited by xdist's workers and by subprocesses
    _made = os.environ[CACHE] = tempfile.mkdtemp(prefix="spinward-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def known(flags):
    """Those flags that XLA takes: at one that it does not know, it ends its process."""
    code = "import jax; jax.devices('cpu')"
    environment = {**os.environ, "XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
    tried = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    if tried.returncode == 0 or not flags:
        return list(flags)
    return [flag for one in flags for flag in known((one,))] if len(flags) > 1 else []


if "XLA_FLAGS" not in os.environ:  # likewise, and for processes that tests start
    os.environ["XLA_FLAGS"] = " ".join(known(FLAGS))

import jax  # noqa: E402, which reads the variables when it is imported

from spinward.run import device  # noqa: E402

device.prepare()
gc.set_threshold(20_000, 20, 20)  # tracing makes many objects, few of them garbage


MAPPED = Path("/proc/self/maps")
MOST_MAPPED = 30_000  # areas of memory, of the 65,530 that Linux lets a process have


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drops compiled programs after a file of tests, once there are many: each takes areas of
    memory, and XLA dies where there are no more."""
    yield
    if MAPPED.exists() and MAPPED.read_bytes().count(b"\n") > MOST_MAPPED:
        jax.clear_caches()
        gc.collect()


def pytest_unconfigure():
    if _made:
        shutil.rmtree(_made, ignore_errors=True)
