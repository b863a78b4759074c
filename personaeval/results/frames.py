"""Finished runs as pandas DataFrames: one checkpoint, run and step column in front of what the files hold.

The columns of every frame are typed (``string``, ``Int64``, ``float64``, ``boolean``) and documented in docs/python.md.
An empty frame has the same columns and types as a full one::

    results = open_results("results")
    results.metrics().query("metric == 'pss' and level == 'task'")
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from personaeval.errors import UsageError
from personaeval.results import frame_columns
from personaeval.results.files import CELLS, ITEMS, JUDGEMENTS, RESPONSES
from personaeval.results.listing import left_out, list_runs, summaries_of
from personaeval.results.records import RunRecord
from personaeval.results.runs import FinishedRun, open_run, step_of

if TYPE_CHECKING:
    import pandas as pd

_SIZES = {"items", "personas", "samples"}

_BY = {"by_persona", "by_category"}

_NOT_SETTINGS = {"model", "output", "tasks"}
"""Fields of a run's configuration that have a column of their own."""


@dataclass(frozen=True)
class RunFiles:
    """One finished run: its folder and the two JSON files in it.

    Attributes:
        finished: the run on disk.
        summary: content of summary.json.
        checkpoint: name in frames, unique for each fingerprint.
        run: 8 digits of the plan's hash, unique for each folder of a checkpoint.
    """

    finished: FinishedRun
    summary: Mapping[str, Any]
    checkpoint: str
    run: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.finished.folder

    @property
    def record(self) -> RunRecord:
        """Content of run.json."""
        return self.finished.record

    @property
    def identity(self) -> dict[str, Any]:
        """The columns that every frame begins with."""
        fingerprint, step = self.record.model.fingerprint, self.record.model.step
        step = step_of(self.record.short_name) if step is None else step
        return {"checkpoint": self.checkpoint, "fingerprint": fingerprint, "run": self.run, "step": step}

    @cached_property
    def categories(self) -> dict[tuple[str, str], str]:
        """The category of each (task, persona)."""
        return {(task, row.persona): row.category for task in self.record.tasks for row in self.finished.personas(task)}

    def read(self, name: str, columns: Sequence[str], task: str | None) -> pa.Table:
        """Some columns of one of the run's Parquet files; absent ones are left out.

        Raises:
            UsageError: the file is missing or broken.
        """
        path = self.folder / name
        try:
            present = [column for column in columns if column in pq.read_schema(path).names]
            return pq.read_table(path, columns=present, filters=None if task is None else [("task", "=", task)])
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"{path}: cannot be read ({error}); is this the folder of a finished run?") from error


