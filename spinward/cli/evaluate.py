"""`spinward evaluate RUN`: returns of whole episodes, without exploration."""

from spinward.cli.parser import Parser, print_json


def run(words: list[str]) -> int:
    parser = Parser("evaluate", "Score a run's policies over whole episodes.", parts=("env",))
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--episodes", type=int, default=100, help="of each seed's policy")
    parser.add_argument("--env", default="", help="another environment to score it in")
    parser.add_argument("--explore", action="store_true", help="act as in training")
    parser.add_argument("--seed", type=int, default=0, help="of the episodes")
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_checkpoint()
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    if ask.episodes < 1:
        parser.error(f"--episodes {ask.episodes} must be at least 1")
    from spinward.evaluation.statistics import sentence
    from spinward.evaluation.texts import READ
    from spinward.run.experiment import EnvChoice
    from spinward.run.run import load

    run = load(ask.run, ask.trust, ask.older)
    own, trained_in = ask.own["env"], run.experiment.env
    env = EnvChoice(ask.env, own) if ask.env else ""
    if own and not ask.env:
        env = EnvChoice(trained_in.name, trained_in.settings | own)
    found = run.evaluate(ask.episodes, ask.explore, ask.seed, env, ask.checkpoint)
    score = found.to_json()
    if ask.json:
        print_json(score)
        return 0
    count, what = score["episodes"], score["metric"]
    form = ".1f" if what == "return" else ".4g"
    if score["mode"] == READ:
        print(f"{what}, {count} in all: {sentence(score, form)}")
    else:
        of = "" if what == "return" else f"{what}, "
        print(f"{score['mode']}, {count} episodes of each seed: {of}{sentence(score, form)}")
    if score["cut"]:
        print(f"{score['cut']} episodes had not ended and were cut; their returns so far count")
    for i, value in enumerate(score["per_seed"]):
        print(f"  seed {i}: {value:{form}}")
    return 0
