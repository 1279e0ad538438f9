"""The command line with a checkpoint after every step, for the tests that kill it."""

import sys

from tinygrad_ft.cli.main import main
from tinygrad_ft.train import trainer

trainer.SAVE_SECONDS = -1.0
main(sys.argv[1:])
