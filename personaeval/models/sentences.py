"""The sentence that introduces a persona: the built-in templates, and how a text is put into one.

>>> persona_sentence("you-are", Persona(id="cook", text="a cook", category="role"))
'You are a cook.'
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from personaeval.errors import UsageError, suggest
from personaeval.library.personas import Persona
from personaeval.library.wording import Fit

TEMPLATES = {
    "you-are": "You are {{ persona }}.",
    "adopt": "Adopt the following persona and keep to it in everything you answer: {{ persona }}.",
    "described": (
        "Answer as the person described below would, in content and in manner.\n\n"
        "Description of the person: {{ persona }}."
    ),
    "third-person": "This is known of the one who writes the answers here: {{ persona }}.",
    "imagine": "For the length of this conversation, imagine that you are {{ persona }}.",
    "verbatim": "{{ persona }}",
}
"""Persona sentences by name."""

_PERSONA = re.compile(r"\{\{-?\s*persona\s*-?\}\}")

_ENDED = re.compile(r"[.!?…。．！？｡؟۔।॥።։၊။][\"'”’»›」』*_]*\Z")
"""The end of a sentence, within quotation marks or not."""

_FULL_STOP = r"[.。．｡۔।]"


def template_text(template: str) -> str:
    """Text of a template given by name or as text.

    Raises:
        UsageError: it is neither a known name nor a text with ``{{ persona }}``.
    """
    if template in TEMPLATES:
        return TEMPLATES[template]
    if "{{" not in template:
        raise UsageError(
            f"--template {template!r}: it must contain {{{{ persona }}}}, or be a name.{suggest(template, TEMPLATES)}"
        )
    return template


def fit_of(template: str) -> Fit:
    """What kind of text a template (text or name) can take, by what stands before ``{{ persona }}``."""
    text = template_text(template)
    if _PERSONA.fullmatch(text.strip()):
        return Fit.VERBATIM
    lead = _PERSONA.split(text, maxsplit=1)[0]
    if not lead.strip() or lead.endswith("\n"):
        return Fit.ANYTHING
    return Fit.COMPLETION if unicodedata.category(lead.rstrip()[-1])[0] in "LMN" else Fit.DESCRIPTION


def persona_sentence(template: str, persona: Persona) -> str | None:
    """The persona's own prompt if it has one, else ``template`` (text or name) filled in; None for the baseline.

    After a text that ends a sentence by itself, the template's full stop is left out.

    Raises:
        UsageError: the template is broken or does not use ``persona``.
    """
    if persona.is_baseline:
        return None
    if persona.prompt is not None:
        return persona.prompt
    sentence = _fill(template_text(template), persona)
    if _ENDED.search(persona.text):
        sentence = re.sub(f"({re.escape(persona.text)}){_FULL_STOP}(?!{_FULL_STOP})", r"\1", sentence)
    return sentence


def drops_full_stop(template: str, persona: Persona) -> bool:
    """Whether a sentence lacks the template's full stop, which earlier versions put after any text."""
    if persona.is_baseline or persona.prompt is not None or not _ENDED.search(persona.text):
        return False
    return persona_sentence(template, persona) != _fill(template_text(template), persona)


def _fill(template: str, persona: Persona) -> str:
    try:
        sentence = _compiled(template).render(persona=persona.text, id=persona.id).strip()
    except Exception as error:
        # A template is a small program: it can fail in any way.
        raise UsageError(f"--template {template!r}: {error}.") from error
    if persona.text not in sentence:
        raise UsageError(f"--template {template!r}: it must contain {{{{ persona }}}}.")
    return sentence


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    """Compiling takes fifty times as long as filling in, and a run has one template for all its personas."""
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(template)
