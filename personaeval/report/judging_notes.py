"""Notes under the tables of judged tasks: the judges, their agreement with each other and with people, their cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from personaeval.metrics.catalogue import PERSONA_SCORE
from personaeval.metrics.coverage_warnings import few_personas_warning
from personaeval.report.entries import Entry, role_notes
from personaeval.report.estimates import FormattedEstimate, interval
from personaeval.report.table import count, grouped

_SCORE = PERSONA_SCORE.name


def words_of(dimension: str) -> str:
    """A dimension's name in a heading."""
    return dimension.replace("-", " ")


def notes(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """Notes on the judges and on each row."""
    lines = []
    judged = [entry.part for entry in entries if entry.part["judged"]]
    if judged:
        lines += judge_lines(judged[0]["judges"])
        author = judged[0].get("exemplars_by")
        if judged[0].get("expected_score"):
            lines.append("Scores are expected values over the scores a judge may give, by their log-probabilities.")
        lines += [f"The judges were shown an example answer for each score, written by {author}."] if author else []
    found = [(name, line) for name, entry in zip(names, entries, strict=True) for line in _row_notes(entry.part)]
    return [*lines, *grouped(names, found), *role_notes(entries, names)]


def _row_notes(part: Mapping[str, Any]) -> list[str]:
    """Notes on one checkpoint's scores."""
    if not part["judged"]:
        return ["not judged yet. Run personaeval score RUN --judge …."]
    lines = agreement_lines(part)
    if part["spread_between_judges"] is not None:
        each = ", ".join(
            f"{judge['short_name']} {judge['persona_score']['value']:.2f}"
            for judge in part["judges"]
            if judge["persona_score"]["value"] is not None
        )
        lines.append(f"PersonaScore by judge: {each} (sd {part['spread_between_judges']:.2f}).")
    lines += [
        f"{judge['short_name']} agrees with itself with weighted κ {judge['self_agreement']:.2f}."
        for judge in part["judges"]
        if judge["self_agreement"] is not None
    ]
    lines += [
        f"{judge['short_name']} is {judge['relation']} as the model it judges; such judges favour their own."
        for judge in part["judges"]
        if judge["relation"]
    ]
    if part["fidelity"]["few_personas"]:
        lines.append(f"{few_personas_warning(part['fidelity']['personas'])}.")
    lines += [*people_lines(part.get("people")), *cost_lines(part.get("judging") or {})]
    return [*lines, *(f"{warning}." for warning in part["warnings"])]


def agreement_lines(part: Mapping[str, Any]) -> list[str]:
    """Agreement between a checkpoint's judges: overall and by dimension, with intervals."""
    found = part.get("agreement")
    if found is None:
        return _agreement_of_earlier_versions(part)
    lines = []
    if found["alpha"] is not None and found["alpha"]["value"] is not None:
        each = _by_dimension(found, lambda own: own["alpha"])
        lines.append(f"Krippendorff's α between the judges {_coefficient(found['alpha'])}{each}.")
    for place, pair in enumerate(found["pairs"]):
        if pair["kappa"]["value"] is not None:
            who = " and ".join(pair["judges"])
            each = _by_dimension(found, partial(_pair_kappa, place))
            lines.append(f"{who} agree with weighted κ {_coefficient(pair['kappa'])}{each}.")
    return lines


def _agreement_of_earlier_versions(part: Mapping[str, Any]) -> list[str]:
    lines = [f"Krippendorff's α between the judges {part['alpha']:.2f}."] if part["alpha"] is not None else []
    return lines + [
        f"{' and '.join(pair['judges'])} agree with weighted κ {pair['kappa']:.2f}."
        for pair in part["kappas"]
        if pair["kappa"] is not None
    ]


def _coefficient(entry: Mapping[str, Any]) -> FormattedEstimate:
    return replace(interval(entry, "kappa"), digits=2)


def _pair_kappa(place: int, entry: Mapping[str, Any]) -> Any:
    return entry["pairs"][place]["kappa"]


def _judge_kappa(judge: str, entry: Mapping[str, Any]) -> Any:
    return entry["judges"][judge]["kappa"]


def _by_dimension(found: Mapping[str, Any], pick: Callable[[Mapping[str, Any]], Any]) -> str:
    """A coefficient by dimension, to append to a line; empty with one dimension."""
    own = {dimension: pick(entry) for dimension, entry in found["by_dimension"].items()}
    shown = [
        f"{words_of(dimension)} {_coefficient(entry)}"
        for dimension, entry in own.items()
        if entry and entry["value"] is not None
    ]
    return f" (by dimension: {', '.join(shown)})" if len(own) > 1 and shown else ""


def cost_lines(judging: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What each judge of a checkpoint's run was asked, and what that cost if its price is known."""
    lines = []
    for judge, total in judging.items():
        cost = f", {total['cost']:,.2f} {total['currency']}" if total["cost"] is not None else ""
        lines.append(
            f"{judge} was asked {total['calls']:,} times: {total['prompt_tokens']:,} prompt tokens, "
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


def _people_agreement_lines(found: Mapping[str, Any]) -> list[str]:
    """Agreement of each judge with people, overall and by dimension."""
    lines = []
    for judge, own in found["judges"].items():
        if own["kappa"]["value"] is None:
            continue
        kappas = _by_dimension(found, partial(_judge_kappa, judge))
        rank = own["rank_correlation"]
        rho = "undefined" if rank["value"] is None else str(_coefficient(rank))
        lines.append(f"{judge} and people: weighted κ {_coefficient(own['kappa'])}{kappas}, rank correlation {rho}.")
    return lines


def people_lines(people: Mapping[str, Any] | None) -> list[str]:
    """Agreement of a checkpoint's judges with human labels, and the corrected score."""
    if not people:
        return []
    who = (
        f"{count(people['labels'], 'label')} of {count(people['annotators'], 'person', 'people')} on "
        f"{count(people['responses'], 'response')}"
    )
    alpha = f"; Krippendorff's α between them {people['alpha']:.2f}" if people["alpha"] is not None else ""
    lines = [f"{who}{alpha}."] if people["responses"] else []
    if "agreement" in people:
        lines += _people_agreement_lines(people["agreement"])
        people = {**people, "judges": {}}
    agreements = {**people["judges"], **({"the panel": people["panel"]} if len(people["judges"]) > 1 else {})}
    for judge, found in agreements.items():
        if found["kappa"] is not None:
            rank = found["rank_correlation"]
            rho = "undefined" if rank is None else f"{rank:.2f}"
            lines.append(f"{judge} and people: weighted κ {found['kappa']:.2f}, rank correlation {rho}.")
    corrected = people["corrected"]
    if corrected is None:
        return [*lines, f"not corrected by human labels: {people['reason']}."]
    lines.append(
        f"from the labels alone {interval(corrected['labels_alone'], _SCORE)}; weight of the judges "
        f"{corrected['weight']:.2f}. Valid only if the labelled responses were drawn at random."
    )
    if corrected["few_labels"]:
        few = ", ".join(map(words_of, corrected["few_labels"]))
        lines.append(f"fewer than 30 labels in {few}: the corrected score is unreliable.")
    return lines