class Results:
    """Finished runs as DataFrames; every frame begins with checkpoint, fingerprint, run and step.

    ``task=`` of each method keeps one task's rows and reads no others.

    Attributes:
        files: the runs, with their folders and JSON files.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Take folders of finished runs, or folders that hold some."""
        summaries = []
        for folder in folders:
            listed = list_runs(folder)
            summaries += summaries_of(folder, listed)
            for line in left_out(listed):
                warnings.warn(line, stacklevel=3)
        self.files = _named([(Path(summary["folder"]), summary) for summary in summaries])

    def __repr__(self) -> str:
        names = dict.fromkeys(run.checkpoint for run in self.files)
        return f"Results({len(self.files)} runs of {', '.join(names)})"

    def __len__(self) -> int:
        return len(self.files)

    def metrics(self, task: str | None = None) -> pd.DataFrame:
        """Every number of every summary: one row per (run, task, persona or category, metric)."""
        rows = [
            {**run.identity, "task": name, "kind": part.get("kind", "stability"), "group": part["group"], **row}
            for run in self.files
            for name, part in run.summary["tasks"].items()
            if task in (None, name)
            for row in _metric_rows(part, run, name)
        ]
        return _to_pandas([pa.Table.from_pylist(rows, schema=pa.schema(frame_columns.METRICS))], frame_columns.METRICS)

    def cells(self, task: str | None = None) -> pd.DataFrame:
        """Counts of right, wrong and unscored answers: one row per (run, task, item, persona)."""
        return self._frame(CELLS, frame_columns.CELLS, task)

    def responses(self, task: str | None = None, texts: bool = True) -> pd.DataFrame:
        """Every answer: one row per (run, task, persona, item, sample), in plan order.

        Args:
            task: only this task.
            texts: False leaves out the question, text and thinking columns, most of the file.
        """
        wanted = {
            name: kind for name, kind in frame_columns.RESPONSES.items() if texts or name not in frame_columns.TEXTS
        }
        return self._frame(RESPONSES, wanted, task)

    def judgements(self, task: str | None = None) -> pd.DataFrame:
        """Every judgement: one row per (run, response, judge, repeat); empty without judged runs."""
        return self._frame(JUDGEMENTS, frame_columns.JUDGEMENTS, task, optional=True)

    def runs(self) -> pd.DataFrame:
        """One row per run: size, cost, and a column for each setting in which the runs differ."""
        import pandas as pd

        rows = [_run_row(run) for run in self.files]
        settings = [_flatten(run.record.config) for run in self.files]
        frame = _to_pandas([pa.Table.from_pylist(rows, schema=pa.schema(frame_columns.RUNS))], frame_columns.RUNS)
        for name in dict.fromkeys(name for own in settings for name in own):
            values = [own.get(name) for own in settings]
            if len(set(map(repr, values))) > 1 and name.split(".")[0] not in _NOT_SETTINGS:
                # A setting that has a column of its own in another sense keeps both.
                column = f"config.{name}" if name in frame.columns else name
                frame[column] = pd.Series(values, dtype=object).convert_dtypes()
        return frame

    def items(self, task: str | None = None) -> pd.DataFrame:
        """Every item, with its prompt: one row per (run, task, item); empty for tasks whose text is withheld."""
        return self._frame(ITEMS, frame_columns.ITEMS, task, optional=True)

    def personas(self) -> pd.DataFrame:
        """Every persona with its sentence: one row per (run, persona).

        ``task`` is null for personas that tasks are crossed with.
        """
        rows = [run.identity | asdict(row) for run in self.files for row in run.finished.persona_rows]
        table = pa.Table.from_pylist(rows, schema=pa.schema(frame_columns.PERSONAS))
        return _to_pandas([table], frame_columns.PERSONAS)

    def _frame(
        self, name: str, columns: Mapping[str, pa.DataType], task: str | None, optional: bool = False
    ) -> pd.DataFrame:
        tables = []
        for run in self.files:
            if optional and not (run.folder / name).exists():
                continue
            table = run.read(name, [{"judge_fingerprint": "fingerprint"}.get(c, c) for c in _own(columns)], task)
            if "judge_fingerprint" in columns:
                table = table.rename_columns({"fingerprint": "judge_fingerprint"})
            tables.append(_completed(table, run, columns))
        return _to_pandas(tables, columns)


def open_results(results: str | Path | Iterable[str | Path]) -> Results:
    """The finished runs of a results folder, of one run's folder, or of a list of either.

    Raises:
        UsageError: a folder is missing, or holds no finished run.
    """
    given = [results] if isinstance(results, str | Path) else list(results or ())
    if not given:
        raise UsageError("no folder was given: a results folder or a run's folder is expected.")
    return Results([Path(one) for one in given])


def _own(columns: Iterable[str]) -> list[str]:
    """The columns that a file holds itself."""
    return [name for name in columns if name not in frame_columns.IDENTITY]


