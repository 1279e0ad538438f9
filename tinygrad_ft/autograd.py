"""The names of `torch.autograd`: `grad`, `backward`, `Function`, `gradcheck`, modes."""

from tinygrad_ft.anomaly import detect_anomaly, set_detect_anomaly
from tinygrad_ft.engine import backward, grad
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from tinygrad_ft.gradcheck import gradcheck

__all__ = [
    "Function",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "gradcheck",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
