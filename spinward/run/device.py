"""Settings of JAX that must be made before JAX starts."""

import os
from pathlib import Path
from typing import Any


def prepare() -> None:
    """Keeps compiled programs on disk for the next process, and gives XLA one CPU thread.

    With two threads, a program of small kernels takes twice the CPU time and no less wall time.
    Seeds use the other cores, as processes (`run/shards.py`). A user's value of NPROC is kept.
    """
    os.environ.setdefault("NPROC", "1")
    import jax

    from spinward.run import threefry

    threefry.unroll()
    settings: Any = jax.config
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if settings.jax_compilation_cache_dir is None and "SPINWARD_NO_CACHE" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(home / "spinward" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
