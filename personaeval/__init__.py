"""Persona stability and fidelity of language-model checkpoints.

The main path, in the order the data flows::

    tasks, personas -> prompts -> plan -> engines -> ledger -> verify -> results -> metrics -> report

Start reading at :func:`personaeval.pipeline.run.run`.
"""

from __future__ import annotations

__version__ = "0.1.0"
