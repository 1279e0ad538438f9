"""Winograd's convolution unit by unit (winograd.py says when), with what may join it.

Small weights are transformed by each task for itself; a batch norm's passes over the source before
it, and over the result after it, may be done with each unit (joining.py).
"""

from functools import lru_cache
from typing import Any, NamedTuple

from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct import one_step_positions
from kernels.finish import NO_FINISH, Finish, FinishTable
from kernels.joining import Pass, Waiting, exchange, hold, waiting_for
from kernels.norm_plan import NOT_JOINED, normalize_in_units, statistics_in_units
from kernels.parallel import HERE, LaunchPlan, get_num_threads
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
                if self._way() is not None and exchange(waiting, self):
                    return
                self.first = None
            if hold(self):
                return
        way = self._way(finished=finish is not None)
        assert way is not None  # nothing has to join
        tables = [] if finish is None else [FinishTable(finish, self.result.shape[1])]
        way.plan.launch(*self._values(way, [t.numbers for t in tables]), keep=tables)

    def go(self) -> None:
        self._go()

    def go_with(self, kind: str, after: Pass) -> bool:
        return kind == "statistics" and self._go(after)

    def _go(self, after: Pass | None = None) -> bool:
        way = self._way(after)
        if way is not None:
            way.plan.go(*self._values(way, [], after))
        return way is not None

    def _way(self, after: Pass | None = None, finished: bool = False) -> "_Way | None":
        passes = (None if p is None else p.facts for p in (self.first, after))
        return _way(*self.facts, get_num_threads(), *passes, finished)

    def _values(
        self, way: "_Way", finish: list[Array], after: Pass | None = None
    ) -> list[int | Array]:
        work = buffers.scratch(way.work_bytes)
        values: list[int | Array] = [self.source, self.result, *finish, work, self.weight]
        if self.first is not None:
            values += self.first.values(work + way.before_at)
        if after is not None:
            values += after.values(work + way.after_at)
        return values


class _Way(NamedTuple):
    """How it is done. To be given: source, result, the table of what follows if it is to be
    finished, working memory, U or weights; then what the passes before and after it want, whose
    working memory begins at before_at and after_at."""

    plan: LaunchPlan
    work_bytes: int
    before_at: int
    after_at: int


@lru_cache(maxsize=512)
def _way(
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
) -> _Way | None:
    """The way, with the passes (their facts) before and after it; None if these cannot join."""
    inner, outer = shape[1], result_shape[1]
    size = (result_shape[2], result_shape[3])
    plan = tile_plan(shape[0], inner, outer, size, padding, wanted_tiles(inner, outer), threads)
    tasks = min(threads, plan.count)
    first = NOT_JOINED if before is None else normalize_in_units(before, plan, tasks)
    last = NOT_JOINED if after is None else statistics_in_units(after, plan, tasks)
    if first is None or last is None:
        return None
    m_panel = plan.unit_tiles * 64
    step = buffers.spread(m_panel * max(panels(inner), panels(outer)))
    stage_bytes = plan.images * plan.stage_image
    # Behind V and M: a tile that is cut off (1 KiB), the two tables of tiles, perhaps U.
    u_at = stage_bytes + 37 * step + 1024 + 64 + buffers.spread(16 * plan.unit_tiles)
    u_step = u_distance(inner, outer)
    own_bytes = 36 * u_step + OWN_SCRATCH if own else 0
    task_bytes = buffers.spread(u_at + own_bytes)
    finish = HERE if finished else NO_FINISH
    ints = [
        *unit_ints(HERE, shape, strides, plan),
        image_ints(HERE, result_shape, result_strides, finish, accumulate),
        *(HERE, task_bytes, stage_bytes, step, m_panel, plan.unit_tiles, u_step, u_at),
        *([weight_ints(own[0], inner, outer, own[1]), 1] if own else [HERE, 0]),
        *(*first.ints, *last.ints),
    ]
    numbers = (before[1] if before else 0.0, after[1] if after else 0.0)
    before_at = threads * task_bytes
    after_at = before_at + -(-first.work_bytes // 64) * 64
    return _Way(
        LaunchPlan(fused_forward, ints, numbers, tasks),
        after_at + last.work_bytes,
        before_at,
        after_at,
    )
