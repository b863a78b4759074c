"""A check's report as Markdown, JSON and JUnit XML."""

from __future__ import annotations

import json
from dataclasses import asdict
from xml.etree import ElementTree

from personaeval.analysis.check import Finding, Outcome, Report
from personaeval.errors import printable
from personaeval.metrics.catalogue import METRICS
from personaeval.report.estimates import FormattedEstimate, scale_of
from personaeval.report.formats import render
from personaeval.report.table import Cell, Key, Table

_FORMAT = 1

_TAGS = {Outcome.REGRESSION: "failure", Outcome.INCONCLUSIVE: "skipped", Outcome.INVALID: "error"}

_SAYS = {
    Outcome.PASS: "PASS: no critical metric is worse by more than allowed.",
    Outcome.REGRESSION: "REGRESSION: worse by more than allowed: {}.",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE: the data cannot tell for {}.",
    Outcome.INVALID: "NOT VALID: no verdict on {}.",
}


_COLUMNS = (
    "verdict",
    "task",
    "metric",
    "base",
    "candidate",
    "decline",
    "upper bound",
    "if unscored wrong",
    "max_drop",
    "severity",
    "why",
)

_LEGEND = (
    "decline: by how much the candidate is worse, in the metric's own unit; upper bound: of the decline, 97.5 % "
    "one-sided, which must not exceed max_drop. A regression is tested one-sided at 0.025, adjusted by Holm over the "
    "critical and supporting metrics."
)

_IF_WRONG = "if unscored wrong: the same bound if every unscored answer of both were wrong."


def verdict_table(report: Report) -> Table:
    """The findings, a row per gate; the overall verdict is the title."""
    sides = [Key(checkpoint=report.base), Key(checkpoint=report.candidate)]
    changed = sides[1] | Key(base=report.base)
    rows = [_row(finding) for finding in report.findings]
    keys = [Key(task=finding.task, metric=finding.metric) for finding in report.findings]
    columns: tuple[Key | None, ...] = (
        changed | Key(form="_verdict"),
        None,
        None,
        *sides,
        changed | Key(form="_decline"),
        None,
        changed | Key(form="_upper_bound_if_unscored_wrong"),
        changed | Key(form="_max_drop"),
        changed | Key(form="_severity"),
        changed | Key(form="_why"),
    )
    return Table(
        f"{conclusion(report)} {report.candidate} checked against {report.base}",
        _COLUMNS,
        tuple(rows),
        report.notes,
        (_LEGEND, _IF_WRONG) if any(finding.high_if_wrong is not None for finding in report.findings) else (_LEGEND,),
        Key(view="check"),
        tuple(keys),
        columns,
    )


def _row(finding: Finding) -> tuple[Cell, ...]:
    scale = scale_of(finding.metric)
    return (
        finding.outcome.value,
        finding.task,
        METRICS[finding.metric].title,
        FormattedEstimate(finding.base, scale=scale),
        FormattedEstimate(finding.candidate, scale=scale),
        FormattedEstimate(finding.decline, low=finding.low, high=finding.high, signed=True, p=finding.p, plain=True),
        FormattedEstimate(finding.high, signed=True),
        FormattedEstimate(finding.high_if_wrong, signed=True),
        FormattedEstimate(finding.max_drop),
        finding.severity.value,
        finding.reason,
    )


def to_markdown(report: Report) -> str:
    """The overall verdict and the table of findings."""
    return render([verdict_table(report)], "markdown")


def conclusion(report: Report) -> str:
    """The overall verdict in one line."""
    named = [f for f in report.findings if f.decides and f.outcome is report.outcome]
    if report.outcome is Outcome.INCONCLUSIVE:
        named = [f for f in named if f.severity.value == "critical"]
    if not named and report.outcome is Outcome.INVALID:
        return "NOT VALID: no metric of these runs is gated."
    return _SAYS[report.outcome].format(", ".join(f"{f.task} {METRICS[f.metric].title}" for f in named))


def to_json(report: Report) -> str:
    """The report as JSON."""
    content = {
        "format": _FORMAT,
        "base": report.base,
        "candidate": report.candidate,
        "verdict": report.outcome.value,
        "exit_code": report.exit_code,
        "findings": [asdict(finding) for finding in report.findings],
        "notes": list(report.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def to_junit(report: Report) -> str:
    """JUnit XML with a test case per gating metric: REGRESSION fails, INCONCLUSIVE is skipped, INVALID is an error.

    A supporting metric without a value is skipped.
    """
    gating = [finding for finding in report.findings if finding.gates]
    tags = [_tag(finding) for finding in gating]
    counts = {
        plural: str(tags.count(tag))
        for tag, plural in (("failure", "failures"), ("skipped", "skipped"), ("error", "errors"))
    }
    name = f"{report.candidate} against {report.base}"
    suite = ElementTree.Element("testsuite", {"name": _printable(name), "tests": str(len(gating)), **counts})
    for finding, tag in zip(gating, tags, strict=True):
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": _printable(f"personaeval.{finding.task}"), "name": finding.metric}
        )
        if tag is not None:
            attributes = {"message": _printable(_message(finding)), "type": finding.outcome.value}
            ElementTree.SubElement(case, tag, attributes)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _tag(finding: Finding) -> str | None:
    """The element of a test case; None for a PASS. A supporting metric without a value is skipped."""
    return _TAGS.get(finding.outcome) if finding.decides else "skipped"


def _message(finding: Finding) -> str:
    if finding.decline is None:
        return finding.reason
    high = "unknown" if finding.high is None else f"{finding.high:+.4f}"
    text = f"worse by {finding.decline:+.4f} (at most {high}), allowed {finding.max_drop:g}"
    return f"{text}: {finding.reason}" if finding.reason else text


def _printable(text: str) -> str:
    """Text without control characters, which XML forbids and a checkpoint's name may contain."""
    return printable(text, "?")
