"""The command `tinygrad-ft`. One file a sub-command; `main.py` puts them together."""
