"""Learning-rate schedules. Call `optimizer.step()` first, then `scheduler.step()`: once an
epoch or once a batch, as the schedule's numbers are meant."""

from tinygrad_ft.optim.lr_scheduler.base import LRScheduler
from tinygrad_ft.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineWarmupLR
from tinygrad_ft.optim.lr_scheduler.factor import LambdaLR, LinearLR, MultiStepLR, StepLR
from tinygrad_ft.optim.lr_scheduler.one_cycle import OneCycleLR
from tinygrad_ft.optim.lr_scheduler.sequential import SequentialLR

__all__ = [
    "CosineAnnealingLR",
    "CosineWarmupLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "SequentialLR",
    "StepLR",
]
