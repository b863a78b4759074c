"""Verification: a completion in, a verdict out."""

from personaeval.verify.verdict import VERSION, Status, Verdict
from personaeval.verify.verifier import Verifier

__all__ = ["VERSION", "Status", "Verdict", "Verifier"]
