"""Every command in README and docs runs, page by page and from top to bottom, against servers of known answers.

Models are endpoints on loopback in place of checkpoints, and tasks whose data would be downloaded read the example row
of their file. A line or block that is marked ``needs the network`` is only parsed, and so are commands in running text.
"""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from personaeval.library.registry import Registry
from tests import test_authoring
from tests.judging import judge_named
from tests.scripted_server import Script, ScriptedServer, answer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "cli.md")]
NETWORK = "needs the network"
MARKS = ("needs a GPU", "needs a key", NETWORK)
CODES = {"check": {0, 1, 3, 4}, "judge-check": {0, 4}}
"""Exit codes that are results; 0 for all other commands. One made-up item is too little for a verdict."""


def commands(page: Path) -> list[tuple[str, str]]:
    """The commands of a page's code blocks, each with its mark, or an empty one."""
    found, mark, fence = [], "", None
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fence, mark = (line.strip("`") if fence is None else None), ""
            continue
        in_code = fence in ("console", "sh") if fence is not None else line.startswith("    ")
        if not in_code:
            mark = ""
            continue
        text = line.strip()
        if not text or text.startswith("#"):
            mark = next((known for known in MARKS if known in text), "" if not text else mark)
            continue
        own = next((known for known in MARKS if known in text), mark)
        if text.startswith("personaeval "):
            found.append((re.sub(r"\s{2,}#.*", "", text), own))
    return found


def data_for(selector: str, folder: Path) -> list[str]:
    """``--data`` for tasks of the hub: the example row that their files show."""
    flags = []
    if selector.startswith(("reasoning_gym:", "lm_eval:")) or selector.endswith(".yaml"):
        return flags
    for task, file in Registry([folder / "mine"] if (folder / "mine" / "tasks").is_dir() else []).tasks(selector):
        if task.source.kind == "hub":
            comment = re.search(r"^# An example row.*\n((?:# .*\n)+)", file.read_text(encoding="utf-8"), re.MULTILINE)
            row = " ".join(line.removeprefix("# ") for line in comment[1].splitlines())
            place = folder / f"{task.name}.jsonl"
            place.write_text(json.dumps(yaml.safe_load(row)) + "\n")
            flags += ["--data", f"{task.name}={place}"]
    return flags


class Reader:
    """Follows a page in a folder of its own."""

    def __init__(self, folder: Path, model: str, judge: str) -> None:
        self.folder = folder
        self.model = model
        self.judge = judge

    def words(self, command: str) -> list[str]:
        """The command's words with what a reader puts for the placeholders, kept small."""
        text = command.replace(" [results/checkpoint-1500 …]", "").replace(
            "--judge …", f"--judge openai:JUDGE@{self.judge}"
        )
        text = text.replace("openai:JUDGE@http://HOST:PORT/v1", f"openai:JUDGE@{self.judge}")
        text = text.replace("http://HOST:PORT/v1", self.model)
        text = text.replace("'out/checkpoint-*'", "./ckpt")
        for name in ("./checkpoint-500", "./checkpoint-1000", "./ckpt", "CKPT"):
            text = re.sub(rf"(?<=\s){re.escape(name)}(?=\s|$)", f"openai:{name.removeprefix('./')}@{self.model}", text)
        if re.search(r"\bRUN\b", text):
            text = re.sub(r"\bRUN\b", str(self.latest()), text)
        text = text.replace("personaeval run …", f"personaeval run --model openai:ckpt@{self.model} --tasks mini-arith")
        words = shlex.split(text)[1:]
        if ">" in words:
            words = words[: words.index(">")]
        if words[0] in ("run", "plan"):
            words += self.small(words)
        return words

    def latest(self) -> Path:
        return max(self.folder.glob("results/*/*/run.json"), key=lambda path: path.stat().st_mtime).parent

    def small(self, words: list[str]) -> list[str]:
        """Flags that keep a run small, and the data of its tasks."""
        given = (
            words[words.index("--tasks") + 1]
            if "--tasks" in words
            else words[words.index("-t") + 1]
            if "-t" in words
            else ""
        )
        selectors = [one for one in given.split(",") if one]
        flags = [flag for one in selectors if "--data" not in words for flag in data_for(one, self.folder)]
        judged = ["--questions-per-dimension", "1"] if "personagym" in selectors else []
        personas = ["--limit-personas", "3"] if "--limit-personas" not in words else []
        return flags + personas + judged + (["--limit", "2"] if "--limit" not in words else [])


