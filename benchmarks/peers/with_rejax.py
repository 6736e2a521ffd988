"""PPO and DQN by rejax on its gymnax environment, all seeds in one vmap.

Training time is the run of a program compiled ahead of time; evaluation is switched off and done
once at the end, outside every measure.
"""

from typing import Any

import jax
import rejax
from rejax.evaluate import evaluate

from benchmarks import measure

EPISODES = 128  # rejax's own number of evaluation episodes


class OneDone:
    """A gymnax environment whose step answers one `done`, as rejax 0.1 expects of gymnax 0.

    gymnax 1 tells termination from truncation. Under jit the wrapper costs nothing.
    """

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # while a copy is being made, and has no env yet
            raise AttributeError(name)
        return getattr(self.env, name)

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> tuple[Any, ...]:
        answer = self.env.step(key, state, action, params)
        if len(answer) == 5:
            return answer
        obs, state, reward, terminated, truncated, info = answer
        return obs, state, reward, terminated | truncated, info


def shared(ask: measure.Request) -> dict[str, Any]:
    """Settings that PPO and DQN have in common."""
    chosen = ask.settings
    return {
        "env": ask.env,
        "num_envs": chosen["envs"],
        "learning_rate": chosen["lr"],
        "gamma": chosen["gamma"],
        "max_grad_norm": chosen["max_grad_norm"],
        "total_timesteps": ask.env_steps,
        "eval_freq": ask.env_steps,
        "skip_initial_evaluation": True,
    }


def ppo(ask: measure.Request) -> Any:
    chosen = ask.settings
    return rejax.PPO.create(
        **shared(ask),
        agent_kwargs={
            "activation": chosen["activation"],
            "hidden_layer_sizes": tuple(chosen["hidden"]),
        },
        num_steps=chosen["steps"],
        num_epochs=chosen["epochs"],
        num_minibatches=chosen["minibatches"],
        gae_lambda=chosen["lam"],
        clip_eps=chosen["clip"],
        ent_coef=chosen["entropy_coef"],
        vf_coef=chosen["value_coef"],
    )


def dqn(ask: measure.Request) -> Any:
    chosen = ask.settings
    if list(chosen["hidden"]) != [64, 64]:
        raise ValueError(f"hidden={chosen['hidden']}: rejax's DQN has two layers of 64 units")
    return rejax.DQN.create(
        **shared(ask),
        agent="QNetwork",
        agent_kwargs={"activation": chosen["activation"]},
        buffer_size=chosen["capacity"],
        fill_buffer=chosen["warmup"],
        batch_size=chosen["batch"],
        num_epochs=chosen["updates"],
        polyak=1 - chosen["tau"],
        eps_start=1.0,
        eps_end=chosen["epsilon"],
        exploration_fraction=chosen["anneal_steps"] / ask.env_steps,
        ddqn=chosen["double"],
    )


def main() -> None:
    ask = measure.request()
    algorithm = {"ppo": ppo, "dqn": dqn}[ask.algorithm](ask)
    algorithm = algorithm.replace(
        env=OneDone(algorithm.env), eval_callback=lambda algorithm, state, key: ()
    )
    keys = jax.random.split(jax.random.key(ask.seed), ask.seeds)

    def one(key: jax.Array) -> Any:
        return algorithm.train(rng=key)[0]

    train = jax.jit(jax.vmap(one) if ask.seeds > 1 else lambda keys: one(keys[0]))
    compiled = train.lower(keys).compile()
    started = measure.spent()
    state = jax.block_until_ready(compiled(keys))
    total = measure.spent()

    measure.report(
        "rejax",
        total=total,
        started=started,
        train=measure.between(started, total),
        env_steps=int(state.global_step.sum()),
        env_steps_train=int(state.global_step.sum()),
        final_return=final_return(algorithm, state, ask.seeds),
        return_kind=f"{EPISODES} evaluation episodes per seed",
        jax=jax.__version__,
    )


def final_return(algorithm: Any, state: Any, seeds: int) -> float:
    """Mean return of the trained agents."""

    def one(state: Any) -> jax.Array:
        act = algorithm.make_act(state)
        limit = algorithm.env_params.max_steps_in_episode
        key = jax.random.key(1)
        return evaluate(act, key, algorithm.env, algorithm.env_params, EPISODES, limit)[1].mean()

    returns = jax.jit(jax.vmap(one) if seeds > 1 else one)(state)
    return float(returns.mean())


if __name__ == "__main__":
    main()
