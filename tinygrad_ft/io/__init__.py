"""Files: weights in, checkpoints and run folders in and out. Works on arrays, knows no tensors."""

from tinygrad_ft.io.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_ft.io.errors import (
    CheckpointError,
    FileError,
    RunFolderError,
    WeightsError,
    WriteError,
)
from tinygrad_ft.io.files import atomic_write
from tinygrad_ft.io.fingerprint import fingerprint_file, fingerprint_state, short
from tinygrad_ft.io.matching import MatchReport, match_weights
from tinygrad_ft.io.onnx_files import load_onnx, save_onnx
from tinygrad_ft.io.onnx_reader import OnnxNetwork
from tinygrad_ft.io.runfolder import RUN_FILES, RunFolder, check_run_folder
from tinygrad_ft.io.state import flatten_state, unflatten_state
from tinygrad_ft.io.weights import is_onnx, load_metadata, load_weights

__all__ = [
    "RUN_FILES",
    "CheckpointError",
    "FileError",
    "MatchReport",
    "OnnxNetwork",
    "RunFolder",
    "RunFolderError",
    "WeightsError",
    "WriteError",
    "atomic_write",
    "check_run_folder",
    "fingerprint_file",
    "fingerprint_state",
    "flatten_state",
    "is_onnx",
    "load_checkpoint",
    "load_metadata",
    "load_onnx",
    "load_weights",
    "match_weights",
    "save_checkpoint",
    "save_onnx",
    "short",
    "unflatten_state",
]
