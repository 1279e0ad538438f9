"""The suites, one file each; see discovery.py."""
