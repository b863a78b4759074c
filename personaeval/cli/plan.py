"""The command that tells before anything is spent: plan."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from personaeval.cli.app import app
from personaeval.cli.run import configure, run
from personaeval.errors import UsageError

_NOT_OURS = ("dry_run", "folders", "quiet", "prices")


def _plan(**flags: Any) -> None:
    """Say what run would take and what it could show; generates nothing.

    Takes the options of run. Requests and a local checkpoint's prompt tokens are exact; the smallest change that two
    checkpoints would show is for the task's n, m and S.
    """
    from personaeval.pipeline.forecast import describe, forecast

    detect = flags.pop("detect")
    if detect is not None and not 0 < detect < 1:
        raise UsageError(f"--detect {detect:g}: a change between 0 and 1 is expected, such as 0.02.")
    found = forecast(configure(flags | dict.fromkeys(_NOT_OURS)), detect)
    print("\n\n".join(describe(one, detect) for one in found))


def _register() -> None:
    """Give plan the options of run, so that the two cannot drift apart."""
    own = inspect.signature(run, eval_str=True).parameters
    kept = [parameter for name, parameter in own.items() if name not in _NOT_OURS]
    wanted = Annotated[float | None, typer.Option(help="Say what sizes would show a change of this much.")]
    extra = inspect.Parameter("detect", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=wanted)
    _plan.__signature__ = inspect.Signature([*kept, extra])  # type: ignore[attr-defined]
    _plan.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, extra)}
    app.command(name="plan")(_plan)


_register()
