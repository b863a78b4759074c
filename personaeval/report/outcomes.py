"""Results of the Python API's functions: numbers and frames for programs, text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaeval.report.leaderboard import leaderboard
from personaeval.report.tables import Tables
from personaeval.results.frames import Results
from personaeval.results.listing import load_summaries

if TYPE_CHECKING:
    from personaeval.judge.usage import JudgeUsage
    from personaeval.pipeline.forecast import Forecast
    from personaeval.pipeline.run import RunResult


class ShownResults(Results):
    """Runs that print and display as their leaderboard."""

    @property
    def table(self) -> Tables:
        """The leaderboard of these runs alone."""
        return Tables(tuple(leaderboard(load_summaries([run.folder for run in self.files]))))

    def __str__(self) -> str:
        return str(self.table)

    def _repr_markdown_(self) -> str:
        return str(self.table)


class Evaluation(ShownResults):
    """The runs that one call of ``run`` made.

    Attributes:
        checkpoints: for each, its run's folder, what was generated, and what failed.
    """

    def __init__(self, checkpoints: Sequence[RunResult]) -> None:
        super().__init__([one.folder for one in checkpoints if one.folder is not None])
        self.checkpoints = tuple(checkpoints)

    @property
    def generated(self) -> int:
        """Number of generated completions; the others were in the ledger."""
        return sum(one.generated for one in self.checkpoints)

    @property
    def failed(self) -> int:
        """Number of failed, hence unscored, requests and judgements; the same call retries only those."""
        return sum(one.failed + one.unjudged for one in self.checkpoints)

    @property
    def errors(self) -> tuple[str, ...]:
        """Why engines failed as a whole, if any did."""
        return tuple(one.engine_error for one in self.checkpoints if one.engine_error)


class Rescoring(ShownResults):
    """A run after its responses were scored again.

    Attributes:
        changed: how many verdicts changed.
        usages: each judge's requests and tokens.
    """

    def __init__(self, folder: Path, changed: int, usages: Sequence[JudgeUsage]) -> None:
        super().__init__([folder])
        self.changed = changed
        self.usages = tuple(usages)

    @property
    def failed(self) -> int:
        """Number of failed, hence unscored, judgements; the same call retries only those."""
        return sum(usage.failed for usage in self.usages)


@dataclass(frozen=True, repr=False)
class Forecasts:
    """Cost of runs and what they could detect, one forecast per checkpoint."""

    forecasts: tuple[Forecast, ...]
    text: str = field(compare=False)

    def __len__(self) -> int:
        return len(self.forecasts)

    def __iter__(self) -> Iterator[Forecast]:
        return iter(self.forecasts)

    def __getitem__(self, place: int) -> Forecast:
        return self.forecasts[place]

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, repr=False)
class JudgeChecks:
    """Results of validating judges: one record per judge, as the results folder keeps it."""

    records: tuple[Mapping[str, Any], ...]
    text: str = field(compare=False)

    @property
    def passed(self) -> bool:
        """Whether every judge passed."""
        return all(record["passed"] for record in self.records)

    def __repr__(self) -> str:
        return self.text
