"""A run in a process of its own; prints the bytes that were expected and those that it took."""

import ast
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

import kernels
from tinygrad_ft import manual_seed
from tinygrad_ft.data import ArrayDataset
from tinygrad_ft.io import RunFolder
from tinygrad_ft.models import create_model
from tinygrad_ft.train import ModelCard, Preprocessing, Settings, Trainer
from tinygrad_ft.train.progress import Reporter

COUNT = 256
images = np.random.default_rng(0).integers(0, 255, (COUNT, 32, 32, 3), dtype=np.uint8)
data = ArrayDataset(images, np.arange(COUNT) % 3)
architecture = {"name": "resnet8", "width": 16, "num_classes": 3}
card = ModelCard(architecture, data.classes, Preprocessing.measured(data))
manual_seed(0)
settings = Settings(epochs=1, **ast.literal_eval(sys.argv[1]))
with tempfile.TemporaryDirectory() as folder, RunFolder(Path(folder) / "run") as run:
    model = create_model(**architecture)
    trainer = Trainer(model, card, data, data, settings, run, Reporter(quiet=True))
    trainer.memory_need()  # a compiler would take memory too
    kernels.trim()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    need = trainer.memory_need()
    trainer.fit()
# not getrusage: its peak counts what the parent held when it started this process
status = Path("/proc/self/status").read_text().split()
peak = int(status[status.index("VmHWM:") + 1]) * 1024
print(need.total, peak - before)
