"""What ``tasks new`` writes: a working task with three items, every choice of it commented."""

from __future__ import annotations

import json
import re
from pathlib import Path

from personaeval.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")

_ROWS = (
    {"id": "roman-1", "question": "Which number is the Roman numeral XLII?", "answer": "42"},
    {"id": "roman-2", "question": "Which number is the Roman numeral CXC?", "answer": "190"},
    {"id": "roman-3", "question": "Which number is the Roman numeral MCMXIV?", "answer": "1914"},
)

_TASK = """\
# A task of your own. `personaeval tasks check {name}.yaml` says what is wrong with it; then
#   personaeval run --model CHECKPOINT --tasks {name}.yaml --personas core
name: {name}
title: Roman numerals
description: Three Roman numerals to be read; put your own task here.
domain: mathematics        # personas of this domain count as its experts
license: CC0-1.0
citation: Nobody, to appear.
revision: 1                # raise it when the prompt, the gold answers or the scoring change

# Where the rows are: kind file (JSONL, JSON, CSV, Parquet), hub (dataset, config, split) or reasoning_gym.
source:
  kind: file
  path: {name}.jsonl       # relative to this file

# Jinja2 templates over the columns of a row.
item:
  id: "{{{{ id }}}}"           # default: the number of the row
  prompt: |-
    {{{{ question }}}}

    Put your final answer in \\boxed{{}}.
  gold: "{{{{ answer }}}}"
  # Multiple choice: the list of choices; the prompt shows them where it says {{{{ lettered_choices }}}}.
  # choices: options
  # shuffle: true

# kind: numeric, math (formulas), choice (a choice's letter), exact (a string), or python with the name of a function
# of yours in the entry-point group personaeval.scorers.
scorer:
  kind: numeric
  # Where no box is found, the last match of these, then the last number of the text.
  # patterns: ['(?i)answer:\\s*(\\d+)']

# Defaults; the command line has the last word.
sampling:
  temperature: 0
  max_tokens: 2048

# For base models, which have no chat template.
plain:
  question: "Question:"
  answer: "Answer:"
  stop: ["\\nQuestion:"]
"""


def write_example(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.yaml and NAME.jsonl into a folder and return their paths.

    Raises:
        UsageError: the name is not a valid task name, a file exists already, or the folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid task name; use lowercase letters, digits and, after the first, _ . -"
        )
    task, data = folder / f"{name}.yaml", folder / f"{name}.jsonl"
    for path in (task, data):
        if path.exists():
            raise UsageError(f"{path} exists already; choose another name or folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        task.write_text(_TASK.format(name=name), encoding="utf-8")
        data.write_text("".join(json.dumps(row) + "\n" for row in _ROWS), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}).") from error
    return task, data
