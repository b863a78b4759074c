"""Trade-off table: stability and fidelity of each checkpoint side by side, and their changes against a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personaeval.errors import InvalidRunError
from personaeval.metrics.catalogue import METRICS, PERSONA_SCORE
from personaeval.report import judged_tables, judging_notes
from personaeval.report.changes import Row, TableChanges, table_changes
from personaeval.report.entries import Entry, Summary, absolute, bases_of, group, names_of, relative, title_of
from personaeval.report.estimates import FormattedEstimate, interval
from personaeval.report.table import THESE_PERSONAS, Cell, Key, Table, grouped

Pairs = list[tuple[Entry, Entry]]
"""A stability and a fidelity entry for each checkpoint."""

_KINDS = ("Stability", "Fidelity")

_SHOWN = ("accuracy", "pss", "kappa")

_BASELINE: list[Cell] = [FormattedEstimate(None, word="baseline"), FormattedEstimate(None)] * 2


def trade_off(summaries: Sequence[Summary], baseline: str | None = None) -> list[Table]:
    """A table per pair of comparable groups, one of a stability task and one of a judged task.

    A row is a checkpoint that has runs in both.

    Raises:
        InvalidRunError: no checkpoint has both.
        UsageError: the baseline has no run here.
    """
    stable = group(summaries, "stability", None, lambda part: interval(part["stability"]["pss"]))
    judged = [[entry for entry in entries if entry.part["judged"]] for entries in judged_tables.groups(summaries, None)]
    found = [pairs for left in stable for right in judged if (pairs := _pair(left, right))]
    if not found:
        raise InvalidRunError(
            "--trade-off: no checkpoint has both a stability task and a judged task here. Run one with both, such as "
            "--tasks math500,personagym --judge …."
        )
    return [_table(pairs, baseline, found) for pairs in found]


def _pair(left: Sequence[Entry], right: Sequence[Entry]) -> Pairs:
    """A stability and a fidelity entry for each checkpoint, from one run if one has both.

    A checkpoint's runs in one group have the same settings, so that the first represents them.
    """
    found: dict[tuple[str, str], tuple[Entry, Entry]] = {}
    candidates = [(one, other) for one in left for other in right if one.checkpoint == other.checkpoint]
    for one, other in sorted(candidates, key=lambda pair: pair[0].summary["plan"] != pair[1].summary["plan"]):
        found.setdefault(one.checkpoint, (one, other))
    order = [one.checkpoint for one in left]
    return sorted(found.values(), key=lambda pair: order.index(pair[0].checkpoint))


def _table(pairs: Pairs, baseline: str | None, every: Sequence[Pairs]) -> Table:
    entries = [one for one, _ in pairs]
    names = names_of(entries)
    base = bases_of([entries], baseline)[0] if baseline is not None else None
    place = entries.index(base) if base is not None else None
    compared = () if place is None else _compared(pairs, pairs[place], names)
    columns, keys = _columns(pairs[0], None if base is None else base.name)
    rows = []
    for number, (name, (one, other)) in enumerate(zip(names, pairs, strict=True)):
        row: list[Cell] = [name, *(interval(one.part["stability"][metric], metric) for metric in _SHOWN)]
        row.append(judged_tables.persona_score(other.part))
        if place is not None:
            is_base = number == place
            changed = [own.rows[number] for own in compared]
            row += _BASELINE if is_base else _changes((one, other), pairs[place], changed)
        rows.append(tuple(row))
    titles = [_title(pairs, every, side) for side in (0, 1)]
    legend = [f"{kind}: {line}" for kind, own in zip(_KINDS, compared, strict=False) for line in own.legend]
    return Table(
        f"{' and '.join(title for title, _ in titles)}: stability and fidelity",
        columns,
        tuple(rows),
        tuple(dict.fromkeys(_notes(pairs, names, compared))),
        (
            "PSS rises with accuracy even if nothing became more stable: read it beside accuracy and κ.",
            *legend,
            THESE_PERSONAS,
        ),
        Key(view="trade_off", settings=", ".join(dict.fromkeys(own for _, own in titles if own)) or None),
        tuple(Key(checkpoint=one.name, fingerprint=one.fingerprint, run=one.run) for one, _ in pairs),
        keys,
    )


def _title(pairs: Pairs, every: Sequence[Pairs], side: int) -> tuple[str, str]:
    """The title of one side's task, and the settings in which it differs from that of other tables."""
    groups = [[pair[side] for pair in own] for own in every]
    return title_of([pair[side] for pair in pairs], str(pairs[0][side].part["title"]), groups)


def _columns(pair: tuple[Entry, Entry], base: str | None) -> tuple[tuple[str, ...], tuple[Key | None, ...]]:
    """Headings and keys."""
    stable, judged = (Key(task=own.task, n=own.key.n) for own in pair)
    headings = ["checkpoint", *(METRICS[metric].title for metric in (*_SHOWN, PERSONA_SCORE.name))]
    keys: list[Key | None] = [None, *(stable | Key(metric=metric) for metric in _SHOWN)]
    keys.append(judged | Key(metric=PERSONA_SCORE.name))
    if base is not None:
        for metric, own in (("pss", stable), (PERSONA_SCORE.name, judged)):
            headings += [f"{METRICS[metric].title} change", f"{METRICS[metric].title} relative"]
            keys += [own | Key(metric=metric, form=form, base=base) for form in ("_change", "_relative_change")]
    return tuple(headings), tuple(keys)


def _compared(pairs: Pairs, before: tuple[Entry, Entry], names: Sequence[str]) -> tuple[TableChanges, ...]:
    return tuple(
        table_changes([pair[side] for pair in pairs], before[side], names, tested)
        for side, tested in ((0, ("pss",)), (1, (PERSONA_SCORE.name,)))
    )


def _notes(pairs: Pairs, names: Sequence[str], compared: Sequence[TableChanges]) -> list[str]:
    notes = []
    for kind, own in zip(_KINDS, compared, strict=False):
        notes += [f"{kind}: {note}" for note in own.notes]
    warnings = [
        (name, f"{warning}.") for name, (one, _) in zip(names, pairs, strict=True) for warning in one.part["warnings"]
    ]
    return [*notes, *grouped(names, warnings), *judging_notes.notes([other for _, other in pairs], names)]


def _changes(pair: tuple[Entry, Entry], before: tuple[Entry, Entry], rows: Sequence[Row]) -> list[Cell]:
    figures: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
        (one.part["stability"]["pss"], other.part["fidelity"]["persona_score"]) for one, other in (before, pair)
    ]
    cells: list[Cell] = []
    for row, name, old, now in zip(rows, ("pss", PERSONA_SCORE.name), *figures, strict=True):
        cells += [row.absolute(name, absolute(now, old)), row.relative(name, relative(now, old))]
    return cells
