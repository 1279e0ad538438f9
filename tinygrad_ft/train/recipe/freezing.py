"""Which stages of a model stay as they are, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_ft import nn
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.nn.norm import BatchNorm
from tinygrad_ft.train.settings import Settings, SettingsError


def frozen_stages(model: ImageClassifier, freeze: str) -> int:
    """How many stages, counted from the image's side, the setting `freeze` names.

    SettingsError for more stages than there are before the last layer.
    """
    before_head = [name for name, _ in model.stage_modules()[:-1]]
    if freeze == "none":
        return 0
    if freeze == "backbone":
        return len(before_head)
    if int(freeze) > len(before_head):
        raise SettingsError(
            f"--freeze {freeze}: the model has {len(before_head)} stages before its last layer "
            f"({', '.join(before_head)})"
        )
    return int(freeze)


@dataclass(frozen=True)
class FreezePlan:
    """How many stages are frozen in which epoch (epochs count from 0).

    backbone         stages before the last layer
    base             what `--freeze` names
    head_epochs      so many epochs the whole backbone, then `base`
    unfreeze_every   one stage less after each so many epochs
    freeze_norms     batch norms that learn keep their statistics as well
    """

    backbone: int
    base: int
    head_epochs: int
    unfreeze_every: int | None
    freeze_norms: bool

    @classmethod
    def of(cls, model: ImageClassifier, settings: Settings) -> FreezePlan:
        """SettingsError if the settings freeze more stages than there are."""
        return cls(
            backbone=len(model.stage_modules()) - 1,
            base=frozen_stages(model, settings.freeze),
            head_epochs=settings.head_epochs,
            unfreeze_every=settings.unfreeze_every,
            freeze_norms=settings.freeze_norms,
        )

    def frozen(self, epoch: int) -> int:
        """The number of stages frozen in `epoch`."""
        if epoch < self.head_epochs:
            return self.backbone
        if self.unfreeze_every is not None:
            return max(0, self.base - epoch // self.unfreeze_every)
        return self.base

    def changes(self, epochs: int) -> list[int]:
        """The epochs at whose beginning stages are unfrozen."""
        return [e for e in range(1, epochs) if self.frozen(e) != self.frozen(e - 1)]

    def describe(self, model: ImageClassifier, epochs: int) -> str:
        """The frozen stages of each stretch of epochs, in words; "" if nothing is ever frozen."""
        names = [name for name, _ in model.stage_modules()]
        starts = [0, *self.changes(epochs)]
        texts = [", ".join(names[: self.frozen(start)]) or "nothing" for start in starts]
        if len(starts) == 1:
            return "" if texts == ["nothing"] else texts[0]
        later = (f"{t} from epoch {s + 1}" for s, t in zip(starts[1:], texts[1:], strict=True))
        return "; ".join([texts[0], *later])

    def apply(self, model: ImageClassifier, epoch: int) -> None:
        """Freeze and unfreeze stages as `epoch` has them.

        Batch norms of a frozen stage normalise by their running statistics and keep them; with its
        stage a batch norm is unfrozen, unless `freeze_norms`. Stages outside the plan, and what the
        caller has frozen in them, are left alone.
        """
        stages = [stage for _, stage in model.stage_modules()]
        for number, stage in enumerate(stages[: self.frozen(0)]):
            if number < self.frozen(epoch):
                nn.freeze(stage)
            else:
                nn.unfreeze(stage)
        if self.freeze_norms:
            for module in model.modules():
                if isinstance(module, BatchNorm):
                    module.frozen = True


def untouched_stages(model: ImageClassifier) -> int:
    """How many stages in a row, from the image's side, cannot change: no parameter of them gets a
    gradient and no batch norm learns statistics."""
    count = 0
    for _, stage in model.stage_modules()[:-1]:
        norms = (module for module in stage.modules() if isinstance(module, BatchNorm))
        learns = any(p.requires_grad for p in stage.parameters())
        if learns or not all(norm.frozen for norm in norms):
            break
        count += 1
    return count
