"""Games from a shell: ``python -m mlinstruments play | fit | dataset | finetune | report``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlinstruments._core.exceptions import InputError, MissingExtraError, NotIdentifiedError

if TYPE_CHECKING:
    from mlinstruments.games.protocols import Protocol

BUILT_IN = ("economicus", "moralis", "logit", "uniform")
KINDS = (*BUILT_IN, "chat", "local")
# Which agents take an option; the others refuse it.
TAKEN_BY = {
    "model": ("chat", "local"),
    "base_url": ("chat",),
    "temperature": ("chat", "local"),
    "kappa": ("moralis", "logit"),
    "scale": ("logit",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 where it succeeded, 2 for input that cannot be used, 1 where an agent fails.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mlinstruments.__main__ import main
    >>> log = str(pathlib.Path(tempfile.mkdtemp()) / "log.jsonl")
    >>> arguments = ["play", "moralis", "--log", log, "--draws", "2", "--quiet"]
    >>> main(arguments), pathlib.Path(log).exists()
    (0, True)
    """
    from mlinstruments.agents.base import AgentError

    given = _parser().parse_args(arguments)
    try:
        given.command(given)
    except AgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (InputError, NotIdentifiedError, MissingExtraError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


# ---- commands -----------------------------------------------------------------------------------


def play_command(given: argparse.Namespace) -> None:
    """Let an agent play, and log every choice."""
    from mlinstruments.agents import play

    played = play(
        agent_of(given),
        protocols_of(given),
        given.draws,
        given.log,
        mode=given.mode,
        unit=given.unit,
        wordings=given.wordings,
        renderings=given.renderings,
        labels=given.labels,
        belief=given.belief,
        reply=given.reply,
        subject=given.subject,
        seed=given.seed,
        progress=False if given.quiet else None,
    )
    if not given.quiet:
        print(played)


def fit_command(given: argparse.Namespace) -> None:
    """Estimate preferences from a log."""
    from mlinstruments import ChoiceData, PreferenceLogit

    data = ChoiceData.read(given.log, partial=given.partial)
    model = PreferenceLogit(given.parameters, given.types, given.beliefs, given.unit)
    print(data)
    fitted = model.fit(data, clusters=given.clusters)
    print(fitted)
    if given.types == 1:
        print(fitted.incentive_sensitivity())


def dataset_command(given: argparse.Namespace) -> None:
    """Write fine-tuning data of a utility; without a folder, say what they would cost."""
    from mlinstruments.alignment import make_dataset

    made = make_dataset(
        _utility(given.utility),
        given.n,
        given.folder,
        games=given.games,
        unit=given.unit,
        style=given.style,
        random_state=given.seed,
    )
    print(made.balance().to_string())
    print(made.cost())


def finetune_command(given: argparse.Namespace) -> None:
    """Tune a model of this machine on such data."""
    from mlinstruments.alignment import finetune

    result = finetune(
        given.data, given.folder, given.model, steps=given.steps, seed=given.seed, lr=given.lr
    )
    print(f"best after {result.best_step} steps, {result.seconds:.0f} s: {result.merged}")


def report_command(given: argparse.Namespace) -> None:
    """Measure a tuned model against its base on games, wordings and renderings left out."""
    from mlinstruments.alignment import GreedyAgent, evaluate
    from mlinstruments.alignment.labels import utility_weight

    utility = _utility(given.utility)
    found = evaluate(
        GreedyAgent(given.base, name="base"),
        GreedyAgent(given.tuned, name="tuned", guess=utility_weight(utility)),
        protocols_of(given),
        given.folder,
        utility=utility,
        cells={"as asked": (given.wordings, given.renderings)},
        belief=given.belief,
        trained_on=given.trained_on,
    )
    print(found)
    print(f"written: {found.write(given.folder / 'report.html')}")


# ---- what they are given ------------------------------------------------------------------------


def agent_of(given: argparse.Namespace) -> Any:
    """The agent that arguments name."""
    from mlinstruments import agents

    _check_taken(given)
    if given.agent == "local":
        return local_agent(given.model, given)
    if given.agent == "chat":
        if given.model is None:
            raise InputError("chat needs --model, the name that the server has for it.")
        return agents.ChatAgent(
            given.model, given.base_url, temperature=given.temperature, name=given.name or ""
        )
    return _built_in(given)


def _check_taken(given: argparse.Namespace) -> None:
    """Refuse options that the agent would ignore."""
    for name, takers in TAKEN_BY.items():
        if getattr(given, name) is not None and given.agent not in takers:
            what = "is built in" if given.agent in BUILT_IN else "does not take it"
            raise InputError(
                f"--{name.replace('_', '-')} is for {' and '.join(takers)}; {given.agent} {what}:"
                " leave it out."
            )


def _built_in(given: argparse.Namespace) -> Any:
    from mlinstruments import agents

    kappa = 0.5 if given.kappa is None else given.kappa
    if not 0 <= kappa <= 1:
        raise InputError(f"--kappa is a weight between 0 and 1; got {kappa:g}.")
    if given.agent == "economicus":
        made = agents.economicus()
    elif given.agent == "moralis":
        made = agents.moralis(kappa)
    elif given.agent == "uniform":
        made = agents.uniform()
    else:
        made = agents.LogitAgent(0.1 if given.scale is None else given.scale, kappa)
    return replace(made, name=given.name or made.name)


def local_agent(model: str | None, given: argparse.Namespace) -> Any:
    """A model of this machine: a folder or GGUF file, or the packaged one."""
    from mlinstruments import agents

    temperature = 1.0 if given.temperature is None else given.temperature
    return agents.LocalAgent(model, temperature=temperature, name=given.name or "")


def protocols_of(given: argparse.Namespace) -> tuple[Protocol, ...]:
    """The grid of a file, or the default one, of the games asked for."""
    from mlinstruments.games import default_grid, read_grid

    try:
        found = default_grid() if given.grid is None else read_grid(given.grid)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{given.grid} is not UTF-8 text: byte {error.start + 1} is"
            f" {error.object[error.start]:#04x}. Save it as UTF-8 CSV."
        ) from None
    if not found:
        raise InputError(f"{given.grid} has a header and no protocol: write one a line below it.")
    kept = tuple(p for p in found if not given.games or p.game in given.games)
    if not kept:
        known = ", ".join(sorted({p.game for p in found}))
        raise InputError(f"no protocol of {', '.join(given.games)}; the grid has {known}.")
    return kept


