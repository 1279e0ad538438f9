"""Pretrain on one image set, fine-tune on another in four ways, and print the table.

    python examples/cifar_finetune.py PRETRAIN_DATA TASK_DATA [--epochs 6] [--labels 1.0]

PRETRAIN_DATA and TASK_DATA are anything `tinygrad-ft pretrain` reads: zips or folders of images,
CIFAR archives. docs/results.md shows the result on Tiny-ImageNet (32 pixels) and CIFAR-10. It only
runs the commands `pretrain` and `finetune`, so it can be stopped and started again: finished runs
are kept, interrupted ones go on.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path


def run(out: Path, *words: str) -> dict:
    """Run one command in folder `out` unless it has finished there; its results."""
    results = out / "results.json"
    if not results.exists():
        resume = ["--resume"] if (out / "args.yaml").exists() else []
        command = [sys.executable, "-m", "tinygrad_ft", *words, "--out", str(out), *resume]
        print("$", " ".join(["tinygrad-ft", *command[3:]]), flush=True)
        subprocess.run(command, check=True)
    return json.loads(results.read_text())


parser = argparse.ArgumentParser(description="Pretrain, then fine-tune in four ways.")
parser.add_argument("pretrain_data")
parser.add_argument("task_data")
parser.add_argument("--model", default="resnet20")
parser.add_argument("--pretrain-epochs", default="10")
parser.add_argument("--epochs", default="6", help="of fine-tuning and of training from scratch")
parser.add_argument("--labels", default="1.0", help="share of the task's labels")
parser.add_argument("--out", type=Path, default=Path("runs/cifar"))
options = parser.parse_args()

run(
    options.out / "pretrained",
    *("pretrain", options.pretrain_data, "--model", options.model),
    *("--epochs", options.pretrain_epochs, "--warmup-epochs", "1", "--lr", "0.2"),
)
weights = str(options.out / "pretrained" / "best.safetensors")
# the same labels, epochs and learning rate for all four
budget = ("--epochs", options.epochs, "--labels-fraction", options.labels)
budget += ("--lr", "0.1", "--warmup-epochs", "1")
tune = ("finetune", options.task_data, "--weights", weights, *budget)
WAYS = {
    "from scratch": ("pretrain", options.task_data, "--model", options.model, *budget),
    "head only": (*tune, "--freeze", "backbone", "--augment", "none"),
    "last stage + head": (*tune, "--freeze", "3"),
    "everything": tune,
}
rows = {}
for name, words in WAYS.items():
    folder = name.replace(" + ", "-and-").replace(" ", "-")
    rows[name] = run(options.out / f"{folder}-{options.labels}", *words)
print(f"\n| {options.labels} of the labels | accuracy | macro recall | macro F1 | seconds |")
print("|---|---|---|---|---|")
for name, r in rows.items():
    shares = " | ".join(f"{r[k]:.2%}" for k in ("accuracy", "macro_recall", "macro_f1"))
    print(f"| {name} | {shares} | {r['training_seconds']:.0f} |")
