"""An estimate as a table shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personaeval.metrics.catalogue import METRICS

MARK = 0.05
"""Changes with a p-value below this are marked."""

MISSING = "–"

SMALLEST_P = 0.001
"""Smaller p-values are shown as such, without a figure."""

UNIT = (0.0, 1.0)

_MOST_ASYMMETRIC = 1.5
"""Largest ratio of an interval's arms at which it is still written with one ±."""

_LARGEST_CHANGE = 10.0
"""Relative changes above this are shown as such, without a figure."""


@dataclass(frozen=True, slots=True)
class FormattedEstimate:
    """An estimate as a table shows it, such as ``0.950 [0.800, 0.980]`` or ``+0.050 ±0.010 *``.

    Attributes:
        value: the estimate; None if undefined.
        low: lower end of its interval; None without one.
        high: upper end.
        digits: decimals shown.
        percent: whether it is a relative change, shown in percent.
        signed: whether a plus sign is shown.
        p: adjusted p-value of "no change"; below ``MARK`` the text ends with a star.
        scale: smallest and largest possible value; ± is not used where it would leave them.
        is_p: whether it is a p-value itself.
        plain: whether the value alone is shown; interval and p-value are in other columns, and in machine formats.
        persona: whom it is of, shown before it, where the table's rows and columns do not say so.
        word: shown in place of a value, such as "baseline".
        why: why there is no value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 3
    percent: bool = False
    signed: bool = False
    p: float | None = None
    scale: tuple[float, float] | None = None
    is_p: bool = False
    plain: bool = False
    persona: str = ""
    word: str = ""
    why: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return self.word or MISSING
        if self.plain:
            return self.figure
        text = f"{self.persona} {self.figure}{self.interval}".lstrip()
        return f"{text} *" if self.p is not None and self.p < MARK else text

    @property
    def figure(self) -> str:
        """The value alone."""
        return MISSING if self.value is None else self._write(self.value)

    @property
    def interval(self) -> str:
        """The interval with a space before it; empty without one."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        half = (self.high - self.low) / 2
        if self._is_symmetric(half):
            return f" ±{self._write(half).removeprefix('+')}"
        return f" [{self._write(self.low)}, {self._write(self.high)}]"

    def _is_symmetric(self, half: float) -> bool:
        assert self.value is not None and self.low is not None and self.high is not None
        arms = self.value - self.low, self.high - self.value
        if max(arms) > _MOST_ASYMMETRIC * min(arms):
            return False
        if self.scale is None:
            return True
        shown, half = round(self.value, self.digits), round(half, self.digits)
        slack = 10.0 ** -(self.digits + 1)
        return self.scale[0] - slack <= shown - half and shown + half <= self.scale[1] + slack

    def _write(self, value: float) -> str:
        if self.is_p and value < SMALLEST_P:
            return f"<{SMALLEST_P:g}"
        if self.percent and value > _LARGEST_CHANGE:
            return f">{_LARGEST_CHANGE:.0%}"
        sign = "+" if self.signed or self.percent else ""
        return f"{value:{sign}{'.1%' if self.percent else f'.{self.digits}f'}}"


def interval(numbers: Mapping[str, Any], metric: str = "accuracy") -> FormattedEstimate:
    """A summary's estimate with its interval, formatted for the scale of its metric."""
    return FormattedEstimate(numbers["value"], numbers["low"], numbers["high"], scale=scale_of(metric))


def scale_of(metric: str) -> tuple[float, float] | None:
    """The smallest and the largest value of a metric, where both are known."""
    known = METRICS.get(metric)
    if known is None:
        return None
    return {"logit": UNIT, "fisher": (-1.0, 1.0)}.get(known.scale, (1.0, 5.0) if known.judged else None)


def p_value(p: float | None) -> FormattedEstimate:
    """A p-value of its own column."""
    return FormattedEstimate(p, is_p=True)
