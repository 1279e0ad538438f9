"""Reading images, and serving them in batches.

`open_dataset(path, split)` opens whatever lies at a path; the readers below are for one kind each.
"""

from tinygrad_ft.data.cache import cache_dir
from tinygrad_ft.data.cifar import CIFAR10, CIFAR100
from tinygrad_ft.data.datasets import ArrayDataset, Dataset, Subset, stratified_split
from tinygrad_ft.data.decode import decode_image
from tinygrad_ft.data.detect import dataset_splits, open_dataset
from tinygrad_ft.data.embedded import GLYPH_CLASSES, digits, glyphs
from tinygrad_ft.data.errors import DataError
from tinygrad_ft.data.fitted import FittedImages
from tinygrad_ft.data.folder import ImageFolder
from tinygrad_ft.data.idx import EMNIST, KMNIST, MNIST, FashionMNIST, MNISTFamily
from tinygrad_ft.data.loader import DataLoader
from tinygrad_ft.data.mixing import Mix
from tinygrad_ft.data.randomness import Draw, sample_uniform
from tinygrad_ft.data.sampling import BalancedSampler, RandomSampler, SequentialSampler
from tinygrad_ft.data.transforms import (
    CenterCrop,
    Compose,
    Cutout,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToFloat,
)

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "EMNIST",
    "GLYPH_CLASSES",
    "KMNIST",
    "MNIST",
    "ArrayDataset",
    "BalancedSampler",
    "CenterCrop",
    "Compose",
    "Cutout",
    "DataError",
    "DataLoader",
    "Dataset",
    "Draw",
    "FashionMNIST",
    "FittedImages",
    "ImageFolder",
    "MNISTFamily",
    "Mix",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomSampler",
    "Resize",
    "SequentialSampler",
    "Subset",
    "ToFloat",
    "cache_dir",
    "dataset_splits",
    "decode_image",
    "digits",
    "glyphs",
    "open_dataset",
    "sample_uniform",
    "stratified_split",
]
