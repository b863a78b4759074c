"""Text files as people have them: any Unicode encoding, compressed or not, CSV with any usual separator."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections import Counter
from pathlib import Path

from personaeval.errors import UsageError
from personaeval.library.items import Row

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SEPARATORS = ",;\t|"

_LONGEST_FIELD = 1 << 27


def kind_of(path: Path) -> str:
    """A file's ending in lower case, without ``.gz``: ``.jsonl`` of ``People.JSONL.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def read_bytes(path: Path) -> bytes:
    """A file's content, decompressed if its name ends in ``.gz``.

    Raises:
        UsageError: it cannot be read or is no gzip file.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.name.lower().endswith(".gz") else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: not a whole gzip file ({error}); compress it again, or pass it unpacked.") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error


def decode(content: bytes, path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, without a byte order mark.

    Raises:
        UsageError: it is in none of them; names the line and the remedy.
    """
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), None) or _without_mark(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8. Convert it from its own "
            "encoding (WINDOWS-1252 if Excel wrote it in the West, WINDOWS-1251 in Cyrillic, GB18030, SHIFT_JIS, …): "
            f"iconv -f WINDOWS-1252 -t UTF-8 {path} > {path.stem}-utf8{path.suffix}"
        ) from error


def _without_mark(content: bytes) -> str:
    """UTF-16 without a mark has a zero byte in every second place where it writes Latin letters and commas."""
    head = content[:400]
    if len(head) >= 4 and not head[::2].strip(b"\0"):
        return "utf-16-be"
    if len(head) >= 4 and head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if len(head) >= 4 and head[::2].count(0) > len(head) // 4:
        return "utf-16-be"
    return "utf-8"


def read_csv(text: str, path: Path) -> list[Row]:
    """Rows of a CSV text whose columns are separated by commas, semicolons, tabs or bars.

    Raises:
        UsageError: it is broken, or a column occurs twice; names the row.
    """
    first, _, rest = text.partition("\n")
    separator = "\t" if kind_of(path) == ".tsv" else None
    if first.strip().lower().startswith("sep="):
        # Excel's own way of naming the separator.
        separator, text = first.strip()[4:5] or "\t", rest
        first = text.partition("\n")[0]
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator or _separator(first), strict=True)
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: broken CSV ({error}).") from error
    if not lines:
        return []
    header = [name.strip() for name in lines[0]]
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise UsageError(f"{path}: the column {twice[0]!r} occurs twice; rename one.")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise UsageError(
                f"{path}, row {number}: it has {len(line)} fields, the header {len(header)}; a text with the separator "
                "in it must stand in quotation marks."
            )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _separator(header: str) -> str:
    """The separator that occurs most often in the header, outside quotation marks."""
    outside = "".join(header.split('"')[::2])
    return max(_SEPARATORS, key=lambda sign: (outside.count(sign), -_SEPARATORS.index(sign)))
