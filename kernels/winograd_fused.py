"""Winograd's convolution unit by unit (winograd.py says when), with what may join it.

Small weights are transformed by each task for itself; a batch norm's passes over the source before
it, and over the result after it, may be done with each unit (joining.py).
"""

from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct import one_step_positions
from kernels.finish import NO_FINISH, Finish, FinishTable
from kernels.joining import Pass, Waiting, exchange, hold, waiting_for
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.norm_plan import NOT_JOINED, normalize_in_units, statistics_in_units
from kernels.parallel import get_num_threads
from kernels.winograd_loops import fused_forward
from kernels.winograd_plan import image_ints, panels, tile_plan, unit_ints, wanted_tiles
from kernels.winograd_weights import OWN_SCRATCH, u_distance, weight_ints

Array = NDArray[Any]


class Convolution(Waiting):
    """A convolution, which a batch norm before it and one after it may join.

    facts    shapes and strides of source and result, and the padding
    weight   U, or the weights, if each task is to transform them: `turned` or not
    """

    def __init__(
        self,
        source: Array,
        weight: Array,
        result: Array,
        padding: tuple[int, int],
        own: bool,
        turned: bool,
        accumulate: bool,
    ) -> None:
        self.source, self.result = source, result
        self.weight = one_step_positions(weight) if own else weight
        self.facts = (
            *(source.shape, source.strides, result.shape, result.strides, padding, accumulate),
            (self.weight.strides, turned) if own else None,
        )
        self.first: Pass | None = None

    def launch(self, finish: Finish | None = None) -> None:
        """Now, and with what follows; without that, held back if this thread runs ahead."""
        if finish is None:
            waiting = waiting_for(self.source)
            self.first = None if waiting is None else waiting.before()
            if waiting is not None and self.first is not None:
                if self._plan() is not None and exchange(waiting, self):
                    return
                self.first = None
            if hold(self):
                return
        plan = self._plan(finished=finish is not None)
        assert plan is not None  # nothing has to join
        tables = [] if finish is None else [FinishTable(finish, self.result.shape[1])]
        plan.launch(*self._arrays([t.numbers for t in tables]), keep=tables)

    def go_with(self, kind: str, after: Pass) -> bool:
        return kind == "statistics" and self.publish(after)

    def publish(self, after: Pass | None = None) -> bool:
        plan = self._plan(after)
        if plan is not None:
            plan.go(*self._arrays([], after))
        return plan is not None

    def _plan(self, after: Pass | None = None, finished: bool = False) -> LaunchPlan | None:
        before = None if self.first is None else self.first.facts
        last = None if after is None else after.facts
        return _plan(*self.facts, get_num_threads(), before, last, finished)

    def _arrays(self, finish: list[Array], after: Pass | None = None) -> list[Array]:
        arrays = [self.source, self.result, *finish, self.weight]
        if self.first is not None:
            arrays += self.first.arrays
        if after is not None:
            arrays += after.arrays
        return arrays


@lru_cache(maxsize=512)
def _plan(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    result_shape: tuple[int, ...],
    result_strides: tuple[int, ...],
    padding: tuple[int, int],
    accumulate: bool,
    own: tuple[tuple[int, ...], bool] | None,
    threads: int,
    before: tuple[Any, ...] | None,
    after: tuple[Any, ...] | None,
    finished: bool,
) -> LaunchPlan | None:
    """How it is done, with the passes (their facts) before and after it; None if these cannot join.
    To be given: source, result, the table of what follows if it is to be finished, U or weights;
    then what the passes before and after it want."""
    inner, outer = shape[1], result_shape[1]
    size = (result_shape[2], result_shape[3])
    plan = tile_plan(shape[0], inner, outer, size, padding, wanted_tiles(inner, outer), threads)
    tasks = min(threads, plan.count)
    m_panel = plan.unit_tiles * 64
    step = buffers.spread(m_panel * max(panels(inner), panels(outer)))
    stage_bytes = plan.images * plan.stage_image
    # Behind V and M: a tile that is cut off (1 KiB), the two tables of tiles, perhaps U.
    u_at = stage_bytes + 37 * step + 1024 + 64 + buffers.spread(16 * plan.unit_tiles)
    u_step = u_distance(inner, outer)
    own_bytes = 36 * u_step + OWN_SCRATCH if own else 0
    task_bytes = buffers.spread(u_at + own_bytes)
    work_bytes = threads * task_bytes
    first = last = NOT_JOINED
    if before is not None:
        if (joined := normalize_in_units(before, plan, tasks, work_bytes)) is None:
            return None
        first, work_bytes = joined, work_bytes + -(-joined.work_bytes // 64) * 64
    if after is not None:
        if (joined := statistics_in_units(after, plan, tasks, work_bytes)) is None:
            return None
        last, work_bytes = joined, work_bytes + joined.work_bytes
    finish = HERE if finished else NO_FINISH
    ints = [
        *unit_ints(HERE, shape, strides, plan),
        image_ints(HERE, result_shape, result_strides, finish, accumulate),
        *(Work(), task_bytes, stage_bytes, step, m_panel, plan.unit_tiles, u_step, u_at),
        *([weight_ints(own[0], inner, outer, own[1]), 1] if own else [HERE, 0]),
        *(*first.ints, *last.ints),
    ]
    numbers = (before[1] if before else 0.0, after[1] if after else 0.0)
    return LaunchPlan(fused_forward, ints, numbers, tasks, work_bytes=work_bytes)