def _utility(text: str) -> str | float:
    """A name, or a kappa."""
    found: str | float = _number(text)
    return found


def _number(text: str | None) -> Any:
    """A number where the text is one."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


# ---- arguments ----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlinstruments", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (_add_play, _add_fit, _add_dataset, _add_finetune, _add_report):
        add(commands)
    return parser


def _command(commands: Any, function: Any) -> argparse.ArgumentParser:
    name = function.__name__.removesuffix("_command")
    words = function.__doc__.partition("\n")[0]
    found: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    found.set_defaults(command=function)
    return found


def _add_play(commands: Any) -> None:
    parser = _command(commands, play_command)
    parser.add_argument(
        "agent", choices=KINDS, help="built in, a server's (chat) or this machine's"
    )
    parser.add_argument("--log", type=Path, required=True, help=".jsonl file, made or gone on with")
    _add_agent(parser)
    _add_prompts(parser)
    parser.add_argument("--draws", type=int, default=1, help="of every prompt")
    parser.add_argument("--mode", default="sample", help="sample, or probabilities")
    parser.add_argument("--unit", default="node", help="node, or strategy")
    parser.add_argument("--labels", nargs="+", default=["letters"])
    parser.add_argument("--reply", default="label", help="label, or reasoned")
    parser.add_argument("--subject", help="whom the log calls the chooser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress and no report")


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grid", type=Path, help="CSV with protocol_id, game, T, R, P, S")
    parser.add_argument("--games", nargs="+", default=[], help="of the grid; all by default")
    parser.add_argument("--wordings", nargs="+", default=["plain"])
    parser.add_argument("--renderings", nargs="+", default=["sentences"])
    parser.add_argument("--belief", type=_number, help="a probability that is stated, or elicited")


def _add_agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a server's name for it; or a folder or GGUF file")
    parser.add_argument("--base-url", help="of a server that is no hosted one")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--name", help="what the log calls the agent")
    parser.add_argument("--kappa", type=float, help="of moralis and logit; .5 by default")
    parser.add_argument("--scale", type=float, help="of logit, in 1 / points; .1 by default")


def _add_fit(commands: Any) -> None:
    parser = _command(commands, fit_command)
    parser.add_argument("log", type=Path, help="JSONL, CSV or parquet")
    parser.add_argument("--parameters", nargs="*", default=["kappa", "alpha", "beta"])
    parser.add_argument(
        "--types", type=int, default=1, help="of choosers; more than 1 is a mixture"
    )
    parser.add_argument(
        "--beliefs", default="elicited", help="elicited, uniform, empirical, self, ..."
    )
    parser.add_argument("--unit", default="strategy", help="strategy, or node")
    parser.add_argument("--clusters", nargs="+", help="columns, such as subject or protocol_id")
    parser.add_argument("--partial", action="store_true", help="keep what a damaged log still has")


def _add_dataset(commands: Any) -> None:
    parser = _command(commands, dataset_command)
    parser.add_argument("utility", help="economicus, moralis, or a kappa between 0 and 1")
    parser.add_argument("folder", type=Path, nargs="?", help="a new one; without it a dry run")
    parser.add_argument("--n", type=int, default=800, help="training examples")
    parser.add_argument("--games", nargs="+", default=["matrix"])
    parser.add_argument("--unit", default="node", help="node, or strategy")
    parser.add_argument("--style", default="short", help="full, short or action")
    parser.add_argument("--seed", type=int, default=0)


def _add_finetune(commands: Any) -> None:
    parser = _command(commands, finetune_command)
    parser.add_argument("data", type=Path, help="a folder that dataset has written")
    parser.add_argument("folder", type=Path, help="of the run; the same one goes on after a stop")
    parser.add_argument("--model", help="a folder or GGUF file; the packaged model by default")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=0)


def _add_report(commands: Any) -> None:
    parser = _command(commands, report_command)
    parser.add_argument("tuned", help="folder of the tuned model")
    parser.add_argument("folder", type=Path, help="for logs and report.html")
    parser.add_argument("--base", help="a folder or GGUF file; the packaged model by default")
    parser.add_argument("--utility", default="economicus", help="economicus, moralis, or a kappa")
    parser.add_argument("--trained-on", type=Path, help="its data, to check that nothing is asked")
    _add_prompts(parser)


if __name__ == "__main__":
    sys.exit(main())
