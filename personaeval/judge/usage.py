"""Requests, tokens and cost of judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from personaeval.documents import read_document
from personaeval.progress import Progress


class Price(BaseModel):
    """Prices of one model per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0, description="Default: the price of input.")


class PriceList(BaseModel):
    """Content of a price file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = "USD"
    models: dict[str, Price] = {}

    def cost(self, model: str, prompt: int, cached: int, output: int) -> float | None:
        """Cost of tokens; None for a model without a price.

        Args:
            model: its name.
            prompt: prompt tokens, including cached ones.
            cached: prompt tokens served from the prefix cache.
            output: generated tokens.
        """
        price = self.models.get(model)
        if price is None:
            return None
        from_cache = price.input if price.cached_input is None else price.cached_input
        return ((prompt - cached) * price.input + cached * from_cache + output * price.output) / 1e6

    def shown(self, cost: float | None) -> str:
        """A cost to append to a line; empty if unknown."""
        return "" if cost is None else f", {cost:,.2f} {self.currency}"


def read_prices(path: Path | None) -> PriceList:
    """Read a price file; without one, no model has a price.

    Raises:
        UsageError: it is missing or broken.
    """
    return PriceList() if path is None else read_document(path, PriceList)


def add_cost(usages: Sequence[JudgeUsage], prices: PriceList) -> None:
    """Give each judge's usage its cost, if its model has a price."""
    for usage in usages:
        usage.cost = prices.cost(usage.model, usage.prompt_tokens, usage.cached_tokens, usage.output_tokens)
        usage.currency = prices.currency if usage.cost is not None else None


def total_usage(sessions: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Each judge's requests, tokens and cost over the sessions of a run, as summary.json holds them.

    The cost is None if that of any session with requests is not known.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in (usage for session in sessions for usage in session):
        if not one.get("calls"):
            continue
        total = found.setdefault(str(one["judge"]), dict.fromkeys(_SUMMED, 0) | {"cost": 0.0, "currency": None})
        for name in _SUMMED:
            total[name] += one.get(name, 0)
        cost = one.get("cost")
        total["cost"] = None if cost is None or total["cost"] is None else total["cost"] + cost
        total["currency"] = one.get("currency") or total["currency"]
    return found


_SUMMED = ("calls", "prompt_tokens", "cached_tokens", "output_tokens")


def report_judging(usages: Sequence[JudgeUsage], prices: PriceList, progress: Progress) -> None:
    """Print each judge's requests, tokens and cost in this command."""
    for usage in usages:
        if usage.calls:
            progress.message(describe_usage(usage, prices))


def describe_usage(usage: JudgeUsage, prices: PriceList) -> str:
    """One line on a judge's requests, tokens and cost."""
    cost = prices.cost(usage.model, usage.prompt_tokens, usage.cached_tokens, usage.output_tokens)
    share = usage.cached_tokens / max(usage.prompt_tokens, 1)
    return (
        f"judge {usage.judge}: {usage.calls:,} calls, {usage.prompt_tokens:,} prompt tokens ({share:.0%} from the "
        f"prefix cache), {usage.output_tokens:,} new tokens{prices.shown(cost)}."
    )


@dataclass
class JudgeUsage:
    """One judge's requests and tokens in one command, and why its engine failed as a whole, if it did."""

    judge: str
    model: str
    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    engine_error: str | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    """Why requests failed, the commonest first, with counts."""
    cost: float | None = None
    """In the currency of the price list; None without a price."""
    currency: str | None = None
