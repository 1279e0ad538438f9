"""Optimizers and learning-rate schedules, with PyTorch's names, formulas and defaults."""

from tinygrad_ft.optim import lr_scheduler
from tinygrad_ft.optim.adam import Adam, AdamW
from tinygrad_ft.optim.optimizer import Optimizer
from tinygrad_ft.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
