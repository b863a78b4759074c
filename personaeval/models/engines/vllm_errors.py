"""Why vLLM could not start: the first error that its processes logged, and what to try."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path


def remedy(reason: str) -> str:
    """Remedy to suggest for a reason that vLLM gave."""
    text = reason.lower()
    if "memory" in text or "kv cache" in text:
        return (
            "-> less context (--engine-arg max_model_len=4096), more memory for it (--engine-arg "
            "gpu_memory_utilization=0.95; on a CPU the variable VLLM_CPU_KVCACHE_SPACE, in GiB), or more devices "
            "(--engine-arg tensor_parallel_size=2)."
        )
    if "dtype" in text or "bfloat16" in text or "float16" in text:
        return "-> choose another --dtype."
    if "architecture" in text or "not supported" in text:
        return "-> try the transformers engine (--model transformers:PATH)."
    return "-> set VLLM_LOGGING_LEVEL=INFO to see more."


def tidy(error: Exception) -> str:
    """An exception's message on one line, without pydantic's additions."""
    text = re.sub(r"\[type=[^\n]*|For further information visit \S+", "", str(error))
    return " ".join(text.split()) or type(error).__name__


class CauseLog:
    """Captures the errors that vLLM logs while this process lives.

    The engine runs in its own process, and the exception raised here only says "see above". A configuration file makes
    vLLM's processes log errors to a second file too, which is read here. A user's own logging configuration is kept.
    """

    _CAUSE = re.compile(r"(?:[\w.]+(?:Error|Exception)): (.+)")

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="personaeval-vllm-")
        self._causes = Path(self._folder.name) / "causes.log"
        self._config = Path(self._folder.name) / "logging.json"
        level = os.environ["VLLM_LOGGING_LEVEL"].upper()
        stream = os.environ["VLLM_LOGGING_STREAM"]
        console = {"class": "logging.StreamHandler", "stream": stream, "level": level, "formatter": "line"}
        causes = {"class": "logging.FileHandler", "filename": str(self._causes), "level": "ERROR"}
        line = {"format": "vllm %(processName)s %(levelname)s [%(filename)s:%(lineno)d] %(message)s"}
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": line},
            "handlers": {"console": console, "causes": causes},
            "loggers": {
                "vllm": {"handlers": ["console", "causes"], "level": level, "propagate": False},
                # It wants token ids wrapped in a class that older versions lack.
                "vllm.v1.engine.input_processor": {"level": "ERROR"},
            },
        }
        self._config.write_text(json.dumps(config), encoding="utf-8")

    @contextlib.contextmanager
    def configure(self) -> Iterator[None]:
        """Make processes started meanwhile log here."""
        self._causes.write_text("", encoding="utf-8")
        if "VLLM_LOGGING_CONFIG_PATH" in os.environ or os.environ.get("VLLM_CONFIGURE_LOGGING") == "0":
            yield
            return
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(self._config)
        try:
            yield
        finally:
            del os.environ["VLLM_LOGGING_CONFIG_PATH"]

    def first(self) -> str | None:
        """Message of the first logged exception: later ones are its consequences."""
        found = self._CAUSE.search(self._causes.read_text(encoding="utf-8", errors="replace"))
        return found[1].strip() if found else None


@functools.cache
def cause_log() -> CauseLog:
    """The log of this process, made once."""
    return CauseLog()
