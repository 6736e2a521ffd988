"""Between the chunks of a run: ask questions by a schedule, take the answers, fit the predictors.

A hook of `run/between.py`. What a fit changed is recorded with its iteration, so a resumed run is
exact, although people's answers come at any time.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import Key, TrainState, replace
from spinward.people import critic_reset, demonstrations, filming, held_out, pictures, teachers
from spinward.people import database as databases
from spinward.people.accounts import Accounts
from spinward.people.clips import LabelledClips, totals_of
from spinward.people.filming import Clip, Scene
from spinward.people.labels import Label, Labels
from spinward.people.schedule import AskingPlan, batches, wanted
from spinward.programs.seeds import compiled
from spinward.rewards.preferences import LEAST, PEOPLE, Preferences, PreferenceState

POOL = 2.0  # clips filmed for each question


class Cycle:
    """The hook of one shard of a run."""

    def __init__(self, reward: Preferences, algorithm: Any, env: Any, name: str, plan: AskingPlan,
                 run: Path, spec: Any = None) -> None:  # fmt: skip
        self.reward, self.plan, self.run = reward, plan, run
        self.spec = spec or env.spec  # that agents are made for
        self.scene = Scene(algorithm, env, None, name)
        self.database = databases.of_run(run, create=True)
        self.labels = Labels(self.database)
        self.clips = LabelledClips(reward, self.database, self.labels)
        self.demos = demonstrations.opened_clips(reward, env.spec) if reward.demos else None
        self.announced = False
        asks = reward.labels * reward.overlap * plan.seeds
        self.database.note(env=name, budget=asks, state="running")

    def waits(self, state: TrainState, iteration: int) -> bool:
        """Asks what is due, and says whether answers are lacking that training has to wait for."""
        for seed in range(self.plan.seeds):
            self.ask_due(state, iteration, seed)
        if self.reward.teacher != PEOPLE or not self.reward.wait:
            return False
        lacking = self.waits_for(iteration)
        if lacking and not self.announced:
            line = f"waiting for {lacking} answers: spinward label {self.run}"
            print(line, file=sys.stderr, flush=True)
        self.announced = lacking > 0
        return lacking > 0

    def waits_for(self, iteration: int) -> int:
        """The number of answers that are lacking to the questions asked up to an iteration."""
        return self.database.number(
            "SELECT sum(overlap - answers) FROM question WHERE answers < overlap AND "
            "iteration <= ?",
            iteration,
        )

    def __call__(self, state: TrainState, iteration: int) -> TrainState:
        """The state with predictors that know all answers."""
        self.waits(state, iteration)
        fitted = [self.fitted(state, iteration, s) for s in range(self.plan.seeds)]
        if all(new is None for new in fitted):
            return state
        rewards = [of(state.reward, s) if new is None else new for s, new in enumerate(fitted)]
        agents, before = state.agent, np.asarray(state.reward.fits)
        for s, new in enumerate(fitted if self.reward.reset_critic else ()):
            if new is not None and before[s] == 0 < int(new.fits):
                key = self.key(s, 13, iteration)
                agents = critic_reset.reset(agents, self.scene.algorithm, self.spec, s, key)
        rewards = jax.tree.map(lambda *x: np.stack(x), *rewards)
        return replace(state, agent=agents, reward=rewards)

    def key(self, seed: int, use: int, iteration: int) -> Key:
        key = jax.random.fold_in(jax.random.PRNGKey(self.plan.seed + seed), use)
        return jax.random.fold_in(key, iteration)

    def close(self, finished: bool) -> None:
        for seed in range(self.plan.seed, self.plan.seed + self.plan.seeds) if finished else ():
            if not self.database.number("SELECT max(labels) FROM progress WHERE seed = ?", seed):
                few = f"{len(self.labels.labels(seed=seed))} labels are too few to learn one from"
                print(f"spinward: warning: seed {seed} had no reward: {few}", file=sys.stderr)
        self.database.note(state="finished" if finished else "stopped")
        self.database.close()

    # Asking

    def wanted(self, iteration: int) -> int:
        """Questions to have asked each seed before an iteration."""
        return wanted(self.reward, self.plan, iteration)

    def ask_due(self, state: TrainState, iteration: int, seed: int) -> None:
        number = self.plan.seed + seed
        asked = "SELECT count(*) FROM question WHERE seed = ? AND iteration"
        before = self.database.number(f"{asked} < ?", number, iteration)
        here = self.database.number(f"{asked} = ?", number, iteration)
        count = self.wanted(iteration) - before
        if here < count:
            self.ask(state, iteration, seed, count, self.key(seed, 7, iteration))

    def ask(self, state: TrainState, iteration: int, seed: int, count: int, key: Key) -> None:
        """Films clips of a seed's policy, and asks so many questions about them."""
        r, number = self.reward, self.plan.seed + seed
        scene = self.scene._replace(agent=of(state.agent, seed))
        pictures = r.teacher == PEOPLE and r.show == "pictures"
        pool = filming.film(scene, key, math.ceil(POOL * count), r.segment, pictures)
        chance = np.random.default_rng([number, iteration])
        pairs = self.pairs_to_ask(of(state.reward, seed), pool, count, chance)
        usual = float(np.mean([clip.reward.sum() for clip in pool]))
        if r.teacher != PEOPLE:
            with self.database.writing(durable=True):
                self.answered(pool, pairs, (number, iteration), usual, chance)
            return
        for n, pair in enumerate(pairs):  # people can begin while the others are drawn
            with self.database.writing(durable=True):
                self.question(pool, pair, n, (number, iteration))
        self.repeat(number, iteration, round(r.repeat_share * count), chance)

    def repeat(self, number: int, iteration: int, count: int, chance: np.random.Generator) -> None:
        """Asks so many earlier questions again, of those who have answered them. Training does not
        wait for the answers, which give no labels."""
        earlier = self.database.rows(
            "SELECT id, items FROM question WHERE seed = ? AND iteration < ? ORDER BY id",
            *(number, iteration),
        )
        with self.database.writing(durable=True):
            for i in chance.permutation(len(earlier))[:count]:
                first, second = json.loads(earlier[i]["items"])
                origin, again = f"again {number}:{iteration}:{i}", (second, first)
                self.labels.ask(origin, again, repeats=earlier[i]["id"])

    def pairs_to_ask(
        self, state: PreferenceState, pool: list[Clip], count: int, chance: np.random.Generator
    ) -> list[tuple[int, int]]:
        """Pairs of clips: random, or of many random pairs those that the members disagree on
        most."""
        several = self.reward.queries == "disagreement" and int(state.fits) > 0
        candidates = count * (self.reward.candidates if several else 1)
        first = chance.integers(len(pool), size=candidates)
        second = (first + chance.integers(1, len(pool), size=candidates)) % len(pool)
        pairs = list(dict.fromkeys(zip(first.tolist(), second.tolist(), strict=True)))
        while len(pairs) < count:
            i, j = chance.choice(len(pool), 2, replace=False).tolist()
            pairs = list(dict.fromkeys([*pairs, (i, j)]))
        if several:
            total = self.totals(state, pool)
            one, two = np.array(pairs).T
            margin = np.clip(total[:, two] - total[:, one], -50.0, 50.0)
            spread = np.var(1.0 / (1.0 + np.exp(margin)), 0)
            order = np.argsort(-spread, kind="stable")
            pairs = [pairs[i] for i in order]
        return pairs[:count]

    def totals(self, state: PreferenceState, pool: list[Clip]) -> np.ndarray:
        """The members' predictions [members, clip], summed over each clip."""
        return totals_of(self.reward, state, pool)

    def question(
        self, pool: list[Clip], pair: tuple[int, int], n: int, place: tuple[int, int]
    ) -> int:
        """Asks one question, and returns its number."""
        r, where = self.reward, "{}:{}".format(*place)
        items = []
        for i in pair:
            origin, picture = f"clip {where}:{i}", (None, None)  # type: str, Any
            known = self.database.row("SELECT id FROM item WHERE origin = ?", origin)
            if known is None and r.teacher == PEOPLE:
                frames = pictures.frames(self.scene.env, pool[i], r.show)
                picture = pictures.sheet(frames, r.fps)
            content = b"" if known else pictures.pack(pool[i])
            items.append(self.labels.add_item("clip", origin, content, *picture))
        ask = self.labels.ask
        return ask(f"pair {where}:{n}", tuple(items), overlap=r.overlap, place=place)

    def answered(self, pool: list[Clip], pairs: list[tuple[int, int]], place: tuple[int, int],
                 usual: float, chance: np.random.Generator) -> None:  # fmt: skip
        """Asks a program, and stores its answers."""
        who = self.database.row("SELECT id FROM labeller WHERE name = ?", self.program)
        assert who is not None
        for n, (i, j) in enumerate(pairs):
            question = self.question(pool, (i, j), n, place)
            answer = teachers.answer(
                self.reward.teacher, pool[i].reward, pool[j].reward, usual, chance
            )
            self.labels.add_answer(question, int(who[0]), answer, f"{self.program} {question}")

    @property
    def program(self) -> str:
        return f"program:{self.reward.teacher}"

    # Learning

    def fitted(self, state: TrainState, iteration: int, seed: int) -> PreferenceState | None:
        """The reward's state after a fit to all answers, and with the newest scores of the policy
        where answers are held out; None if there is nothing new."""
        before, number = of(state.reward, seed), self.plan.seed + seed
        last = self.upto(iteration, number)
        labels = self.labels.labels(seed=number, upto=last)[-self.reward.labels :]
        kept, held = held_out.split(self.reward, labels, number)
        new: PreferenceState | None = None
        enough = max(1, min(LEAST, self.reward.labels - len(held)))
        if last != int(before.last) and len(kept) >= enough:
            new = self.fit(before, kept, iteration, number, self.demos)
            new = replace(new, last=np.int32(last))
            if len(held) >= LEAST:
                other = self.fit(new.held_out.predictor, held, iteration, number)
                new = replace(new, held_out=replace(new.held_out, predictor=other))
            self.note_accuracy(new, iteration, number)
        if self.reward.keep_out and int((new or before).held_out.predictor.fits) > 0:
            return self.scored(new or before, state, iteration, seed)
        return new

    def fit(
        self, before: PreferenceState, labels: list[Label], iteration: int, number: int,
        demos: demonstrations.DemoClips | None = None,
    ) -> PreferenceState:  # fmt: skip
        """A predictor's state after a fit to labels, and to demonstrations if there are `demos`."""
        data = self.clips.comparisons(labels, number)
        if demos is not None:
            weight = demonstrations.weight(self.reward, iteration / self.plan.iterations)
            data = demos.added(data, self.clips.first(number), weight, number)
        first = int(before.fits) == 0
        steps = self.reward.first_updates if first else self.reward.updates
        index = batches(data.counts * data.weight, steps, self.reward.batch, [number, iteration])
        fit = compiled(Preferences.fit, 1)
        done: PreferenceState = before
        for part in np.array_split(index, math.ceil(steps / self.reward.updates)):
            done = fit(self.reward, done, data, part)
        return replace(done, labels=np.int32(len(labels)))

    def note_accuracy(self, state: PreferenceState, iteration: int, number: int) -> None:
        with self.database.writing():
            self.database.execute(
                "UPDATE progress SET labels = ?, accuracy = ? WHERE seed = ? AND iteration = ?",
                *(int(state.labels), float(state.accuracy), number, iteration),
            )

    def scored(
        self, new: PreferenceState, state: TrainState, iteration: int, seed: int
    ) -> PreferenceState:
        """The state with scores of new clips of a seed's policy, by both predictors."""
        r, number = self.reward, self.plan.seed + seed
        key = self.key(seed, 11, iteration)
        scene = self.scene._replace(agent=of(state.agent, seed))
        clips = filming.film(scene, key, r.keep_out_clips, r.segment, False)
        first = self.clips.first(number)
        proxy, other = (
            np.float32(held_out.score(r, each, clips, first))
            for each in (new, new.held_out.predictor)
        )
        return replace(new, held_out=replace(new.held_out, proxy=proxy, score=other))

    def upto(self, iteration: int, number: int) -> int:
        """The number of the last response that may be known at an iteration. It is kept, so that a
        run that repeats the iteration knows no more."""
        steps = iteration * self.plan.stride
        last = self.database.number(
            "SELECT max(r.id) FROM response r JOIN question q ON q.id = r.question "
            "WHERE q.seed = ?",
            number,
        )
        with self.database.writing():
            self.database.execute(
                "INSERT INTO progress (seed, iteration, env_steps, labels, wanted, upto, at) "
                "VALUES (?, ?, ?, 0, ?, ?, ?) ON CONFLICT DO NOTHING",
                *(number, iteration, steps, self.wanted(iteration), last, time.time()),
            )
        return self.database.number(
            "SELECT upto FROM progress WHERE seed = ? AND iteration = ?", number, iteration
        )


def of(tree: Any, seed: int) -> Any:
    """The part of one seed."""
    return jax.tree.map(lambda x: np.asarray(x)[seed], tree)  # compiles nothing, unlike x[seed]


def hook(
    reward: Any, algorithm: Any, env: Any, name: str, plan: AskingPlan, run: Path, spec: Any = None
) -> Cycle | None:
    """The hook that a run's reward needs; None for a reward that asks nobody."""
    if not isinstance(reward, Preferences):
        return None
    cycle = Cycle(reward, algorithm, env, name, plan, run, spec)
    if reward.teacher != PEOPLE:
        Accounts(cycle.database, time.time()).named(cycle.program)
    return cycle
