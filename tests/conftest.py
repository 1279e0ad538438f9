"""Settings for all tests: hypothesis draws the same examples every time and has no deadline."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
