"""Verification: a completion in, a verdict out::

with Verifier() as verifier:
    verdict = verifier.submit(task.scorer, item.gold, completion.text, choices=item.choices).result()
    verdict.status, verdict.answer, verdict.evidence
"""

from __future__ import annotations

from personaeval.types import Status, Verdict
from personaeval.verify.suspicion import decoys_of
from personaeval.verify.verdict import VERSION
from personaeval.verify.verifier import Verifier

__all__ = ["VERSION", "Status", "Verdict", "Verifier", "decoys_of"]
