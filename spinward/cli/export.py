"""`spinward export RUN`: a trained policy as a file, or a language model as a public checkpoint."""

from pathlib import Path
from typing import Any

from spinward.cli.parser import Parser


def run(words: list[str]) -> int:
    about = "Write a run's policy as a program or as arrays, or its language model as a public "
    parser = Parser("export", f"{about}checkpoint.")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's seeds")
    parser.add_argument("--to", default="", help="stablehlo (default), onnx or npz, for a policy")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_checkpoint()
    ask = parser.read(words)
    from spinward.run.run import load

    run = load(ask.run, ask.trust, ask.older)
    if not 0 <= ask.seed < (seeds := run.config["seeds"]):
        parser.error(f"--seed {ask.seed}: the run has seeds 0 to {seeds - 1}")
    out = Path(ask.out)
    if out.exists() and any(out.iterdir()):
        parser.error(f"{out} is not empty; choose another --out")
    if not run.made.on_texts:
        contract = run.policy(ask.seed, ask.checkpoint).save(
            out,
            ask.to or "stablehlo",
            run=str(run.path),
            env=str(run.experiment.env),
            seed=ask.seed,
            **names_of_data(run),
        )
        check = contract["check"]
        print(
            f"{out} holds the policy: {', '.join(sorted(contract['files']))}; the largest "
            f"difference on {check['observations']:,} observations is "
            f"{check['largest_difference']:.2g}"
        )
        return 0
    if ask.to:
        parser.error(f"--to {ask.to} is for policies; {ask.run} trained a language model")
    return of_model(ask, out)


def names_of_data(run: Any) -> dict[str, Any]:
    """The features and choices of a run without an environment, by the card of its data."""
    from spinward.data.store import card_of
    from spinward.envs import recorded

    if run.experiment.env.name != recorded.NAME:
        return {}
    card = card_of(run.experiment.data.path)
    return {"features": card.features, "actions": card.actions, "filled": card.filled}


def of_model(ask: Any, out: Path) -> int:
    """Writes a language model as a public checkpoint."""
    from spinward.language import pretrained
    from spinward.language.tokenizer import Tokenizer
    from spinward.networks.language_policy import Direction
    from spinward.run.assemble import of_run
    from spinward.store import files

    trained, made = of_run(ask.run, ask.seed, ask.older, ask.checkpoint)
    vocabulary = made.env.vocabulary
    public = isinstance(vocabulary, Tokenizer)
    score = trained.head.w if isinstance(trained.head, Direction) else None
    with files.filled(out) as folder:
        pretrained.save(folder, trained.decoder, vocabulary.special() if public else None, score)
        if public:
            vocabulary.save(folder)
    print(f"{out} holds the model: {', '.join(sorted(p.name for p in out.iterdir()))}")
    return 0
