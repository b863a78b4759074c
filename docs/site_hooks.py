"""Hooks of mkdocs: README.md becomes the site's first page, and links to other files of the repository become texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Any, config: Any) -> Any:
    """Add index.md, made from README.md: links into docs/ lose that folder."""
    from mkdocs.structure.files import File

    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links that leave docs/ into plain texts: the site has no copy of those files."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./|LICENSE|CHANGELOG)[^)]*\)", r"\1", markdown)
