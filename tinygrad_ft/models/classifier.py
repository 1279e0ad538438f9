"""ImageClassifier: what every model shares: a body of stages, a pooled head that can be
replaced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinygrad_ft import nn
from tinygrad_ft.nn import functional as F
from tinygrad_ft.tensor import Tensor


class ImageClassifier(nn.Module):
    """Images (N, in_chans, H, W) to logits (N, num_classes).

    A subclass sets `num_features`, `input_size` and its layers, the last a Linear under
    `classifier_name`, and writes `forward_features`.

    `config` rebuilds the architecture: `create_model(**model.config)`. It is set by the
    functions in `models` and by `create_model`; a model built from its class has none.
    """

    #: attribute that holds the last layer
    classifier_name: str
    #: attributes that make up the stem, and the stages after it
    stem_names: tuple[str, ...] = ("conv1", "bn1")
    stage_names: tuple[str, ...]

    #: channels that reach the classifier
    num_features: int
    num_classes: int
    #: (channels, height, width) the architecture was designed for; other sizes work as well
    input_size: tuple[int, int, int]

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] | None = None

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, (N, num_features, H', W')."""
        raise NotImplementedError(f"{type(self).__name__} has no forward_features(): define one")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature map to logits (N, num_classes); with `pre_logits` to pooled features
        (N, num_features)."""
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        if pre_logits:
            return x
        logits: Tensor = self.get_classifier()(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer: a Linear, or Identity for `num_classes` 0."""
        return self.get_submodule(self.classifier_name)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a new, freshly drawn one for `num_classes` classes; 0 classes
        make the model return pooled features. Optimizers must be made after this."""
        if num_classes < 0:
            raise ValueError(
                f"{type(self).__name__}: num_classes must not be negative, got {num_classes}"
            )
        head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        head.to(next(self.parameters()).dtype)  # a model in float64 stays one
        setattr(self, self.classifier_name, head.train(self.training))
        self.num_classes = num_classes
        if self.config is not None:
            self.config["num_classes"] = num_classes

    def stage_modules(self) -> list[tuple[str, nn.Module]]:
        """The model in order, stem to head: ("stem", ...), the stages by name, and the classifier.

        Together they hold every parameter once. The stem is a Sequential made for this list. To
        train only the last k stages:

            for _, stage in model.stage_modules()[:-k]:
                nn.freeze(stage)
        """
        stem = nn.Sequential(*(self.get_submodule(name) for name in self.stem_names))
        names = (*self.stage_names, self.classifier_name)
        return [("stem", stem), *((name, self.get_submodule(name)) for name in names)]


def init_weights(model: nn.Module, last_norms: Iterable[nn.BatchNorm2d]) -> None:
    """He et al. 2015 as torchvision has it: N(0, 2 / fan_out) for every convolution; weight 0 for
    the given batch norms. The others keep weight 1 and bias 0, Linear keeps PyTorch's default."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for norm in last_norms:
        if norm.weight is not None:
            nn.init.zeros_(norm.weight)
