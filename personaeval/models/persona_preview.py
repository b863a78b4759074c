"""Personas as a model sees them: each sentence, and the whole prompt of a checkpoint."""

from __future__ import annotations

from personaeval.config import ModelOptions, PersonasShowOptions, part
from personaeval.library.external_personas import Reading
from personaeval.library.registry import Registry
from personaeval.library.wording import Fit
from personaeval.models.checkpoints import parse_model
from personaeval.models.model import open_model
from personaeval.models.prompts import PROBE, chat
from personaeval.models.sentences import fit_of, persona_sentence
from personaeval.models.suitability import place_personas


def show_personas(asked: PersonasShowOptions) -> str:
    """Personas with their sentence, and with the whole prompt if a checkpoint is given."""
    model = asked.model
    # Texts that the template cannot take are shown all the same; only `verbatim` reads them in another way.
    fit = fit_of(asked.template)
    reading = Reading(fit if fit is Fit.VERBATIM else None)
    personas = Registry(asked.include).personas([asked.personas], reading)
    sentences = {persona.id: persona_sentence(asked.template, persona) for persona in personas}
    lines = []
    if model is not None:
        options = part(asked, ModelOptions)
        opened = open_model(parse_model(model), options)
        placement = place_personas(opened, sentences, asked.persona_role)
        lines.append(f"placement: {placement.role}, {'verified' if placement.verified else 'not verified'}")
        lines += [f"caution: {caution}" for caution in placement.cautions]
        shown = {
            persona_id: opened.probe(chat(sentence, placement.role, PROBE))
            for persona_id, sentence in sentences.items()
        }
    for persona in personas:
        lines += ["", f"{persona.id} ({persona.category.value}): {sentences[persona.id] or '(nothing)'}"]
        if model is not None:
            prompt = shown[persona.id]
            lines.append("not shown by the endpoint" if prompt is None else prompt.replace(PROBE, "{{ item }}"))
    return "\n".join(lines).strip()
