"""Score stored responses again, with a better extractor, a corrected gold answer or other judges; generate nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from personaeval.config import JudgeOptions, RunConfig
from personaeval.errors import InvalidRunError, UsageError
from personaeval.judge.judgements import Ratings, collect, read_judgements
from personaeval.judge.judging import JudgingResult, judge_run, make_judge_inputs, warn_of_judges, with_score
from personaeval.judge.labels import keep_labels, read_labels
from personaeval.judge.panel import JudgeInput, open_panel
from personaeval.judge.rubrics import rubrics_of
from personaeval.judge.usage import PriceList, add_cost
from personaeval.library.registry import Registry
from personaeval.library.tasks import JudgedScorer
from personaeval.models.sentences import persona_sentence
from personaeval.pipeline.finish import finish
from personaeval.pipeline.manifest import add_panel, update_task
from personaeval.pipeline.prepare import EvalSet, load_task
from personaeval.pipeline.sessions import Sessions
from personaeval.progress import Progress, open_progress
from personaeval.results.files import JUDGEMENTS
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.lock import run_lock
from personaeval.results.persona_table import PersonaRow
from personaeval.results.records import PanelRecord
from personaeval.results.responses import read_responses
from personaeval.results.runs import FinishedRun, open_run
from personaeval.types import Response, Verdict
from personaeval.verify import Verifier, decoys_of

_CHUNK = 4096


@dataclass(frozen=True)
class Rescored:
    """Number of changed verdicts, and the judges' usage."""

    changed: int
    judging: JudgingResult


def rescore(
    folder: Path,
    data: dict[str, Path],
    include: tuple[Path, ...],
    judging: JudgeOptions | None = None,
    progress: Progress | None = None,
    human: Path | None = None,
    prices: PriceList | None = None,
) -> Rescored:
    """Verify a finished run's responses again, or let judges score them, and rewrite its tables.

    Args:
        folder: the run's folder.
        data: local files that have moved since, task name -> file.
        include: more folders with tasks, besides those of the run.
        judging: judges that replace the run's judges. None: judged tasks keep their judgements.
        progress: shows the judges' progress.
        human: file of human labels, kept with the run and compared with its judges.
        prices: of the judges' tokens.

    Raises:
        UsageError: not a finished run, or another process is working on it.
        InvalidRunError: a task's prompts or personas have changed since the run, or the judgements are not by the
            judges in run.json.
    """
    folder = folder.resolve()
    run = open_run(folder)
    labels = read_labels(human) if human is not None else ()
    if human is not None and not (judging or run.record.panel):
        raise UsageError(f"--human {human}: no judge has scored this run, so there is none to compare; add --judge ….")
    with run_lock(folder):
        if labels:
            keep_labels(folder, labels)
        return _rescore(run, data, include, judging, progress or open_progress(quiet=True), prices or PriceList())


def _rescore(
    run: FinishedRun,
    data: dict[str, Path],
    include: tuple[Path, ...],
    judging: JudgeOptions | None,
    progress: Progress,
    prices: PriceList,
) -> Rescored:
    record = run.record
    eval_set = _load_eval_set(run, data, include)
    judged_now = _judge_again(run, eval_set, judging, progress, prices)
    for items in eval_set.items:
        update_task(record.tasks[items.task.name], items)
    changed = 0

    def scored_again(verifier: Verifier) -> Iterator[Response]:
        nonlocal changed
        for before, after in _verify_again(read_responses(run.folder), eval_set, judged_now.ratings, verifier):
            changed += (before.status, before.score, before.answer) != (after.status, after.score, after.answer)
            yield after

    with Verifier() as verifier:
        finish(run.folder, record, eval_set, scored_again(verifier), _persona_rows(run), judged_now.ratings)
    return Rescored(changed, judged_now)


def _persona_rows(run: FinishedRun) -> list[PersonaRow]:
    """The rows of personas.parquet; of a run that listed them in run.json, with what can still be told of them."""
    if run.listed is None:
        return list(run.persona_rows)
    template = str(run.record.config["template"])
    rows = []
    for row in run.persona_rows:
        persona = row.to_persona()
        role = None if persona.is_baseline else run.record.placement.role
        rows.append(replace(row, sentence=persona_sentence(template, persona), role=role))
    return rows


