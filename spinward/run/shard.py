"""The process of one shard: `python -m spinward.run.shard RUN CHECKPOINT_S TRUST OLDER INDEX`."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from spinward.errors import SpinwardError
from spinward.run import device, shards
from spinward.run.assemble import assemble
from spinward.run.config import from_config, read_config
from spinward.run.folders import shards_of
from spinward.run.watching import Options


def main(words: list[str]) -> int:
    run, checkpoint_s, trust, older, index = words
    threading.Thread(target=stop_with_parent, daemon=True).start()
    device.prepare()
    try:
        path = Path(run) / "config.json"
        experiment = from_config(read_config(path), trust == "True", path)
        shard = shards_of(experiment, on_device=True)[int(index)]
        folder = Path(run) / "shards" / index
        options = Options(checkpoint_s=float(checkpoint_s), older=older == "True")
        shards.train_one(assemble(shard), shard, folder, options)
    except SpinwardError as error:
        failure = {"kind": type(error).__name__, "message": str(error)}
        print(f"\n{json.dumps(failure)}", file=sys.stderr)
        return error.exit_code
    return 0


def stop_with_parent() -> None:
    """Stops and saves this process when its parent process is gone."""
    while os.read(0, 1):  # not sys.stdin, which a thread may not hold when Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
