"""Forecasts in lines for people: each checkpoint's own part, and once what all checkpoints share."""

from __future__ import annotations

from collections.abc import Sequence

from personaeval.judge.usage import describe_usage
from personaeval.pipeline.forecast import Forecast
from personaeval.pipeline.outlook import describe_outlook
from personaeval.progress import duration


def describe_forecasts(found: Sequence[Forecast], detect: float | None) -> str:
    """Requests and tokens by checkpoint, their total and time, then what judges cost and what can be detected."""
    first = found[0]
    lines = list(first.notes)
    shared = [caution for caution in first.cautions if all(caution in one.cautions for one in found)]
    for one in found:
        lines += _describe_one(one)
        lines += [f"Caution: {caution}." for caution in one.cautions if caution not in shared or len(found) == 1]
    if len(found) > 1:
        lines += ["", _total(found)]
        lines += [f"Caution, for every checkpoint: {caution}." for caution in shared]
    each = ", for each checkpoint" if len(found) > 1 else ""
    lines += [
        f"At most{each} (less what the ledger already holds): {describe_usage(usage, first.prices)}"
        for usage in first.judges
    ]
    if len(found) > 1:
        lines.append("")
    for outlook in first.outlooks:
        lines += describe_outlook(outlook, detect)
    return "\n".join(lines)


def _describe_one(found: Forecast) -> list[str]:
    duplicates = found.requests - found.present - found.missing
    alike = f", {duplicates:,} duplicates of others" if duplicates else ""
    lines = [f"{found.checkpoint}: {_requests(found.requests)}, {found.present:,} in the ledger already{alike}."]
    if not found.missing:
        return [*lines, "Nothing to generate."]
    prompt = (
        f"about {found.characters / 4:,.0f} prompt tokens (an endpoint makes its own prompts)"
        if found.prompt_tokens is None
        else f"{found.prompt_tokens:,} prompt tokens"
    )
    guess = (
        "no estimate without an earlier run of these tasks in the results folder"
        if found.mean_output is None
        else f"about {found.mean_output * found.missing:,.0f}, as in the last run of these tasks"
    )
    lines.append(f"To generate: {_requests(found.missing)}, {prompt}.")
    lines.append(f"New tokens: at most {found.most_output:,}; {guess}.{_time(found)}")
    return lines


def _time(found: Forecast) -> str:
    if found.seconds is None:
        return ""
    return f" Time: about {duration(found.seconds)}, at the {found.speed:,.0f} tokens/s of that engine's last run."


def _total(found: Sequence[Forecast]) -> str:
    missing = sum(one.missing for one in found)
    most = sum(one.most_output for one in found)
    prompts = [one.characters / 4 if one.prompt_tokens is None else one.prompt_tokens for one in found]
    about = "about " if any(one.prompt_tokens is None for one in found) else ""
    seconds = [one.seconds for one in found if one.missing]
    known = [one for one in seconds if one is not None]
    time = f"; about {duration(sum(known))}" if missing and len(known) == len(seconds) else ""
    return (
        f"In all, {len(found)} checkpoints: {_requests(missing)} to generate, {about}{sum(prompts):,.0f} prompt "
        f"tokens, at most {most:,} new tokens{time}."
    )


def _requests(count: int) -> str:
    return f"{count:,} request{'s' if count != 1 else ''}"
