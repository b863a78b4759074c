"""The command judge-check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from personaeval.cli.app import app
from personaeval.cli.options import Quiet, command

if TYPE_CHECKING:
    from personaeval.config import JudgeCheckOptions


@command(app, "judge-check")
def judge_check(options: JudgeCheckOptions, quiet: Quiet = False) -> None:
    """Validate a judge: does it rank controls in the known order and resist prompt injection?

    Exits with 0 if every judge passes, with 4 if one fails.
    """
    from personaeval.config import JudgeOptions, ModelOptions, part
    from personaeval.judge.panel import Panel, open_panel
    from personaeval.judge.validation import check_judge, controls_folder, describe_check, load_controls
    from personaeval.progress import open_progress

    panel = open_panel(part(options, JudgeOptions), part(options, ModelOptions), options.output)
    assert panel is not None, "there is a judge"
    controls, progress = load_controls(controls_folder()), open_progress(quiet)
    records = [
        check_judge(Panel([one], options.judge_repeats), controls, options.output, progress) for one in panel.judges
    ]
    print("\n\n".join(describe_check(record) for record in records))
    if not all(record["passed"] for record in records):
        raise typer.Exit(4)
