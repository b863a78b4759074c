"""The command plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import command

if TYPE_CHECKING:
    from personaeval.config import PlanOptions


@command(app, "plan")
def plan(options: PlanOptions) -> None:
    """Show a run's cost and the smallest change it could detect.

    Takes the options of run and generates nothing.

    Requests and a local checkpoint's prompt tokens are exact; judges' calls, tokens and cost
    are upper bounds. The minimum detectable decline is for the task's items, personas and samples.
    """
    from personaeval import api

    print(api.plan_with(options))
