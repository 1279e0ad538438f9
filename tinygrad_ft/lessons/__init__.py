"""Ten lessons on backpropagation with exercises that check themselves: `tinygrad-ft lesson`.

The pages are in docs/learn. Here is one file a lesson with its exercise: the task, a file to start
from, the right answer, what it is held to, and the mistakes that are often made, with hints.
"""

from tinygrad_ft.lessons.batch_norm import LESSON as _batch_norm
from tinygrad_ft.lessons.broadcasting import LESSON as _broadcasting
from tinygrad_ft.lessons.convolution import LESSON as _convolution
from tinygrad_ft.lessons.derivatives import LESSON as _derivatives
from tinygrad_ft.lessons.fast_kernel import LESSON as _fast_kernel
from tinygrad_ft.lessons.fine_tuning import LESSON as _fine_tuning
from tinygrad_ft.lessons.layer import LESSON as _layer
from tinygrad_ft.lessons.lesson import Lesson
from tinygrad_ft.lessons.matrix_product import LESSON as _matrix_product
from tinygrad_ft.lessons.remembering import LESSON as _remembering
from tinygrad_ft.lessons.residual import LESSON as _residual

LESSONS: tuple[Lesson, ...] = (
    _derivatives,
    _remembering,
    _layer,
    _broadcasting,
    _matrix_product,
    _convolution,
    _batch_norm,
    _residual,
    _fine_tuning,
    _fast_kernel,
)
"""In order; lesson N is LESSONS[N - 1]."""

__all__ = ["LESSONS", "Lesson"]
