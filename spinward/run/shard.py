"""The process of one shard: `python -m spinward.run.shard RUN CHECKPOINT_S TRUST OLDER INDEX`."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from spinward import interrupts
from spinward.errors import SpinwardError, Stopped


def main(words: list[str]) -> int:
    interrupts.set_run(words[0])
    interrupts.install(lambda line: tell(Stopped(line)))
    threading.Thread(target=stop_with_parent, daemon=True).start()
    try:
        train(*words)
    except SpinwardError as error:
        tell(error)
        return error.exit_code
    interrupts.ended()
    return 0


def train(run: str, checkpoint_s: str, trust: str, older: str, index: str) -> None:
    """Trains the shard of an index. What it needs is imported here: it takes seconds, in which the
    process may be asked to stop."""
    from spinward.run import device, shards
    from spinward.run.assemble import assemble
    from spinward.run.config import from_config, read_config
    from spinward.run.folders import shards_of
    from spinward.run.watching import Options

    device.prepare()
    path = Path(run) / "config.json"
    experiment = from_config(read_config(path), trust == "True", path)
    shard = shards_of(experiment, on_device=True)[int(index)]
    folder = Path(run) / "shards" / index
    options = Options(checkpoint_s=float(checkpoint_s), older=older == "True")
    shards.train_one(assemble(shard), shard, folder, options)


def tell(error: SpinwardError) -> None:
    """Leaves an error for the parent process, past Python's buffers."""
    failure = {"kind": type(error).__name__, "message": str(error)}
    os.write(2, f"\n{json.dumps(failure)}\n".encode())


def stop_with_parent() -> None:
    """Stops and saves this process when its parent process is gone."""
    while os.read(0, 1):  # not sys.stdin, which a thread may not hold when Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
