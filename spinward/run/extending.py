"""Makes a run longer: new settings in config.json, for which the checkpoints vouch beforehand.

A checkpoint holds the digest of config.json. So each checkpoint first gets the digest of the new
settings beside that of the old ones, and then the file is replaced. Whatever happens in between,
the settings on disk are among those that each checkpoint vouches for.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError, SettingsError
from spinward.run import folders
from spinward.run.assemble import Assembled
from spinward.run.shards import alone
from spinward.store import checkpoint, files, integrity


def extend(run: Path, made: Assembled, steps: int) -> str:
    """Lets a run go on up to so many steps of each seed, rounded up to whole log intervals of the
    same length as before. Returns a note on a setting that grew with the steps, or nothing.

    Raises:
        SettingsError: the run has as many steps already.
        DamagedFileError: a checkpoint was saved under other settings.
    """
    experiment = made.experiment
    iterations, log_every = experiment.plan(made.stride)
    points = -(-steps // (made.stride * log_every))
    if points * log_every <= iterations:
        raise SettingsError(
            f"--steps {steps}: {run} has {iterations * made.stride:,} steps; to make it longer, "
            "give more"
        )
    content = json.loads(files.read(run / integrity.CONFIG, run, integrity.LIMIT))
    fields, before = content["algorithm"]["fields"], experiment.steps
    whole = points * log_every * made.stride
    content |= {"steps": whole, "logs": points}
    note = ""
    if fields.get("anneal_steps") == before:  # which is the whole run
        fields["anneal_steps"] = whole
        note = f"anneal_steps is {whole} in place of {before}, so that it ends with the run; "
        note += "so the run differs from one that had this length at once"
    replace_config(run, content)
    return note


def replace_config(run: Path, content: dict[str, Any]) -> None:
    """Writes other settings, once all checkpoints vouch for them too."""
    text = (json.dumps(content, indent=1) + "\n").encode()
    seeds = folders.seeds_of(run, content)
    with contextlib.ExitStack() as locks:
        for folder, _, _ in seeds:
            locks.enter_context(alone(folder))
        now, new = integrity.config_digest(run), hashlib.sha256(text).hexdigest()
        stamp = {"config_file_sha256": now, "config_next_sha256": new}
        for folder, seed, count in seeds:
            for path in checkpoint.checkpoints(folder / "checkpoints"):
                vouch(run, path, seed, count, stamp)
        files.write_atomically(run / integrity.CONFIG, text)


def vouch(run: Path, path: Path, seed: int, seeds: int, stamp: dict[str, str]) -> None:
    """Adds the digests of settings to a checkpoint; a damaged one stays as it is."""
    try:
        info = checkpoint.read_manifest(path).info
    except DamagedFileError:
        return
    integrity.check_config(run, path, integrity.vouched(path, info), seed, seeds)
    checkpoint.stamp(path, info | stamp)
