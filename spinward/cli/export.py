"""`spinward export RUN`: a trained language model as a public checkpoint."""

from pathlib import Path

from spinward.cli.parser import Parser


def run(words: list[str]) -> int:
    parser = Parser("export", "Write a run's language model as a public checkpoint.")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's seeds")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_checkpoint()
    ask = parser.read(words)
    from spinward.language import pretrained
    from spinward.language.tokenizer import Tokenizer
    from spinward.networks.language_policy import Direction
    from spinward.run.assemble import of_run
    from spinward.run.run import load

    if not 0 <= ask.seed < (seeds := load(ask.run).config["seeds"]):
        parser.error(f"--seed {ask.seed}: the run has seeds 0 to {seeds - 1}")
    trained, made = of_run(ask.run, ask.seed, ask.older, ask.checkpoint)
    out = Path(ask.out)
    if out.exists() and any(out.iterdir()):
        parser.error(f"{out} is not empty; choose another --out")
    vocabulary = made.env.vocabulary
    public = isinstance(vocabulary, Tokenizer)
    score = trained.head.w if isinstance(trained.head, Direction) else None
    pretrained.save(out, trained.decoder, vocabulary.special() if public else None, score)
    if public:
        vocabulary.save(out)
    print(f"{out} holds the model: {', '.join(sorted(p.name for p in out.iterdir()))}")
    return 0
