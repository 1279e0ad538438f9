"""How many labels pretraining saves: accuracy over the number of labels a class, three ways.

    python examples/label_efficiency.py TASK_DATA WEIGHTS [--labels 10 50 500 5000] [--once 5000]

From scratch (the architecture of WEIGHTS, which `tinygrad-ft pretrain` made), head only,
everything; each number of labels and each seed is one run of `tinygrad-ft` on the same images for
all ways. All labels train and the last epoch counts (`--val-fraction 0`); the test images are used
once a run. `--once` names numbers of labels for which one seed must do. It can be stopped and
started again: finished runs are kept. Prints the table and draws OUT/label-efficiency.png;
docs/results.md shows both.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

from tinygrad_ft.train.model_file import read_card

EPOCHS = {10: 120, 50: 32, 500: 8, 5000: 3}  # 480 steps of 32 images at least
RATE = "0.03"  # the best of those tried on validation images, for each of the three ways


def accuracy(out: Path, *words: str) -> float:
    """Test accuracy of the run in folder `out`, which is finished first if need be."""
    results = out / "results.json"
    if not results.exists():
        resume = ["--resume"] if (out / "args.yaml").exists() else []
        command = [sys.executable, "-m", "tinygrad_ft", *words, "--out", str(out), *resume]
        print("$", " ".join(["tinygrad-ft", *command[3:]]), flush=True)
        subprocess.run(command, check=True)
    return json.loads(results.read_text())["accuracy"]


def draw(found: dict[str, list[list[float]]], labels: list[int], path: Path) -> None:
    """Accuracy over labels a class: means, and bars from the lowest to the highest seed."""
    figure, axes = pyplot.subplots(figsize=(6.4, 4), dpi=110)
    for name, cells in found.items():
        middle = [100 * mean(cell) for cell in cells]
        below = [m - 100 * min(cell) for m, cell in zip(middle, cells, strict=True)]
        above = [100 * max(cell) - m for m, cell in zip(middle, cells, strict=True)]
        axes.errorbar(labels, middle, [below, above], marker="o", capsize=4, label=name)
    axes.set_xscale("log")
    axes.set_xticks(labels, [f"{n:,}" for n in labels])
    axes.minorticks_off()
    axes.set_xlabel("labels a class")
    axes.set_ylabel("test accuracy in percent")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, bbox_inches="tight")


parser = argparse.ArgumentParser(description="Accuracy over labels a class, three ways.")
parser.add_argument("task_data")
parser.add_argument("weights")
parser.add_argument("--labels", type=int, nargs="+", default=[10, 50, 500], choices=EPOCHS)
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
parser.add_argument("--once", type=int, nargs="*", default=[], help="labels with one seed only")
parser.add_argument("--out", type=Path, default=Path("runs/labels"))
options = parser.parse_args()

card = read_card(options.weights)
if card is None:
    sys.exit(f"{options.weights} does not say of which architecture it is: use a file of a run")
kind = card.architecture
scratch = ["pretrain", options.task_data, "--model", kind["name"]]
scratch += ["--width", str(kind["width"])] if "width" in kind else []
scratch += ["--small-input"] if kind.get("small_input") else []
tune = ("finetune", options.task_data, "--weights", options.weights)
WAYS = {
    "from scratch": tuple(scratch),
    "head only": (*tune, "--freeze", "backbone", "--augment", "none"),
    "everything": tune,
}
found: dict[str, list[list[float]]] = {name: [] for name in WAYS}
for labels in options.labels:
    epochs = EPOCHS[labels]
    budget = ("--epochs", str(epochs), "--batch-size", "32", "--warmup-epochs", f"{epochs / 10:g}")
    budget += ("--labels-per-class", str(labels), "--val-fraction", "0", "--quiet")
    for name, words in WAYS.items():
        cell = []
        for seed in options.seeds[: 1 if labels in options.once else None]:
            folder = options.out / f"{name.replace(' ', '-')}-{labels}-{seed}"
            own = ("--lr", RATE, "--seed", str(seed))
            cell.append(accuracy(folder, *words, *budget, *own))
        found[name].append(cell)
print("\n| labels a class | " + " | ".join(WAYS) + " |\n" + "|---" * (len(WAYS) + 1) + "|")
for row, labels in enumerate(options.labels):
    cells = [found[name][row] for name in WAYS]
    spread = (f"{mean(c):.1%}" + (f" ± {stdev(c):.1%}" if len(c) > 1 else "") for c in cells)
    print(f"| {labels:,} | " + " | ".join(spread) + " |")
draw(found, options.labels, options.out / "label-efficiency.png")
