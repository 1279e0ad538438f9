"""Layers, losses and their initialisation, with PyTorch's names and meaning."""

from tinygrad_ft.nn import functional, init, utils
from tinygrad_ft.nn.activation import Dropout, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from tinygrad_ft.nn.container import ModuleList, Sequential
from tinygrad_ft.nn.conv import Conv2d
from tinygrad_ft.nn.freeze import freeze, unfreeze
from tinygrad_ft.nn.linear import Flatten, Identity, Linear
from tinygrad_ft.nn.loss import CrossEntropyLoss, MSELoss
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.norm import BatchNorm1d, BatchNorm2d
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "freeze",
    "functional",
    "init",
    "unfreeze",
    "utils",
]
