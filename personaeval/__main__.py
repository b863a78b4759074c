"""``python -m personaeval``."""

from __future__ import annotations

from personaeval.cli import main

if __name__ == "__main__":
    main()
