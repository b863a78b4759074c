"""What tokens cost: a small YAML file of the user's own, since prices change and nobody should trust a built-in list.

::

    currency: USD
    models:
      some-judge: {input: 2.0, cached_input: 0.5, output: 8.0}

Prices are for a million tokens; a model is named as in ``engine:NAME``.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from personaeval.documents import read_document


class Price(BaseModel):
    """Of one model, for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0, description="Default: as input.")


class PriceList(BaseModel):
    """The content of a price file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = "USD"
    models: dict[str, Price] = {}

    def cost(self, model: str, prompt: int, cached: int, output: int) -> float | None:
        """Return what tokens cost; None for a model without a price.

        Args:
            model: its name.
            prompt: tokens read, those from the cache included.
            cached: tokens of these that came from the cache.
            output: tokens written.
        """
        price = self.models.get(model)
        if price is None:
            return None
        from_cache = price.input if price.cached_input is None else price.cached_input
        return ((prompt - cached) * price.input + cached * from_cache + output * price.output) / 1e6

    def shown(self, cost: float | None) -> str:
        """Return a cost in words to be put after others; nothing where it is not known."""
        return "" if cost is None else f", {cost:,.2f} {self.currency}"


def read_prices(path: Path | None) -> PriceList:
    """Read a price file; without one, nothing has a price.

    Raises:
        UsageError: it is missing or broken.
    """
    return PriceList() if path is None else read_document(path, PriceList)
