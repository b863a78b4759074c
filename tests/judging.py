"""A small judged task, and judges whose scores are known beforehand, for the scripted server."""

import json
import re
from pathlib import Path

from personaeval.config import make_config
from personaeval.judge.judgements import JudgementRow, read_judgements
from personaeval.pipeline.run import RunResult, run
from personaeval.progress import open_progress
from tests.scripted_server import ScriptedServer, share_of

PERSONAS, QUESTIONS, DIMENSIONS = 4, 3, ("manners", "wit")
RESPONSES = PERSONAS * QUESTIONS * len(DIMENSIONS)

TASK = """\
name: play
title: A play
description: For tests.
domain: role-play
license: CC0-1.0
citation: none
source: {kind: questions, folder: play}
item: {id: "{{ id }}", prompt: "{{ question }}"}
scorer: {kind: judged, rubrics: play/rubrics}
sampling: {temperature: 0.9, top_p: 0.9, max_tokens: 64}
"""
RUBRIC = """\
name: {name}
title: The {name}
asks: Does the response show {name}?
given: What the description says.
anchors: {{1: none, 2: little, 3: some, 4: much, 5: all}}
notes: [Be strict.]
"""


def write_play(library: Path) -> None:
    """Add the task ``play``: 4 personas, 2 dimensions, 3 questions each."""
    folder = library / "tasks" / "play"
    (folder / "rubrics").mkdir(parents=True)
    (library / "tasks" / "play.yaml").write_text(TASK)
    for name in DIMENSIONS:
        (folder / "rubrics" / f"{name}.yaml").write_text(RUBRIC.format(name=name))
    lines = [f"  - {{id: actor-{n}, text: an actor of {20 + n} winters, category: biography}}" for n in range(PERSONAS)]
    (folder / "personas.yaml").write_text("name: play\ndescription: For tests.\npersonas:\n" + "\n".join(lines) + "\n")
    rows = [
        {
            "id": f"actor-{n}/{name}/{k}",
            "persona": f"actor-{n}",
            "dimension": name,
            "environment": "stage",
            "question": f"Scene {k} of {name}: what do you say to actor {n}?",
        }
        for n in range(PERSONAS)
        for name in DIMENSIONS
        for k in range(QUESTIONS)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def speak(messages: list[dict[str, str]], seed: int) -> str:
    """Answer as the model under test: a line that names its question and no more."""
    return f"Well met! You ask me: {messages[-1]['content']} I say {int(share_of(messages, seed) * 1000)}."


def scene(prompt: str) -> str:
    """The response in a judge's prompt."""
    found = re.findall(r"^\[response (\w+) begins\]\n(.*)\n\[response \1 ends\]$", prompt, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, "the response must be bounded exactly once"
    return found[0][1]


def known_score(response: str, name: str = "judge") -> int:
    """The score that the judge of this name gives a response: a function of the text alone."""
    return 1 + int(share_of(name, response) * 5)


def reply(score: object, **more: object) -> str:
    return json.dumps({"reasoning": "So it seems.", "refusal": False, "ai_admission": False, "score": score, **more})


def judge_named(name: str):
    """A scripted judge with known scores."""

    def answer(messages: list[dict[str, str]], seed: int) -> str:
        return reply(known_score(scene(messages[-1]["content"]), name))

    return answer


def perform_play(library: Path, output: Path, model: ScriptedServer, judges: list[ScriptedServer], **more) -> RunResult:
    """Run the task ``play`` with a scripted model and judges."""
    settings = {
        "model": (f"openai:scripted@{model.url}",),
        "judge": tuple(f"openai:{judge.script.model}@{judge.url}" for judge in judges),
        "tasks": ("play",),
        "include": (library,),
        "output": output,
        "concurrency": 8,
        "patience": 0,
    }
    [result] = run(make_config(None, settings | more), open_progress(quiet=True))
    return result


def judgements(result: RunResult) -> list[JudgementRow]:
    return list(read_judgements(result.folder))
