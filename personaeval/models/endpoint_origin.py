"""What identifies a model behind an endpoint, whose weights nobody can look at: place, name, the user's version.

What the server says of itself in ``/models`` is recorded and never hashed: it changes with a flag of the server's and
does not change with the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personaeval.documents import canonical_json


@dataclass(frozen=True, slots=True)
class EndpointOrigin:
    """Place and name of a model behind an endpoint, and ``--model-version`` if one was given."""

    place: str
    name: str
    version: str | None = None

    def fingerprint(self) -> str:
        """The fingerprint of the model."""
        # Of a server that lists no models, earlier versions had the same.
        return _hash([self.place, self.name, None, *([self.version] if self.version is not None else ())])

    def former_fingerprint(self, listed: Mapping[str, Any] | None) -> str | None:
        """The fingerprint that earlier versions gave it, which hashed its ``/models`` entry and no version."""
        return None if self.version is not None else _hash([self.place, self.name, listed])

    def record(self) -> dict[str, Any]:
        """Name and version for run.json."""
        return {"name": self.name, **({"version": self.version} if self.version is not None else {})}


def _hash(parts: list[Any]) -> str:
    return hashlib.blake2b(canonical_json(parts, ascii_only=True), digest_size=16).hexdigest()
