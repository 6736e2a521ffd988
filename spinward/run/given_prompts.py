"""Prompts that are rows of a file."""

import sys

from spinward.core import replace
from spinward.envs.prompts import FilePrompts
from spinward.experience.wanted import Prompts
from spinward.language import reading
from spinward.language import rows as texts
from spinward.language.reading import Limits
from spinward.run.experiment import DataChoice


def with_prompts(env: FilePrompts, data: DataChoice, want: Prompts) -> FilePrompts:
    """`env` with the prompts of a file that leave room for a completion."""
    room = want.context - want.steps if want.context else sys.maxsize
    limits = Limits(room, data.skip, data.max_length)
    rows_read = reading.of_file(data.path, texts.prompt, env.vocabulary, limits)
    given = reading.given(rows_read, env.vocabulary)
    return replace(env, rows=reading.prompts(rows_read), given=given, notes=rows_read.notes)
