"""Clips of the present policy, filmed apart from training, each within one episode."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, HostEnv, Key, Policy, Renders
from spinward.envs.gymnasium import Gymnasium
from spinward.errors import SettingsError
from spinward.experience.rollout import with_last_reward
from spinward.experience.vector import Vector
from spinward.programs.seeds import compiled
from spinward.trees import where

ENVS = 4  # filmed side by side
SEGMENTS = 8  # filmed in one piece, in each environment
NUMBERS = ". --reward.show numbers shows its observations as bars"  # where nothing can be drawn
TRIES = 30  # times the steps that the clips have; beyond, episodes are too short


class Clip(NamedTuple):
    """Consecutive steps of one episode."""

    obs: Any  # [steps, ...]
    action: np.ndarray  # [steps, ...] in the policy's scale
    reward: np.ndarray  # [steps] of the environment, which people and predictors do not see
    seen: Any = None  # what is drawn: states of the environment [steps, ...], or frames


class Scene(NamedTuple):
    """Who acts where."""

    algorithm: Any
    env: Any
    agent: Any  # of one seed
    name: str  # of the environment, for messages


def film(scene: Scene, key: Key, count: int, steps: int, pictures: bool) -> list[Clip]:
    """`count` clips of so many steps; if `drawn`, with what is needed to draw them.

    Raises:
        SettingsError: episodes end before a clip does.
    """
    if isinstance(scene.env, HostEnv):
        pieces = rendered(scene, key, steps) if pictures else stepped(scene, key, steps)
    else:
        pieces = scanned(scene, key, steps)
    clips: list[Clip] = []
    filmed = 0
    for piece, done in pieces:
        clips += cut(piece, done, steps)
        filmed += done.size
        if len(clips) >= count:
            pieces.close()
            return clips[:count]
        if filmed > TRIES * count * steps:
            break
    pieces.close()
    raise SettingsError(
        f"{scene.name}: in {filmed:,} steps only {len(clips)} clips of segment={steps} steps end "
        "before their episode does; set a shorter --reward.segment, or train where episodes do not "
        "end early, such as CartPole-Endless"
    )


def cut(piece: Clip, done: np.ndarray, steps: int) -> list[Clip]:
    """The consecutive clips in steps [time, env]; the rest before the end of an episode is left."""
    clips = []
    for env in range(done.shape[1]):
        start = 0
        for t in range(done.shape[0]):
            if t - start + 1 == steps:
                part = jax.tree.map(lambda x, a=start, b=t, e=env: x[a : b + 1, e], piece)
                clips.append(part)
                start = t + 1
            elif done[t, env]:
                start = t + 1
    return clips


def scanned(scene: Scene, key: Key, steps: int) -> Any:
    """Pieces of an environment in JAX, one after another."""
    start, go = compiled(first_state, 0, ("envs",)), compiled(steps_of, 1, ("envs", "steps"))
    parts = scene.algorithm, scene.env, scene.agent
    state = start(*parts, key, envs=ENVS)
    while True:
        state, piece, done = go(*parts, state, envs=ENVS, steps=SEGMENTS * steps)
        yield jax.tree.map(np.asarray, piece), np.asarray(done)


def first_state(algorithm: Any, env: Any, agent: Any, key: Key, envs: int) -> Any:
    k_reset, key = jax.random.split(key)
    state, obs = jax.vmap(env.reset)(jax.random.split(k_reset, envs))
    return state, obs, algorithm.memory(agent, envs), key


def steps_of(
    algorithm: Any, env: Any, agent: Any, state: Any, envs: int, steps: int
) -> tuple[Any, Clip, Array]:
    """The state after so many steps, the steps [time, env, ...], and where episodes ended."""
    initial = algorithm.memory(agent, envs)

    def step(carry: Any, _: None) -> tuple[Any, tuple[Clip, Array]]:
        env_state, obs, memory, key = carry
        key, k_act, k_step, k_reset = jax.random.split(key, 4)
        action, memory, _ = algorithm.act(agent, obs, memory, k_act)
        after, next_obs, reward, terminated, truncated = jax.vmap(env.step)(
            env_state, env.spec.action.from_unit(action), jax.random.split(k_step, envs)
        )
        done = terminated | truncated
        fresh = jax.vmap(env.reset)(jax.random.split(k_reset, envs))
        onward, seen = where(done, fresh, (after, next_obs))
        memory = where(done, initial, with_last_reward(memory, reward))
        return (onward, seen, memory, key), (Clip(obs, action, reward, env_state), done)

    state, (piece, done) = jax.lax.scan(step, state, None, steps)
    return state, piece, done


def stepped(scene: Scene, key: Key, steps: int) -> Any:
    """Pieces of environments on a host."""
    agent = jax.tree.map(lambda x: jnp.asarray(x)[None], scene.agent)
    act = partial(compiled(act_all, 1), scene.algorithm, agent)
    policy = Policy(act, lambda envs: jax.vmap(lambda a: scene.algorithm.memory(a, envs))(agent))
    source = Vector(scene.env, ENVS, SEGMENTS * steps)
    try:
        state = source.init(key[None], policy.memory(ENVS))
        while True:
            key, k_steps = jax.random.split(key)
            state, batch, _ = source.collect(state, policy, k_steps[None])
            one = jax.tree.map(lambda x: np.asarray(x)[0], batch)
            lost = one.weight == 0.0
            yield Clip(one.obs, one.action, one.reward), one.done | lost
    finally:
        source.close()


def act_all(algorithm: Any, agent: Any, obs: Any, memory: Any, key: Key) -> Any:
    return jax.vmap(algorithm.act)(agent, obs, memory, key)


def rendered(scene: Scene, key: Key, steps: int) -> Any:
    """Pieces of one environment of Gymnasium, with a picture of each step."""
    opened = opened_to_draw(scene.env, scene.name)
    act, spec = compiled(act_one, 1), scene.env.spec
    obs = opened.reset(seed=int(jax.random.bits(key)) >> 1)
    memory, rows = scene.algorithm.memory(scene.agent, 1), []  # type: Any, list[Any]
    try:
        while True:
            frame = np.asarray(opened.render())
            key, k_act = jax.random.split(key)
            batch = jax.tree.map(lambda x: x[None], obs)
            action, memory = act(scene.algorithm, scene.agent, batch, memory, k_act)
            action, seen = np.asarray(action)[0], obs
            obs, reward, *ends = opened.step(np.asarray(spec.action.from_unit(action)))
            done = any(ends)
            rows.append((Clip(seen, action, np.asarray(reward, np.float32), frame), done))
            if done:
                obs, memory = opened.reset(), scene.algorithm.memory(scene.agent, 1)
            if done or len(rows) == steps:
                clips, ends = zip(*rows, strict=True)
                piece = jax.tree.map(lambda *x: np.stack(x)[:, None], *clips)
                rows = []
                yield piece, np.array(ends)[:, None]
    finally:
        opened.close()


def act_one(algorithm: Any, agent: Any, obs: Any, memory: Any, key: Key) -> Any:
    action, memory, _ = algorithm.act(agent, obs, memory, key)
    return action, memory


def opened_to_draw(env: Any, name: str, instead: str = NUMBERS) -> Any:
    """An open environment that renders.

    Raises:
        SettingsError: it does not; `instead` says what can be done.
    """
    if not isinstance(env, Gymnasium):
        raise undrawn(name, "it is no environment of Gymnasium's", instead)
    try:
        opened = env.open_one()
        opened.reset(seed=0)
        frame = opened.render()
    except Exception as error:
        if isinstance(error, SettingsError):
            raise
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]:.120}"
        raise undrawn(name, why, instead) from None
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3:
        why = f"render() gives a {type(frame).__name__}, not uint8 pixels"
        raise undrawn(name, why, instead)
    return opened


def check_drawn(env: Any, name: str) -> None:
    """Raises SettingsError, before training, where an environment cannot be drawn."""
    if isinstance(env, HostEnv):
        if isinstance(env, Gymnasium) and not isinstance(env.spec.obs, Box):
            raise undrawn(name, "its observations have several parts")
        opened_to_draw(env, name).close()
    elif not isinstance(env, Renders):
        raise undrawn(name, "it has no method render(state)")


def undrawn(name: str, why: str, instead: str = NUMBERS) -> SettingsError:
    return SettingsError(f"{name} cannot be drawn, so people would see nothing: {why}{instead}")
