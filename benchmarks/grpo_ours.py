"""Spinward's side of the GRPO workload: writing, judging and learning, from a model of its own."""

from typing import Any

from benchmarks import measure
from benchmarks.measure import Cost


def main() -> None:
    ask = measure.request()
    chosen = ask.settings
    from spinward.run import device

    device.prepare()
    import jax
    import jax.numpy as jnp
    import numpy as np

    import spinward
    from spinward.algorithms.grpo import GRPO
    from spinward.core import config
    from spinward.envs.text import token_spec
    from spinward.experience.material import source_for
    from spinward.loop import Parts
    from spinward.networks.decoder import Decoder, Shape
    from spinward.programs.choose import program
    from spinward.rewards.environment import Environment

    vocab = chosen["vocab"]

    @config
    class Count:
        """How many of the tokens written are in the upper half; none ends a completion."""

        prompt: int = chosen["prompt"]
        end: int = vocab
        vocabulary: Any = None

        @property
        def spec(self) -> Any:
            return token_spec(vocab)

        def reset(self, key: Any) -> Any:
            return (), jax.random.randint(key, (self.prompt,), 0, vocab)

        def score(self, state: Any, completion: Any) -> Any:
            return (completion >= vocab // 2).mean()

    sizes = chosen["width"], chosen["layers"], chosen["heads"], chosen["prompt"] + chosen["steps"]
    start = Decoder.init(jax.random.PRNGKey(ask.seed), Shape.small(vocab, *sizes))
    names = ("envs", "group", "lr", "clip")
    settings = {name: chosen[name] for name in names} | {"clip_higher": chosen["clip"]}
    settings |= {"measure_kl": False} if "measure_kl" in GRPO.__dataclass_fields__ else {}
    algorithm = GRPO(rollout=chosen["steps"], kl_in="", start=start, **settings)
    algorithm.check(Count().spec)
    parts = Parts(algorithm, source_for(algorithm.wants(Count().spec), Count()), Environment())
    made = program(parts)
    tokens = chosen["envs"] * chosen["steps"]
    updates = ask.env_steps // tokens
    state = made.start(jax.vmap(jax.random.PRNGKey)(np.arange(1)))
    state, _ = made.advance(state, updates)
    jax.block_until_ready(state)
    started = measure.spent()
    state, metrics = made.advance(state, updates)
    scores = np.asarray(jnp.asarray(metrics["score"]))
    total = measure.spent()
    measure.report(
        "spinward",
        total=total,
        started=Cost(*started),
        train=measure.between(started, total),
        env_steps=2 * updates * tokens,
        env_steps_train=updates * tokens,
        final_return=float(scores[0, -1]),
        return_kind="mean score of the last batch",
        spinward=spinward.__version__,
        jax=jax.__version__,
    )


if __name__ == "__main__":
    main()
