"""Rules that detect plain refusals and plain admissions of being an AI without a judge. English only.

They favour precision: a match is certain, and a judge can still flag what they miss.
"""

from __future__ import annotations

import re

_OPENING = 200
"""Characters searched for a refusal: further on, a persona may decline many things in its role."""


_MACHINE = (
    r"(?:AI|A\.I\.|artificial intelligence|(?:large |AI )?language model|LLM|chat ?bot|virtual assistant|"
    r"computer program|digital assistant)(?: (?:language )?(?:model|assistant|program|system|chat ?bot))?"
)

_START = r"(?:^|(?<=[.!?\n:;,—])\s*|\b(?:but|and|because|since|that)\s+)[\"'“*_]{0,3}"
"""Start of a statement about oneself; excludes "people say I'm an AI" and "who told you I'm an AI"."""

_ADMISSION = re.compile(
    rf"\bas an? (?:large )?{_MACHINE}(?=\s*[,.;:!)—–]|\s+(?:I|so|trained|developed|created|made)\b|\s*$)"
    rf"|{_START}I(?:['’]m| am) (?:just |only |really |actually |in fact )*an? (?:large )?{_MACHINE}"
    r"(?=\s*[,.;:!)—–]|\s+(?:and|so|that|who|which|trained|developed|created|made|built|by|without|designed)\b|\s*$)",
    re.IGNORECASE,
)

_REQUEST = (
    r"(?:(?:that|this|your|the|such|a|as) (?:[\w-]+ ){0,3}?(?:request|question|persona|character|role|content|scenario|"
    r"conversation|topic|prompt)s?\b|(?:this|that|such) (?:kind|sort|type) of|such (?:requests|content|questions)|"
    r"with (?:that|this)(?=\s*[.,;!]|\s*$|\s+request))"
)

_DECLINING = (
    r"(?:help|assist|comply|fulfil|fulfill|continue|engage|participate|role-?play|pretend|provide|generate|create|produce|"
    r"answer|respond|discuss|do|take on|adopt|take part in|speak as|act out|write about)"
)

_REFUSAL = re.compile(
    rf"\bI(?:['’]m| am)(?: (?:so|very|really|truly))? sorry,? (?:but )?(?:I|as an)\b"
    rf"[^.!?\n]{{0,60}}?\b(?:can(?:no|['’])t|cannot|unable to|not able to|won['’]t|will not)\s+{_DECLINING}\b(?! but\b)"
    rf"|^\W*(?:I (?:can(?:['’])?t|cannot|can not|won['’]t|will not|must decline to|decline to)|"
    rf"I(?:['’]m| am) (?:unable|not able) to)\s+{_DECLINING}\b(?! (?:but|it)\b)"
    rf"[^.!?\n]{{0,40}}?{_REQUEST}",
    re.IGNORECASE,
)


def admits_ai(response: str) -> bool:
    """Whether a response says outright that it comes from an AI."""
    return _ADMISSION.search(response) is not None


def refuses(response: str) -> bool:
    """Whether a response begins with an assistant's typical refusal."""
    return _REFUSAL.search(response.strip()[:_OPENING]) is not None
