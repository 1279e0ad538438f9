"""What a weights file is: from its own card, or from the options that stand in for one."""

from __future__ import annotations

from typing import Any

from tinygrad_ft.cli.options import architecture_options
from tinygrad_ft.io import is_onnx, load_onnx
from tinygrad_ft.models import model_info
from tinygrad_ft.train import ModelCard, Preprocessing, SettingsError
from tinygrad_ft.train.model_file import read_card

#: what stands in for a card
OPTIONS = ("model", "width", "small_input", "size", "preprocess", "mean", "std")


def describe_weights(path: str, options: dict[str, Any]) -> ModelCard:
    """The card of the file; for bare weights one made of --model, --preprocess and the rest, for
    an ONNX file of others one made of its network and --preprocess.

    SettingsError if options contradict the file, or if there is neither.
    """
    card = read_card(path)
    given = [name for name in OPTIONS if options[name]]
    if card is not None:
        if given and not (given == ["model"] and options["model"] == card.architecture["name"]):
            names = ", ".join("--" + name.replace("_", "-") for name in given)
            raise SettingsError(
                f"{path} says itself that it is {card.architecture['name']} for images of "
                f"{card.preprocessing.size} pixels: leave out {names}"
            )
        return card
    if is_onnx(path):
        return _describe_onnx(path, options)
    if options["model"] is None:
        raise SettingsError(
            f"{path} holds bare weights: say what they are with --model and with --preprocess (or "
            "--mean and --std)"
        )
    in_chans = len(options["mean"]) if options["mean"] else 3
    architecture = architecture_options(
        options["model"], options["width"], options["small_input"], in_chans
    )
    natural = 32 if options["small_input"] else model_info(options["model"]).input_size[1]
    return ModelCard(architecture, (), _preprocessing(path, options, options["size"] or natural))


def _describe_onnx(path: str, options: dict[str, Any]) -> ModelCard:
    """The card, still without classes, of an ONNX file that has none itself."""
    given = [name for name in ("model", "width", "small_input") if options[name]]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise SettingsError(f"{path} says itself which network it is: leave out {names}")
    network = load_onnx(path)
    channels, height, width = network.graph["input"]
    if height != width:
        raise SettingsError(f"{path} is for images of {width}x{height}: only square ones are read")
    size = options["size"] or height
    if size is None:
        raise SettingsError(f"{path} does not say how large images are: give --size")
    if height not in (None, size):
        raise SettingsError(f"{path} is for images of {height} pixels: leave out --size {size}")
    preprocessing = _preprocessing(path, options, size)
    if preprocessing.channels != channels:
        raise SettingsError(
            f"{path} is for images of {channels} channels: give {channels} numbers in --mean and "
            "--std"
        )
    architecture = {"name": "onnx", "graph": network.graph, "num_classes": network.num_classes}
    return ModelCard(architecture, (), preprocessing)


def _preprocessing(path: str, options: dict[str, Any], size: int) -> Preprocessing:
    if options["preprocess"]:
        if options["mean"] or options["std"]:
            raise SettingsError("--preprocess stands for --mean and --std: give one or the other")
        return Preprocessing.named(options["preprocess"], size)
    if not options["mean"] or not options["std"]:
        raise SettingsError(
            f"{path} does not say how images were normalised: give --preprocess imagenet (or "
            "another), or --mean and --std"
        )
    return Preprocessing(size, options["mean"], options["std"])
