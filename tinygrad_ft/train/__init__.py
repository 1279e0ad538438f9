"""Training: the run behind `tinygrad-ft pretrain` and `finetune`, evaluation, the report."""

from tinygrad_ft.train.evaluation import Evaluation, predict_scores
from tinygrad_ft.train.finetuning import apply_freeze, load_pretrained
from tinygrad_ft.train.model_file import ModelCard, load_model, save_model
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.train.settings import Settings, SettingsError
from tinygrad_ft.train.trainer import Interrupted, NonFiniteLoss, Trainer

__all__ = [
    "Evaluation",
    "Interrupted",
    "ModelCard",
    "NonFiniteLoss",
    "Preprocessing",
    "Settings",
    "SettingsError",
    "Trainer",
    "apply_freeze",
    "load_model",
    "load_pretrained",
    "predict_scores",
    "save_model",
]
