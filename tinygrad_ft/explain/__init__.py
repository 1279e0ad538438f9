"""`explain`: a real computation, forward and backward, one op at a time, as a page to step through.

explain(loss, "explain.html")                     what the graph of `loss` still knows
explain(lambda: criterion(model(x), y))           everything: the ops are recorded as they run

with recording():                                 the same for code that computes the loss itself
    loss = criterion(model(x), y)
    explain(loss)

`tinygrad-ft explain` does it for built-in examples and for scripts.
"""

from tinygrad_ft.explain.api import explain
from tinygrad_ft.explain.recording import Recording, recording

__all__ = ["Recording", "explain", "recording"]
