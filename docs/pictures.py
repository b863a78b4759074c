"""Draw the pictures of README and docs into docs/pictures/ (needs matplotlib, which the extra ``dev`` installs)::

python docs/pictures.py                             # the picture of docs/first-table.md; no data are needed
python docs/pictures.py results/demo/transformers   # also that of README.md, from what `make demo` measured
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from personaeval import load
from personaeval.metrics.sums import pss

mpl.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).resolve().parent / "pictures"
PERSONAS = ("professor", "pirate")
EXAMPLES: Mapping[str, Sequence[Sequence[int]]] = {
    "Model A": ((1, 1), (1, 1), (0, 0)),
    "Model B": ((1, 0), (1, 1), (0, 1)),
}
"""Right (1) and wrong (0) answers of docs/first-table.md: a row per item, a column per persona."""

RIGHT, WRONG, BASE, CANDIDATE, GREY = "#2a6fbb", "#eeeeee", "#2a6fbb", "#d1622b", "#777777"
STYLE = {"font.size": 10, "svg.hashsalt": "personaeval", "axes.spines.top": False, "axes.spines.right": False}


def main() -> None:
    """Draw what can be drawn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("results", nargs="?", type=Path, help="results folder of the demo")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the pictures")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    draw_examples(given.output / "first-table.svg")
    if given.results is not None:
        draw_demo(given.results, given.output / "demo.svg")


def draw_examples(path: Path) -> None:
    """Two models of equal accuracy: one solves the same items under both personas, the other does not."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(EXAMPLES), figsize=(7.2, 3.0))
        for axes, (name, answers) in zip(panels, EXAMPLES.items(), strict=True):
            right = np.array(answers, dtype=float)
            for item, row in enumerate(right):
                for persona, value in enumerate(row):
                    axes.add_patch(plt.Rectangle((persona, item), 0.94, 0.94, color=RIGHT if value else WRONG))
                    colour = "white" if value else GREY
                    mark = "✓" if value else "✗"
                    axes.text(persona + 0.47, item + 0.47, mark, ha="center", va="center", color=colour, size=15)
            axes.set(xlim=(0, right.shape[1]), ylim=(len(right), 0), aspect="equal")
            axes.set_xticks(np.arange(right.shape[1]) + 0.47, PERSONAS)
            axes.set_yticks(np.arange(len(right)) + 0.47, [f"item {number + 1}" for number in range(len(right))])
            axes.tick_params(length=0)
            for spine in axes.spines.values():
                spine.set_visible(False)
            accuracy, stability = right.mean(), pss(right)
            assert stability is not None, "something is solved"
            kappa = (stability - accuracy) / (1 - accuracy)
            axes.set_title(f"{name}\naccuracy {accuracy:.2f}   PSS {stability:.2g}   κ {kappa:.2g}".replace("-", "−"))
        _save(figure, path)


def draw_demo(results: Path, path: Path) -> None:
    """Accuracy under each persona of the demo's two checkpoints, with 95 % intervals."""
    metrics = load(results).metrics("mini-arith")
    accuracy = metrics[(metrics.metric == "accuracy") & (metrics.level == "persona")]
    base, candidate = dict.fromkeys(accuracy.checkpoint)
    names = list(accuracy[accuracy.checkpoint == base].sort_values("value").persona)
    names = ["none", *(name for name in names if name != "none")]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 4.6))
        for checkpoint, colour, offset in ((base, BASE, -0.16), (candidate, CANDIDATE, 0.16)):
            own = accuracy[accuracy.checkpoint == checkpoint].set_index("persona").loc[names]
            values, places = own.value.to_numpy(float), np.arange(len(names)) + offset
            ends = [values - own.low.to_numpy(float), own.high.to_numpy(float) - values]
            label = f"{checkpoint}: {_headline(metrics, checkpoint)}"
            axes.errorbar(values, places, xerr=ends, fmt="o", color=colour, ms=5, elinewidth=1.2, label=label)
        axes.axhline(0.5, color=GREY, lw=0.6)
        axes.set_yticks(range(len(names)), ["no persona", *names[1:]])
        axes.set(xlim=(0, 1), xlabel="accuracy, with 95 % interval", ylim=(-0.6, len(names) - 0.4))
        axes.legend(loc="lower center", bbox_to_anchor=(0.42, 1.0), frameon=False)
        _save(figure, path)


def _headline(metrics: Any, checkpoint: str) -> str:
    """Accuracy, PSS and κ of a checkpoint, as the leaderboard shows them."""
    own = metrics[(metrics.checkpoint == checkpoint) & (metrics.level == "task")].set_index("metric").value
    shown = {"accuracy": own["accuracy"], "PSS": own["pss"], "κ": own["kappa"]}
    return "   ".join(f"{name} {value:.3f}" for name, value in shown.items())


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


if __name__ == "__main__":
    main()
