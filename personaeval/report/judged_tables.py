"""Tables of judged tasks: PersonaScore, its dimensions, the judges and how reliable they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from personaeval.metrics.coverage_warnings import few_personas_warning
from personaeval.report.changes import table_changes
from personaeval.report.entries import Entry, Groups, Summary, drawn, group, interval, names_of, relative, role_notes
from personaeval.report.formats import Cell, FormattedEstimate, Table


def groups(summaries: Sequence[Summary], task: str | None) -> Groups:
    """Comparable groups of judged tasks: same questions, sampling, rubrics and panel."""
    return group(summaries, "fidelity", task, persona_score)


def persona_score(part: dict[str, Any]) -> FormattedEstimate:
    """PersonaScore of a run's task; empty if it is not judged yet."""
    return interval(part["fidelity"]["persona_score"]) if part["judged"] else FormattedEstimate(None)


def table(entries: Sequence[Entry], base: Entry | None = None, more_notes: Sequence[str] = ()) -> Table:
    """Table of one group, a row per checkpoint."""
    names = names_of(entries)
    dimensions = _dimensions(entries)
    corrected = any(_corrected(part).value is not None for _, part in entries)
    columns = ["checkpoint", "PersonaScore", *(["human-corrected"] if corrected else []), *map(_words, dimensions)]
    columns += ["refusal", "says AI", "unscored", *(["PersonaScore change"] if base is not None else [])]
    compared = table_changes(entries, base, names, ("persona_score",)) if base is not None else None
    rows = []
    for place, (name, (_, part)) in enumerate(zip(names, entries, strict=True)):
        row: list[Cell] = [name, persona_score(part), *([_corrected(part)] if corrected else [])]
        if part["judged"]:
            row += [interval(part["fidelity"]["dimensions"][dimension]) for dimension in dimensions]
            row += [FormattedEstimate(part["refusal"]), FormattedEstimate(part["ai_admission"])]
            row += [FormattedEstimate(part["judgements"]["unscored"] / max(part["judgements"]["total"], 1))]
        else:
            row += [FormattedEstimate(None)] * (len(dimensions) + 3)
        if base is not None and compared is not None:
            is_base = entries[place] is base
            row.append(
                "baseline" if is_base else compared.rows[place].relative("persona_score", _change(part, base[1]))
            )
        rows.append(tuple(row))
    lines = [*notes(entries, names), *more_notes]
    lines += compared.notes if compared is not None else ()
    return Table(_title(entries[0]), tuple(columns), tuple(rows), tuple(lines))


def persona_table(entries: Sequence[Entry]) -> Table:
    """Table of one group: a row per persona, then per category; a column per checkpoint."""
    names = names_of(entries)
    judged = [part for _, part in entries if part["judged"]]
    shown = [name for name, (_, part) in zip(names, entries, strict=True) if part["judged"]]
    rows: list[tuple[Cell, ...]] = []
    for view, words in (("by_persona", "{}"), ("by_category", "all of {}")):
        for name in dict.fromkeys(name for part in judged for name in part[view]):
            scores = [FormattedEstimate(part[view].get(name)) for part in judged]
            rows += [(words.format(name), *scores)]
    return Table(_title(entries[0]), ("persona", *shown), tuple(rows), tuple(notes(entries, names)))


def _corrected(part: dict[str, Any]) -> FormattedEstimate:
    found = (part.get("people") or {}).get("corrected")
    return interval(found["persona_score"]) if found else FormattedEstimate(None)


def _change(part: dict[str, Any], base: dict[str, Any]) -> float | None:
    if not part["judged"] or not base["judged"]:
        return None
    return relative(part["fidelity"]["persona_score"], base["fidelity"]["persona_score"])


def _dimensions(entries: Sequence[Entry]) -> list[str]:
    found = (name for _, part in entries if part["judged"] for name in part["fidelity"]["dimensions"])
    return list(dict.fromkeys(found))


def _words(dimension: str) -> str:
    return dimension.replace("-", " ")


def _title(entry: Entry) -> str:
    _, part = entry
    return f"{part['title']}: {part['items']} questions to {part['personas']} personas × {drawn(part)}, scored 1 to 5"