def _named(found: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[RunFiles]:
    """Runs with names that tell them apart: a name that two checkpoints share gets 8 digits of the fingerprint."""
    # A notebook may change its working folder afterwards.
    unique = {folder.resolve(): summary for folder, summary in found}
    opened = [(open_run(folder), summary) for folder, summary in unique.items()]
    owners: dict[str, set[str]] = {}
    for finished, _ in opened:
        owners.setdefault(finished.record.short_name, set()).add(finished.record.model.fingerprint)
    seen: Counter[tuple[str, str]] = Counter()
    runs = []
    for finished, summary in opened:
        record = finished.record
        plan = record.plan[:8]
        seen[record.model.fingerprint, plan] += 1
        copy = seen[record.model.fingerprint, plan]
        runs.append(
            RunFiles(
                finished,
                summary,
                record.short_name if len(owners[record.short_name]) == 1 else record.checkpoint,
                plan if copy == 1 else f"{plan}-{copy}",
            )
        )
    return runs


def _completed(table: pa.Table, run: RunFiles, columns: Mapping[str, pa.DataType]) -> pa.Table:
    """A file's rows with identity, category and question."""
    rows = len(table)
    made = {name: pa.array([value]).take(pa.array([0] * rows, pa.int8())) for name, value in run.identity.items()}
    if "category" in columns:
        made["category"] = _looked_up(table, "persona", run.categories)
    if "question" in columns and (run.folder / ITEMS).exists():
        items = run.read(ITEMS, ("task", "item", "prompt"), None)
        keys = zip(items["task"].to_pylist(), items["item"].to_pylist(), strict=True)
        made["question"] = _looked_up(table, "item", dict(zip(keys, items["prompt"].to_pylist(), strict=True)))
    return pa.table(
        {
            name: _cast(made.get(name, table[name] if name in table.column_names else pa.nulls(rows)), kind)
            for name, kind in columns.items()
        }
    )


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return pc.cast(values, kind)


def _looked_up(table: pa.Table, column: str, values: Mapping[tuple[str, str], str | None]) -> pa.Array:
    """The value for each row's (task, ``column``); null if it has none."""
    keys = pc.binary_join_element_wise(table["task"].cast(pa.string()), table[column].cast(pa.string()), "\0")
    known = pa.array([f"{task}\0{name}" for task, name in values], pa.string())
    return pa.array(list(values.values()), pa.string()).take(pc.index_in(keys, value_set=known).combine_chunks())


def _to_pandas(tables: Sequence[pa.Table], columns: Mapping[str, pa.DataType]) -> pd.DataFrame:
    import pandas as pd

    kinds: dict[Any, Any] = {pa.string(): pd.StringDtype("pyarrow"), pa.int64(): pd.Int64Dtype()}
    kinds |= {pa.bool_(): pd.BooleanDtype(), frame_columns.LIST: pd.ArrowDtype(frame_columns.LIST)}
    whole = pa.concat_tables(tables) if tables else pa.schema(columns).empty_table()
    frame: pd.DataFrame = whole.to_pandas(types_mapper=kinds.get)
    return frame


def _metric_rows(part: Mapping[str, Any], run: RunFiles, task: str) -> Iterator[dict[str, Any]]:
    """The rows of one task's part of a summary."""
    counts = part["counts"]
    total = max(counts["total"], 1)
    shares = {name: counts[name] / total for name in ("unscored", "truncated") if name in counts}
    if part.get("kind", "stability") == "stability":
        numbers = part["stability"]
        yield from _numbers({**numbers, "wording": part.get("wording") or {}, **shares}, {"level": "task"})
        for entry in numbers["by_persona"]:
            yield from _numbers(entry, {"level": "persona", "persona": entry["persona"], "category": entry["category"]})
        for name, estimate in numbers["by_category"].items():
            yield from _numbers({"accuracy": estimate}, {"level": "category", "category": name})
        return
    if not part["judged"]:
        yield from _numbers(shares, {"level": "task"})
        return
    fidelity = part["fidelity"]
    judges = {judge["short_name"]: {"persona_score": judge["persona_score"]} for judge in part["judges"]}
    whole = {"persona_score": fidelity["persona_score"], **fidelity["dimensions"], "judge": judges}
    corrected = (part.get("people") or {}).get("corrected") or {}
    whole |= {"human_corrected": corrected["persona_score"]} if corrected else {}
    others = ("refusal", "ai_admission", "alpha", "spread_between_judges")
    yield from _numbers(whole | {name: part.get(name) for name in others} | shares, {"level": "task"})
    for name, value in part["by_persona"].items():
        place = {"level": "persona", "persona": name, "category": run.categories.get((task, name))}
        yield from _numbers({"persona_score": {"value": value}}, place)
    for name, value in part["by_category"].items():
        yield from _numbers({"persona_score": {"value": value}}, {"level": "category", "category": name})


def _numbers(content: Mapping[str, Any], place: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, Any]]:
    """A row per number; nested ones get the path to them as their name, estimates their interval."""
    for name, value in content.items():
        if name in _BY or (not prefix and name in _SIZES):
            continue
        own = {**place, "metric": f"{prefix}{name}"}
        if isinstance(value, Mapping) and "value" in value:
            yield {**own, "value": value["value"], "low": value.get("low"), "high": value.get("high")}
        elif isinstance(value, Mapping):
            yield from _numbers(value, place, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield from _numbers({str(number): one for number, one in enumerate(value, start=1)}, place, f"{name}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield {**own, "value": value}


def _run_row(run: RunFiles) -> dict[str, Any]:
    record = run.record
    sessions = [session for session in record.sessions if session.generated is not None]
    return {
        **run.identity,
        "folder": str(run.folder),
        "engine": record.model.engine,
        "dtype": record.model.dtype,
        "persona_role": record.placement.role,
        "tasks": ", ".join(record.tasks),
        "requests": record.counts and record.counts.requests,
        "failed": record.counts and record.counts.failed,
        "generated": sum(session.generated or 0 for session in sessions),
        "output_tokens": sum(session.tokens["output"] for session in sessions),
        "seconds": sum((session.seconds or 0.0 for session in sessions), 0.0),
    }


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration with lists as text and mappings as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat
