"""`python -m tinygrad_ft`: the same as the command `tinygrad-ft`."""

from tinygrad_ft.cli.main import main

main()
