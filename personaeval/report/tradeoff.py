"""Trade-off table: stability and fidelity of each checkpoint side by side, and their changes against a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from personaeval.errors import InvalidRunError
from personaeval.metrics.catalogue import METRICS, PERSONA_SCORE
from personaeval.report import judged_tables
from personaeval.report.changes import Row, table_changes
from personaeval.report.entries import Entry, Groups, Summary, bases_of, group, interval, names_of, relative
from personaeval.report.formats import Cell, Table

_SHOWN = ("accuracy", "pss", "kappa")


def trade_off(summaries: Sequence[Summary], baseline: str | None = None) -> list[Table]:
    """A table per pair of comparable groups, one of a stability task and one of a judged task.

    A row is a checkpoint that has runs in both.

    Raises:
        InvalidRunError: no checkpoint has both.
        UsageError: the baseline has no run here.
    """
    stable = group(summaries, "stability", None, lambda part: interval(part["stability"]["pss"]))
    judged = [[entry for entry in entries if entry[1]["judged"]] for entries in judged_tables.groups(summaries, None)]
    tables = []
    for left in stable:
        for right in judged:
            pairs = _pair(left, right)
            if pairs:
                tables.append(_table(pairs, baseline))
    if not tables:
        raise InvalidRunError(
            "--trade-off: no checkpoint has both a stability task and a judged task here. Run one with both, such as "
            "--tasks math500,personagym --judge …."
        )
    return tables


def _pair(left: Sequence[Entry], right: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """A stability and a fidelity entry for each checkpoint, from one run if one has both.

    A checkpoint's runs in one group have the same settings, so that the first represents them.
    """
    found: dict[tuple[str, str], tuple[Entry, Entry]] = {}
    candidates = [(one, other) for one in left for other in right if _checkpoint(one) == _checkpoint(other)]
    for one, other in sorted(candidates, key=lambda pair: pair[0][0]["plan"] != pair[1][0]["plan"]):
        found.setdefault(_checkpoint(one), (one, other))
    order = [_checkpoint(one) for one in left]
    return sorted(found.values(), key=lambda pair: order.index(_checkpoint(pair[0])))


def _checkpoint(entry: Entry) -> tuple[str, str]:
    return entry[0]["short_name"], entry[0]["fingerprint"]


def _table(pairs: Sequence[tuple[Entry, Entry]], baseline: str | None) -> Table:
    left: Groups = [[one for one, _ in pairs]]
    names = names_of(left[0])
    base = bases_of(left, baseline)[0] if baseline is not None else None
    columns = ["checkpoint", *(METRICS[metric].title for metric in (*_SHOWN, PERSONA_SCORE.name))]
    columns += ["PSS change", "PersonaScore change"] if base is not None else []
    before = next((pair for pair in pairs if pair[0] is base), None)
    compared = (
        [
            table_changes([pair[side] for pair in pairs], before[side], names, tested)
            for side, tested in ((0, ("pss",)), (1, ("persona_score",)))
        ]
        if before is not None
        else []
    )
    rows = []
    for place, (name, (one, other)) in enumerate(zip(names, pairs, strict=True)):
        numbers = one[1]["stability"]
        row: list[Cell] = [name, *(interval(numbers[metric]) for metric in _SHOWN)]
        row.append(judged_tables.persona_score(other[1]))
        if before is not None:
            changed = [own.rows[place] for own in compared]
            row += ["baseline"] * 2 if place == list(pairs).index(before) else _changes((one, other), before, changed)
        rows.append(tuple(row))
    first = pairs[0]
    title = f"{first[0][1]['title']} and {first[1][1]['title']}: stability and fidelity"
    notes = []
    for kind, own in zip(("Stability", "Fidelity"), compared, strict=False):
        notes += [f"{kind}: {note}" for note in own.notes]
    notes.append("PSS rises with accuracy even if nothing became more stable: read it beside accuracy and κ.")
    notes += [
        f"{name}: {warning}." for name, (one, _) in zip(names, pairs, strict=True) for warning in one[1]["warnings"]
    ]
    notes += judged_tables.notes([other for _, other in pairs], names)
    return Table(title, tuple(columns), tuple(rows), tuple(dict.fromkeys(notes)))


def _changes(pair: tuple[Entry, Entry], before: tuple[Entry, Entry], rows: Sequence[Row]) -> list[Cell]:
    figures = [(one[1]["stability"]["pss"], other[1]["fidelity"]["persona_score"]) for one, other in (before, pair)]
    return [
        row.relative(name, relative(now, old))
        for row, name, old, now in zip(rows, ("pss", "persona_score"), *figures, strict=True)
    ]
