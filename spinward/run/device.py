"""What must be said to JAX before it starts."""

import contextlib
import os
from pathlib import Path
from typing import Any

from spinward.loop import MOST_SHARDS


def prepare() -> None:
    """Keeps compiled programs for the next process, and lets seeds share the cores of a CPU."""
    import jax

    settings: Any = jax.config
    if settings.jax_compilation_cache_dir is None and "SPINWARD_NO_CACHE" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(home / "spinward" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    with contextlib.suppress(RuntimeError):  # somebody computed before us: seeds share one device
        jax.config.update("jax_num_cpu_devices", MOST_SHARDS)