def notes(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """Notes on the judges and on each row."""
    lines = []
    judged = [part for _, part in entries if part["judged"]]
    if judged:
        lines += judge_lines(judged[0]["judges"])
        author = judged[0].get("exemplars_by")
        if judged[0].get("expected_score"):
            lines.append("Scores are expected values over the scores a judge may give, by their log-probabilities.")
        lines += [f"The judges were shown an example answer for each score, written by {author}."] if author else []
    for name, (_, part) in zip(names, entries, strict=True):
        if not part["judged"]:
            lines.append(f"{name}: not judged yet. Run personaeval score RUN --judge ….")
            continue
        lines += agreement_lines(name, part)
        if part["spread_between_judges"] is not None:
            each = ", ".join(
                f"{judge['short_name']} {judge['persona_score']['value']:.2f}"
                for judge in part["judges"]
                if judge["persona_score"]["value"] is not None
            )
            lines.append(f"{name}: PersonaScore by judge: {each} (sd {part['spread_between_judges']:.2f}).")
        agreed = [judge for judge in part["judges"] if judge["self_agreement"] is not None]
        lines += [
            f"{name}: {judge['short_name']} agrees with itself with weighted κ {judge['self_agreement']:.2f}."
            for judge in agreed
        ]
        lines += [
            f"{name}: {judge['short_name']} is {judge['relation']} as the model it judges; such judges favour their "
            "own."
            for judge in part["judges"]
            if judge["relation"]
        ]
        if part["fidelity"]["few_personas"]:
            lines.append(f"{name}: {few_personas_warning(part['fidelity']['personas'])}.")
        lines += people_lines(name, part.get("people"))
        lines += cost_lines(name, part.get("judging") or {})
        lines += [f"{name}: {warning}." for warning in part["warnings"]]
    return [*lines, *role_notes(entries, names)]


def agreement_lines(name: str, part: dict[str, Any]) -> list[str]:
    """Agreement between a checkpoint's judges: overall and by dimension, with intervals."""
    found = part.get("agreement")
    if found is None:
        return _agreement_of_earlier_versions(name, part)
    lines = []
    if found["alpha"] is not None and found["alpha"]["value"] is not None:
        each = _by_dimension(found, lambda own: own["alpha"])
        lines.append(f"{name}: Krippendorff's α between the judges {_coefficient(found['alpha'])}{each}.")
    for place, pair in enumerate(found["pairs"]):
        if pair["kappa"]["value"] is not None:
            who = " and ".join(pair["judges"])
            each = _by_dimension(found, partial(_pair_kappa, place))
            lines.append(f"{name}: {who} agree with weighted κ {_coefficient(pair['kappa'])}{each}.")
    return lines


def _agreement_of_earlier_versions(name: str, part: dict[str, Any]) -> list[str]:
    lines = [f"{name}: Krippendorff's α between the judges {part['alpha']:.2f}."] if part["alpha"] is not None else []
    return lines + [
        f"{name}: {' and '.join(pair['judges'])} agree with weighted κ {pair['kappa']:.2f}."
        for pair in part["kappas"]
        if pair["kappa"] is not None
    ]


def _coefficient(entry: dict[str, Any]) -> FormattedEstimate:
    return replace(interval(entry), digits=2)


def _pair_kappa(place: int, entry: dict[str, Any]) -> Any:
    return entry["pairs"][place]["kappa"]


def _judge_kappa(judge: str, entry: dict[str, Any]) -> Any:
    return entry["judges"][judge]["kappa"]


def _by_dimension(found: dict[str, Any], pick: Callable[[dict[str, Any]], Any]) -> str:
    """A coefficient by dimension, to append to a line; empty with one dimension."""
    own = {dimension: pick(entry) for dimension, entry in found["by_dimension"].items()}
    shown = [
        f"{_words(dimension)} {_coefficient(entry)}"
        for dimension, entry in own.items()
        if entry and entry["value"] is not None
    ]
    return f" (by dimension: {', '.join(shown)})" if len(own) > 1 and shown else ""


def cost_lines(name: str, judging: dict[str, dict[str, Any]]) -> list[str]:
    """What each judge of a checkpoint's run was asked, and what that cost if its price is known."""
    lines = []
    for judge, total in judging.items():
        cost = f", {total['cost']:,.2f} {total['currency']}" if total["cost"] is not None else ""
        lines.append(
            f"{name}: {judge} was asked {total['calls']:,} times: {total['prompt_tokens']:,} prompt tokens, "
            f"{total['output_tokens']:,} new tokens{cost}."
        )
    return lines


def judge_lines(judges: Sequence[dict[str, Any]]) -> list[str]:
    """The judges, and a line for each that has not passed the judge check."""
    lines = ["Judged by " + ", ".join(f"{judge['short_name']} ({judge['fingerprint'][:8]})" for judge in judges) + "."]
    for judge in judges:
        if judge["check"] is None:
            lines.append(
                f"{judge['short_name']} has not been validated (personaeval judge-check --judge …): treat its scores "
                "as unverified."
            )
        elif not judge["check"]["passed"]:
            lines.append(f"{judge['short_name']} FAILED the judge check: it {judge['check']['verdict']}")
    return lines


def _people_agreement_lines(name: str, found: dict[str, Any]) -> list[str]:
    """Agreement of each judge with people, overall and by dimension."""
    lines = []
    for judge, own in found["judges"].items():
        if own["kappa"]["value"] is None:
            continue
        kappas = _by_dimension(found, partial(_judge_kappa, judge))
        rank = own["rank_correlation"]
        rho = "undefined" if rank["value"] is None else str(_coefficient(rank))
        lines.append(
            f"{name}: {judge} and people: weighted κ {_coefficient(own['kappa'])}{kappas}, rank correlation {rho}."
        )
    return lines


def people_lines(name: str, people: dict[str, Any] | None) -> list[str]:
    """Agreement of a checkpoint's judges with human labels, and the corrected score."""
    if not people:
        return []
    who = f"{people['labels']} labels of {people['annotators']} people on {people['responses']} responses"
    alpha = f"; Krippendorff's α between them {people['alpha']:.2f}" if people["alpha"] is not None else ""
    lines = [f"{name}: {who}{alpha}."] if people["responses"] else []
    if "agreement" in people:
        lines += _people_agreement_lines(name, people["agreement"])
        people = {**people, "judges": {}}
    agreements = {**people["judges"], **({"the panel": people["panel"]} if len(people["judges"]) > 1 else {})}
    for judge, found in agreements.items():
        if found["kappa"] is not None:
            rank = found["rank_correlation"]
            rho = "undefined" if rank is None else f"{rank:.2f}"
            lines.append(f"{name}: {judge} and people: weighted κ {found['kappa']:.2f}, rank correlation {rho}.")
    corrected = people["corrected"]
    if corrected is None:
        return [*lines, f"{name}: not corrected by human labels: {people['reason']}."]
    lines.append(
        f"{name}: from the labels alone {interval(corrected['labels_alone'])}; weight of the judges "
        f"{corrected['weight']:.2f}. Valid only if the labelled responses were drawn at random."
    )
    if corrected["few_labels"]:
        few = ", ".join(map(_words, corrected["few_labels"]))
        lines.append(f"{name}: fewer than 30 labels in {few}: the corrected score is unreliable.")
    return lines
