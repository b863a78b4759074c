"""The command questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import Quiet, command

if TYPE_CHECKING:
    from personaeval.config import QuestionsOptions


@command(app, "questions")
def questions(options: QuestionsOptions, quiet: Quiet = False) -> None:
    """Let a model write new fidelity questions for personas.

    You can stop at any time; the same command resumes.
    """
    from personaeval.config import ModelOptions, part
    from personaeval.judge.authoring import write_questions
    from personaeval.library.registry import Registry
    from personaeval.progress import open_progress

    authored = write_questions(
        options.model,
        part(options, ModelOptions),
        Registry(options.include).personas(options.personas),
        options.questions_per_dimension,
        options.output,
        open_progress(quiet),
        options.seed,
    )
    print(
        f"{authored.questions} questions in {options.output}; {authored.duplicates} near-duplicates left out, "
        f"{authored.missing} could not be read.\n"
        f"Next: personaeval run --tasks personagym --data personagym={options.output} …"
    )
