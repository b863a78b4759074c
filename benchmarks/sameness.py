"""Is an endpoint refused when it serves another model, and only then::

    python benchmarks/sameness.py [--resumptions 50] [--changed 10] [--near 0.003 0.01 0.03]

Needs vLLM and the embedded model. vLLM's own server serves SmolLM2-135M; a first run stores answers and the fixed
prompts. Then the same command is given again: so many times beside other requests that keep the server busy, which must
never be refused; after a restart with clear noise on the weights, which must always be refused; and after restarts with
less noise, for the figure. Seeded. Exit status 1 where the first two are not so.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from checkpoints import NOISE, base_checkpoint, damaged_checkpoint  # noqa: E402

from personaeval.config import make_config  # noqa: E402
from personaeval.errors import UsageError  # noqa: E402
from personaeval.generation import sameness  # noqa: E402
from personaeval.pipeline.run import run  # noqa: E402
from personaeval.progress import open_progress  # noqa: E402
from tests.vllm_server import free_port, serving  # noqa: E402

NAME = "served"
LOAD = 3
"""Other requests that are under way at any time."""


def main() -> int:
    """Serve one model after the other and print how often the same command was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resumptions", type=int, default=50, help="of the unchanged server, under load")
    parser.add_argument("--changed", type=int, default=10, help="resumptions of each other model")
    parser.add_argument("--near", type=float, nargs="*", default=[0.003, 0.01, 0.03], help="noise of near neighbours")
    parser.add_argument("--dtype", default="auto", help="of the server; auto is the checkpoint's bfloat16")
    options = parser.parse_args()
    folder = ROOT / "build" / "checkpoints"
    base = base_checkpoint(folder)
    noises = [NOISE, *options.near]
    others = [damaged_checkpoint(folder, base, noise) for noise in noises]
    port = free_port()
    rows = []
    with tempfile.TemporaryDirectory() as results:
        resume = _resumption(Path(results), port)
        with serving(base, NAME, port, options.dtype) as url:
            resume()
            with _busy(url):
                rows.append(("unchanged, under load", *_refused(resume, options.resumptions)))
        for noise, other in zip(noises, others, strict=True):
            with serving(other, NAME, port, options.dtype):
                rows.append((f"weights + {noise:g} noise", *_refused(resume, options.changed)))
            print(tabulate(rows, headers=("served", "resumptions", "refused", "prompts changed", "usable")), flush=True)
    return int(rows[0][2] > 0 or rows[1][2] < options.changed)


def _resumption(results: Path, port: int) -> Callable[[], sameness.Comparison | None]:
    """A function that gives the same command again; what the check found, None the first time."""
    values = {"model": (f"openai:{NAME}@http://127.0.0.1:{port}/v1",), "tasks": ("mini-arith",), "limit": 8}
    values |= {"personas": ("core/pirate",), "max_tokens": 32, "output": results}
    config = make_config(None, values)
    found: list[sameness.Comparison] = []
    compare = sameness.compare

    def watched(first: sameness.Answers, second: sameness.Answers, now: sameness.Answers) -> sameness.Comparison:
        found.append(compare(first, second, now))
        return found[-1]

    def resume() -> sameness.Comparison | None:
        sameness.compare = watched
        found.clear()
        try:
            run(config, open_progress(quiet=True))
        except UsageError as error:
            if "fixed prompts" not in str(error):
                raise
        finally:
            sameness.compare = compare
        return found[0] if found else None

    return resume


def _refused(resume: Callable[[], sameness.Comparison | None], times: int) -> tuple[int, int, str, str]:
    """Number of resumptions, of those refused, and the range of changed and of usable prompts."""
    seen = []
    for _ in range(times):
        found = resume()
        assert found is not None, "the resumption was not checked"
        seen.append(found)
        print(len(found.changed), end=" ", file=sys.stderr, flush=True)
    changed = [len(found.changed) for found in seen]
    usable = [found.usable for found in seen]
    refused = sum(found.is_other for found in seen)
    return times, refused, f"{min(changed)} to {max(changed)}", f"{min(usable)} to {max(usable)}"


@contextlib.contextmanager
def _busy(url: str) -> Iterator[None]:
    """Keep the server busy with answers of varying length."""
    client = openai.OpenAI(base_url=url, api_key="EMPTY", max_retries=0)
    stop = threading.Event()

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            chat = [{"role": "user", "content": f"Tell me about the number {number} in {turn} ways."}]
            with contextlib.suppress(openai.APIError):
                client.chat.completions.create(model=NAME, messages=chat, max_tokens=8 + 16 * number, seed=turn)  # type: ignore[arg-type]

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(LOAD)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    sys.exit(main())