def _judge_again(
    run: FinishedRun, eval_set: EvalSet, judging: JudgeOptions | None, progress: Progress, prices: PriceList
) -> JudgingResult:
    """The ratings of the judged tasks: those the run has, or those of judges asked now."""
    folder, record, judged = run.folder, run.record, eval_set.judged()
    if judging is None:
        return JudgingResult(_kept_ratings(folder, record.panel)) if judged and record.panel else JudgingResult()
    if not judged:
        raise UsageError(f"--judge: none of this run's tasks ({', '.join(record.tasks)}) is scored by judges.")
    config = RunConfig.model_validate(record.config).model_copy(update=dict(judging))
    record.config = config.model_dump(mode="json")
    results = folder.parent.parent
    panel = open_panel(judging, config.model_options, results, progress.message)
    add_panel(record, eval_set.rubrics, panel, results)
    if panel is None:
        raise UsageError("--judge: names no judge.")
    warn_of_judges(record, progress)
    judge_inputs: list[JudgeInput] = []
    for items, rubrics in judged:
        own = (response for response in read_responses(folder) if response.task == items.task.name)
        judge_inputs += make_judge_inputs(items, rubrics, own)
    with Ledger(results / LEDGER) as ledger:
        judged_now = judge_run(panel, judge_inputs, eval_set.rubrics, folder, ledger, progress)
    sessions = Sessions(folder, record)
    add_cost(judged_now.usages, prices)
    sessions.judged(judged_now.usages)
    record.sessions = sessions.records()
    return judged_now


def _kept_ratings(folder: Path, panel: PanelRecord) -> Mapping[str, Ratings]:
    """The ratings in judgements.parquet, which must be those of the panel in run.json.

    An interrupted `score --judge` may have written the first but not the second.
    """
    rows = list(read_judgements(folder))
    found = {(row.judge, row.fingerprint, row.repeat) for row in rows}
    named = {(judge.short_name, judge.fingerprint, repeat) for judge in panel.judges for repeat in range(panel.repeats)}
    if rows and found != named:
        judges = ", ".join(judge.short_name for judge in panel.judges)
        raise InvalidRunError(
            f"{folder / JUDGEMENTS}: holds judgements of other judges than run.json names ({judges}): judging was "
            "interrupted. Judge the run again: personaeval score RUN --judge …; finished judgements are kept."
        )
    return collect(rows)


def _load_eval_set(run: FinishedRun, data: dict[str, Path], include: tuple[Path, ...]) -> EvalSet:
    """Tasks as they are defined now, and the personas of the run."""
    config = RunConfig.model_validate(run.record.config)
    registry = Registry(tuple({path.resolve(): path for path in (*config.include, *include)}.values()))
    found, rubrics = [], {}
    for task, file in (found for selector in config.tasks for found in registry.tasks(selector)):
        items = load_task(config, task, file, data.get(task.name) or config.data.get(task.name))
        if items.prompts_hash != run.record.tasks[task.name].prompts_hash:
            raise InvalidRunError(
                f"task {task.name}: its prompts have changed since this run; its answers are to other questions. "
                "Use `personaeval run` again."
            )
        if task.is_judged:
            told = {row.persona: row.text for row in run.personas(task.name)}
            if told != {persona.id: persona.text for persona in items.personas}:
                raise InvalidRunError(
                    f"task {task.name}: the texts of its personas have changed since this run; its answers were given "
                    "by others. Use `personaeval run` again."
                )
            rubrics[task.name] = rubrics_of(items, file)
        found.append(items)
    unknown = set(data) - {items.task.name for items in found}
    if unknown:
        raise UsageError(f"--data names {', '.join(sorted(unknown))}, which this run does not have.")
    personas = tuple(row.to_persona() for row in run.personas())
    return EvalSet(tuple(found), personas, rubrics, tuple(run.record.persona_origins))


def _verify_again(
    responses: Iterator[Response], eval_set: EvalSet, ratings: Mapping[str, Ratings], verifier: Verifier
) -> Iterator[tuple[Response, Response]]:
    """Each response before and after scoring; one that the engine never gave stays unscored."""
    known = {items.task.name: ({item.id: item for item in items.items}, items.task.scorer) for items in eval_set.items}
    decoys = {items.task.name: decoys_of(items.task, items.items) for items in eval_set.items}
    while chunk := list(islice(responses, _CHUNK)):
        futures: list[Future[Verdict] | None] = []
        for response in chunk:
            if response.text is None:
                futures.append(None)
                continue
            items, scorer = known[response.task]
            item = items[response.item]
            if isinstance(scorer, JudgedScorer):
                futures.append(None)
            else:
                futures.append(
                    verifier.submit(
                        scorer,
                        item.gold,
                        response.text,
                        choices=item.choices,
                        decoys=decoys[response.task].get(item.id, ()),
                    )
                )
        for response, future in zip(chunk, futures, strict=True):
            if future is None:
                own = ratings.get(response.task)
                yield response, with_score(response, own) if own else response
                continue
            verdict = future.result()
            yield (
                response,
                replace(
                    response,
                    gold=known[response.task][0][response.item].gold,
                    answer=verdict.answer,
                    status=verdict.status.value,
                    score=verdict.score,
                    reason=verdict.reason,
                    evidence=verdict.evidence,
                    suspect=verdict.suspect if verdict.score is not None else None,
                    suspect_chance=verdict.chance if verdict.score is not None else None,
                ),
            )
