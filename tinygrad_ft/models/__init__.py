"""Image classifiers with timm's and torchvision's names."""

from tinygrad_ft.models.cifar_resnet import (
    CifarResNet,
    resnet8,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
)
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.models.onnx_classifier import OnnxClassifier
from tinygrad_ft.models.onnx_graph import graph_of
from tinygrad_ft.models.registry import ModelInfo, create_model, list_models, model_info
from tinygrad_ft.models.resnet import ResNet, resnet18, resnet34, resnet50

__all__ = [
    "CifarResNet",
    "ImageClassifier",
    "ModelInfo",
    "OnnxClassifier",
    "ResNet",
    "create_model",
    "graph_of",
    "list_models",
    "model_info",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
]
