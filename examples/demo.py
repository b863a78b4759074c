"""What personaeval does, on a model small enough for any machine::

    python examples/demo.py [--engine transformers|vllm]

Two checkpoints stand in for a training run: SmolLM2-135M-Instruct as it is, and the same after a "training step that
went wrong" (seeded Gaussian noise on every weight). Both are asked small sums as nobody in particular and as sixteen
personas. Then both play two personas, and the small model judges them: that shows the machinery and measures nothing,
because this judge has failed its check. Last, `check` says of both what a
training pipeline would act on. Run it again and nothing is generated: the ledger has every answer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from checkpoints import base_checkpoint, damaged_checkpoint

from personaeval.judge.validation import FOLDER, controls_folder, describe_check
from personaeval.models.checkpoints import fingerprint
from personaeval.results.files import read_json

ROOT = Path(__file__).resolve().parent.parent
ITEMS = 40


def main() -> int:
    """Make the checkpoints, evaluate them, show the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    engine = parser.parse_args().engine
    os.chdir(ROOT)
    # PyTorch's threads wait for each other by spinning: on a machine that is busy otherwise, ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    checkpoints = Path("build", "checkpoints")
    results = Path("results", "demo", engine)
    print("Making two checkpoints: SmolLM2-135M-Instruct, and the same with noise on its weights.", flush=True)
    base = base_checkpoint(checkpoints)
    damaged = damaged_checkpoint(checkpoints, base)
    code = personaeval(
        ["run", "--model", f"{engine}:{base}", "--model", f"{engine}:{damaged}", "--tasks", "mini-arith"]
        + ["--personas", "core", "--limit", str(ITEMS), "--max-tokens", "48", "--output", str(results)]
    )
    if code != 0:
        return code
    print("\nThe same, row by persona:\n", flush=True)
    code = personaeval(["leaderboard", str(results), "--personas"])
    print("\nWhat the second checkpoint lost against the first:\n", flush=True)
    code = code or personaeval(["leaderboard", str(results), "--baseline", base.name])
    print(
        "\nAccuracy: the share of right answers over all personas. PSS: of the answers that are right under one"
        "\npersona, the share that is right under another as well; 1 means that no persona ever costs a right answer."
        "\nκ is the same beyond what accuracy alone gives. docs/metrics.md has every formula."
        "\nThe figures differ a little from machine to machine: processors round differently, and a token flips."
        "\n\nFor a checkpoint of your own:\n"
        "\n  personaeval run --model PATH_OR_HUB_ID --tasks math500,gsm8k --personas core -o results/"
        "\n  personaeval leaderboard results/"
    )
    code = code or play(engine, base, damaged, results)
    return code or gate(base, damaged, results)


def play(engine: str, base: Path, damaged: Path, results: Path) -> int:
    """Have both checkpoints play personas and the first of them judge; end in the trade-off."""
    print(
        "\nFidelity: how well they play a persona, with the small model as judge. THIS SHOWS THE MACHINERY AND IS NO"
        "\nMEASUREMENT: so small a model cannot judge, which its check (shipped, not run now) says in figures:\n"
    )
    record = controls_folder() / FOLDER / f"{fingerprint(base)}.json"
    print(describe_check(read_json(record)) if record.is_file() else "(no record of this very build of it)")
    print(flush=True)
    code = personaeval(
        ["run", "--model", f"{engine}:{base}", "--model", f"{engine}:{damaged}", "--tasks", "personagym"]
        + ["--questions-per-dimension", "1", "--limit-personas", "2", "--max-tokens", "64"]
        + ["--judge", f"{engine}:{base}", "--judge-max-tokens", "256", "--output", str(results)]
    )
    print("\nStability and fidelity side by side (the latter, once more, by a judge that cannot judge):\n", flush=True)
    return code or personaeval(["leaderboard", str(results), "--trade-off", "--baseline", base.name])


def gate(base: Path, damaged: Path, results: Path) -> int:
    """Let the starting policy say of both checkpoints what a training pipeline would do."""
    print("\nWhat a training pipeline acts on: 1 is REGRESSION, 0 is PASS.\n", flush=True)
    policy = Path("build", "gate.yaml")
    policy.unlink(missing_ok=True)
    code = personaeval(["check", "--init", "--policy", str(policy)])
    for candidate, expected in ((damaged, 1), (base, 0)):
        compared = [str(results / base.name), str(results / candidate.name)]
        found = personaeval(["check", *compared, "--policy", str(policy)])
        print(f"exit code {found}\n", flush=True)
        code = code or int(found != expected)
    return code


def personaeval(arguments: list[str]) -> int:
    """Run the command line, showing what is run."""
    print(f"$ personaeval {' '.join(arguments)}\n", flush=True)
    return subprocess.run([sys.executable, "-m", "personaeval", *arguments], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
