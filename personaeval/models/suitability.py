"""Whether a model can be asked what a run wants: its personas placed, its context long enough, its tasks possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from personaeval.config import PersonaRole
from personaeval.errors import UsageError
from personaeval.library.sources import ItemSet
from personaeval.library.tasks import HarnessSource, PlainPrompt
from personaeval.models.model import EndpointModel, InProcessModel, Model
from personaeval.models.placement import Placement, place
from personaeval.models.prompts import PROBE, PlainRenderer, Role, chat


def place_personas(model: Model, sentences: Mapping[str, str | None], requested: PersonaRole) -> Placement:
    """Where a model's prompts hold the personas; see :func:`personaeval.models.placement.place`."""
    if isinstance(model, EndpointModel) and not model.dialect.takes_system:
        if requested == "system":
            raise UsageError(
                f"--persona-role system: the endpoint of {model.spec.short_name} refuses a system turn. Use "
                "--persona-role user_prefix, or leave it out."
            )
        requested = "user_prefix"
    placement = place(model.probe, sentences, requested, model.thinking, model.control_tokens)
    cautions = list(placement.cautions)
    if isinstance(model.renderer, PlainRenderer):
        cautions.append("the model has no chat template: its prompts are plain text, as for a base model")
    seen = f"{model.chat_template or ''} {placement.no_persona_prompt or ''}"
    if unknown := model.thinking.unknown_marks(seen):
        cautions.append(
            f"the chat template holds {', '.join(unknown)}, which may mark thinking: unless --reasoning-start and "
            "--reasoning-end name the marks, it is read as part of the answer"
        )
    return replace(placement, cautions=tuple(cautions))


def opens_thinking(model: Model) -> bool:
    """Whether a model's prompts begin its thinking; False where a server renders them."""
    end = model.renderer.full(None, "system", PlainPrompt()).end()
    return end is not None and model.thinking.is_opened_by(end)


def refuse_long_personas(model: Model, role: Role, sentences: Mapping[str, str | None]) -> None:
    """Refuse personas that leave no room for a question, before anything is generated.

    Raises:
        UsageError: names the persona and both lengths.
    """
    context = model.context()
    if context is None:
        return
    longest_first = sorted(sentences.items(), key=lambda pair: -len((pair[1] or "").encode()))
    for persona_id, sentence in longest_first:
        shown = model.probe(chat(sentence, role, PROBE))
        # A token is at least one byte: if the bytes fit, so do the tokens of this and every shorter persona.
        if shown is None or len(shown.encode()) < context:
            return
        tokens = model.count_tokens(shown)
        if tokens >= context:
            raise UsageError(
                f"persona {persona_id!r}: with a question of a few words its prompt has {tokens} tokens, but the "
                f"context of {model.spec.short_name} only {context}. Shorten its text or leave it out."
            )


def refuse_unfit(model: Model, items: ItemSet) -> None:
    """Refuse a task that this model cannot be asked as its authors intend.

    Raises:
        UsageError: a task of lm-evaluation-harness and a model without a chat template, or single-token answers whose
            logits the engine does not give or that are more than one token.
    """
    task = items.task
    if not isinstance(task.source, HarnessSource):
        return
    named = f"{task.name} cannot be run on {model.spec.short_name}"
    if isinstance(model.renderer, PlainRenderer):
        raise UsageError(f"{named}: without a chat template, the harness's prompts have no place for a persona.")
    if not task.answer_tokens:
        return
    if not isinstance(model, InProcessModel):
        raise UsageError(f"{named}: its answers are the likeliest of single tokens, and an endpoint gives no logits.")
    try:
        model.answer_token_ids(task.answer_tokens)
    except ValueError as error:
        raise UsageError(f"{named}: its answers are the likeliest of single tokens, but {error}.") from error