@pytest.fixture
def reader(tmp_path, monkeypatch):
    def model_answer(messages, seed):
        is_author = any(key in messages[-1]["content"] for key in ('"settings"', '"question"'))
        return test_authoring.write(messages, seed) if is_author else answer(messages, seed)

    with (
        ScriptedServer(Script(model=None), answer=model_answer) as model,
        ScriptedServer(Script(model=None), answer=judge_named("judge")) as judge,
    ):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        monkeypatch.setattr(test_authoring, "COUNT", 4)
        yield Reader(tmp_path, model.url, judge.url)


def prepare(page: Path, reader: Reader, personaeval) -> None:
    """What a page takes for granted: files that it shows as blocks, and runs of two checkpoints."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        if re.match(r"name: \w+\ntitle", block):
            place = reader.folder / "mine" / "tasks" / "capitals.yaml"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block)
            place.with_suffix(".jsonl").write_text('{"country": "Peru", "capital": "Lima"}\n')
        elif re.match(r"name: office\n", block):
            place = reader.folder / "mine" / "personas" / "office.yaml"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block)
        elif re.match(r"tasks: \[", block):
            (reader.folder / "run.yaml").write_text(block)
    if page.name == "personas.md":
        rows = [json.dumps({"persona": f"A plumber of {20 + n} winters and {n} cats"}) for n in range(5)]
        (reader.folder / "people.jsonl").write_text("\n".join(rows) + "\n")
    if page.name == "bring-your-own.md":
        rows = "".join(f"a plumber of {20 + n} winters and {n} cats,Ada {n}\n" for n in range(5))
        (reader.folder / "people.csv").write_text(f"bio,name\n{rows}")
        prompts = "".join(f"You are Ada the {n}th. You speak briskly.\n" for n in range(5))
        (reader.folder / "prompts.csv").write_text(f"prompt\n{prompts}")
    if page.name == "usage.md":
        data_for("math500", reader.folder)
    if page.name == "tasks.md":
        personaeval("tasks", "new", "roman", "-o", "mine", cwd=reader.folder)
    both = ("checkpoint-500", "checkpoint-1000")
    needed = {
        "checks.md": both,
        "tables.md": (*both, "checkpoint-1500"),
        "first-table.md": ("NAME",),
        "usage.md": ("NAME",),
    }
    for name in needed.get(page.name, ()):
        given = ["--model", f"openai:{name}@{reader.model}", "--tasks", "mini-arith"]
        for template in ("you-are", "adopt") if name == "checkpoint-1500" else ("you-are",):
            shape = ["--limit", 6, "--limit-personas", 3, "--template", template]
            done = personaeval("run", "-q", *given, *shape, cwd=reader.folder)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page, reader, personaeval):
    prepare(page, reader, personaeval)
    for command, mark in commands(page):
        if mark == NETWORK:
            parse(shlex.split(command)[1:])
            continue
        if "--human labels.csv" in command:
            write_labels(reader)
        words = reader.words(command)
        done = personaeval(*words, cwd=reader.folder)
        assert done.returncode in CODES.get(words[0], {0}), f"{command}\n{words}\n{done.stderr}\n{done.stdout[-2000:]}"


def write_labels(reader: Reader) -> None:
    """Scores of a few answers, drawn as docs/fidelity.md says."""
    import pandas as pd

    run = reader.latest()
    rows = pd.read_parquet(run / "responses.parquet", columns=["persona", "item", "text"])
    dimensions = pd.read_parquet(run / "judgements.parquet", columns=["item", "dimension"]).drop_duplicates()
    sheet = rows.merge(dimensions, on="item").rename(
        columns={"dimension": "task", "item": "question", "text": "response"}
    )
    sheet.assign(score=3, annotator="ann").to_csv(reader.folder / "labels.csv", index=False)


def parse(words: list[str]) -> None:
    """Let the command line read a command's options; nothing runs."""
    from typer.main import get_command

    from personaeval.cli import app

    command, rest = get_command(app), list(words)
    while hasattr(command, "get_command"):
        name = rest.pop(0)
        found = command.get_command(None, name)
        assert found is not None, f"no command {name}"
        command = found
    command.make_context(words[0], [word for word in rest if word != "…"], resilient_parsing=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_running_text_have_options_that_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for command in re.findall(r"`personaeval ([^`]+)`", text):
        if not command.startswith(("--", "X ", "…")):
            parse(shlex.split(command))


def test_a_mark_covers_the_lines_below_it(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n# needs a GPU\npersonaeval a\npersonaeval b   # needs the network\n\npersonaeval c\n```\n"
        "    # needs the network\n    personaeval d\nText.\n    personaeval e      # all of it\n"
    )
    assert commands(page) == [
        ("personaeval a", "needs a GPU"),
        ("personaeval b", "needs the network"),
        ("personaeval c", ""),
        ("personaeval d", "needs the network"),
        ("personaeval e", ""),
    ]
