"""3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): a quarter of the multiplications.

winograd_transforms.py has the formulas. Between the transforms the work is 36 independent matrix
products, one for each position xi of the 6x6 tiles:

    forward, input gradient  M[xi] (tiles x outputs) = V[xi] (tiles x inputs) * U[xi]
    weight gradient         dU[xi] (inputs x outputs) = V[xi]^T D[xi]   (over tiles)

An input gradient is the forward convolution of grad_out with the kernels turned by 180 degrees,
inputs and outputs exchanged, and padding 2 - p.

Three schedules, chosen by the number of channels and tiles:

fused      each task takes one unit of tiles after the other through all steps; V and M of a unit
           stay in its second-level cache, M[xi] in the place of V[xi - 1], which has been used.
           In the weight gradient each task sums its own dU; these
           are added in the order of the tasks.
by step    for many channels, whose U or dU would not fit a cache anyway: first all tiles are
           transformed, then the 36 products are shared out by position and output panel, then all
           tiles are transformed back. Each task reads only its part of U and owns its part of dU.
few tiles  many channels and few tiles: winograd_few.py.

Rounding: the transforms multiply by up to 8 and cancel, so errors are two to six times those of the
direct path: 1e-6 to 1e-5 of the result's root mean square on ResNet layers (README.md has the
table, tests/kernel/test_winograd.py derives and tests a bound). Values beyond 1e36 may overflow in
the transforms.

A NaN or infinity inside a tile makes all 16 results of the tile NaN (infinity minus infinity in the
transforms), where the direct path would spoil only the 9 pixels that read it, and keep infinities.
So nothing non-finite is hidden, but it spreads up to 3 pixels further. `set_winograd(False)` forces
the direct path.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import buffers, winograd_few
from kernels.finish import Finish, FinishTable, finish_result
from kernels.parallel import get_num_threads, launch
from kernels.prepared import Prepared
from kernels.winograd_fused import Convolution
from kernels.winograd_loops import fused_weight_gradient
from kernels.winograd_plan import image_table, panels, tile_plan, unit_ints, wanted_tiles
from kernels.winograd_step_loops import (
    all_gradients,
    all_inputs,
    all_outputs,
    all_products,
    all_weight_products,
)
from kernels.winograd_weights import (
    finish_weight_gradient,
    own_transforms,
    transformed,
    u_distance,
)

Array = NDArray[Any]
PANEL = 16

BY_STEP_FROM = 320
"""From this many channels on (geometric mean of inputs and outputs) the steps run one after the
other."""
WEIGHTS_BY_STEP_FROM = 192
"""The same for the weight gradient."""
BY_STEP_BYTES = 96 * 2**20
"""Limit of V and M of all tiles; more images are done in several rounds."""
BLOCK_BYTES = 192 * 1024
"""Rows of V that are multiplied with one panel of U after the other: they should stay in the
cache."""
BLOCK_TILES = 256
"""The same for the weight gradient: tiles that are summed before the next panel's turn."""

_enabled = True


def set_winograd(enabled: bool) -> None:
    """Allow (default) or forbid Winograd's algorithms for 3x3 convolutions of stride 1 and 2."""
    global _enabled
    _enabled = bool(enabled)


def winograd_enabled() -> bool:
    """Whether 3x3 convolutions of stride 1 and 2 may use Winograd's algorithms."""
    return _enabled


def suits(
    weight_shape: tuple[int, ...],
    result_shape: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> bool:
    """Whether this path serves a convolution, and is faster than the direct one."""
    if weight_shape[2:] != (3, 3) or groups != 1 or stride != (1, 1) or dilation != (1, 1):
        return False
    n, _, height, width = result_shape
    tiles = n * -(-height // 4) * -(-width // 4)
    covered = height * width / (16 * -(-height // 4) * -(-width // 4))
    channels = min(weight_shape[:2])
    # few tiles: measured with 128 to 512 channels, prepared weights or not
    return channels >= 8 and tiles >= (4 if channels >= 128 else 24) and covered >= 0.4


def _rounds(images: int, size: tuple[int, int], inputs: int, outputs: int) -> list[slice]:
    """Images that are done together step by step, so that memory stays below BY_STEP_BYTES."""
    tiles = -(-size[0] // 4) * -(-size[1] // 4)
    together = max(1, BY_STEP_BYTES // (36 * 64 * tiles * (panels(inputs) + panels(outputs))))
    return [slice(n, n + together) for n in range(0, images, together)]


# ----------------------------------------------------------------------- forward and input gradient


def forward(
    x: Array,
    weight: Array,
    result: Array,
    padding: tuple[int, int],
    finish: Finish | None = None,
    prepared: Prepared | None = None,
) -> None:
    """result (N,O,H,W, channels contiguous) = conv(x, weight), stride 1, finished (dense then)."""
    _convolve(x, weight, result, padding, False, finish, prepared, False)


def grad_input(
    grad_out: Array,
    weight: Array,
    result: Array,
    padding: tuple[int, int],
    accumulate: bool = False,
) -> None:
    """result (N,C,H,W, channels contiguous) = the gradient with respect to the convolution's input,
    or += with `accumulate`."""
    padding = (2 - padding[0], 2 - padding[1])
    _convolve(grad_out, weight, result, padding, True, None, None, accumulate)


def _convolve(
    source: Array,
    weight: Array,
    result: Array,
    padding: tuple[int, int],
    turned: bool,
    finish: Finish | None,
    prepared: Prepared | None,
    accumulate: bool,
) -> None:
    inner, outer = source.shape[1], result.shape[1]
    size = (result.shape[2], result.shape[3])
    if winograd_few.pays(source.shape[0], size, inner, outer):
        winograd_few.convolve(source, weight, result, padding, turned, accumulate)
        if finish is not None:
            finish_result(result, finish)
        return
    fused = inner * outer < BY_STEP_FROM**2
    own = fused and prepared is None and own_transforms(inner, outer)
    ready = None if prepared is None else prepared.get("winograd")
    if ready is None:
        ready = weight if own else transformed(weight, inner, outer, turned)
        if prepared is not None:
            prepared.keep("winograd", ready)
    if fused:
        Convolution(source, ready, result, padding, own, turned, accumulate).launch(finish)
        return
    for part in _rounds(source.shape[0], size, inner, outer):
        # the residual is cut with the images
        here = finish
        if finish is not None and finish.residual is not None:
            here = finish._replace(residual=finish.residual[part])
        table = FinishTable(here, outer)
        _convolve_by_step(source[part], ready, result[part], padding, table, accumulate)


def _convolve_by_step(
    source: Array,
    u: Array,
    result: Array,
    padding: tuple[int, int],
    finish: FinishTable,
    accumulate: bool,
) -> None:
    inner, outer = source.shape[1], result.shape[1]
    tasks = get_num_threads()
    size = (result.shape[2], result.shape[3])
    plan = tile_plan(source.shape[0], inner, outer, size, padding, 16, tasks)
    tiles = source.shape[0] * plan.tiles_in_image
    v_row = panels(inner) * 64
    v_step = buffers.spread(tiles * v_row)
    m_panel = tiles * 64
    m_step = buffers.spread(m_panel * panels(outer))
    v = buffers.aligned(36 * v_step, later=True)
    m = buffers.aligned(36 * m_step, later=True)
    units = unit_ints(source, source.shape, source.strides, plan)
    stage_bytes = buffers.spread(plan.images * plan.stage_image)
    stage = buffers.scratch(tasks * stage_bytes)
    busy = min(tasks, plan.count)
    place = (v, v_step, v_row, 64, stage, stage_bytes, panels(inner), 0)
    launch(all_inputs, [*units, *place], tasks=busy, later=True)
    block = max(8, BLOCK_BYTES // v_row // 8 * 8)
    rows = np.arange(min(block, tiles), dtype=np.int64)
    tables = (np.zeros(1, np.int64), rows * v_row, rows * 64)
    shape = (m_panel, panels(outer), tiles)
    u_step = u_distance(inner, outer)
    products = (v, v_step, inner, u, u_step, m, m_step, *shape, *tables, block)
    launch(all_products, products, later=True)
    scratch = buffers.scratch(tasks * 1024)
    table = image_table(result, finish, accumulate)
    outputs = [*units, table, m, m_step, m_panel, scratch, 1024]
    launch(all_outputs, outputs, tasks=busy, later=True, keep=(result, finish))


# ---------------------------------------------------------------------------------- weight gradient


def grad_weight(grad_out: Array, x: Array, result: Array, padding: tuple[int, int]) -> None:
    """result (O,C,3,3, C order): the gradient with respect to the convolution's weight."""
    inner, outer = x.shape[1], grad_out.shape[1]
    size = (grad_out.shape[2], grad_out.shape[3])
    if winograd_few.pays(x.shape[0], size, inner, outer):
        winograd_few.grad_weight(grad_out, x, result, padding)
        return
    du_step = u_distance(inner, outer)
    if inner * outer < WEIGHTS_BY_STEP_FROM**2:
        du, n_partials = _weight_gradient_fused(grad_out, x, du_step, padding)
    else:
        du, n_partials = buffers.aligned(36 * du_step, later=True), 1
        for part in _rounds(x.shape[0], size, inner, outer):
            accumulate = part.start > 0
            _weight_gradient_by_step(grad_out[part], x[part], du, du_step, padding, accumulate)
    finish_weight_gradient(du, n_partials, result)


def _weight_gradient_fused(
    grad_out: Array, x: Array, du_step: int, padding: tuple[int, int]
) -> tuple[Array, int]:
    """The tasks' dU, one behind the other, and how many there are."""
    inner, outer = x.shape[1], grad_out.shape[1]
    size = (grad_out.shape[2], grad_out.shape[3])
    wanted = wanted_tiles(inner, outer)
    plan = tile_plan(x.shape[0], inner, outer, size, padding, wanted, get_num_threads())
    tasks = min(get_num_threads(), plan.count)
    du = buffers.aligned(tasks * 36 * du_step, later=True)
    panel_step = plan.unit_tiles * 64
    v_step = buffers.spread(panel_step * panels(inner))
    d_step = buffers.spread(panel_step * panels(outer))
    stage_bytes = plan.images * plan.stage_image
    patch_bytes = plan.images * plan.patch_image
    task_bytes = buffers.spread(stage_bytes + patch_bytes + 36 * (v_step + d_step) + 64)
    table = image_table(grad_out)
    work = buffers.scratch(tasks * task_bytes)
    launch(
        fused_weight_gradient,
        [
            *unit_ints(x, x.shape, x.strides, plan),
            *(table, du, du_step, 36 * du_step, work, task_bytes, stage_bytes, patch_bytes),
            *(v_step, 36 * v_step, d_step, 36 * d_step, panel_step),
        ],
        tasks=tasks,
        later=True,
        keep=(grad_out,),
    )
    return du, tasks


def _weight_gradient_by_step(
    grad_out: Array,
    x: Array,
    du: Array,
    du_step: int,
    padding: tuple[int, int],
    accumulate: bool,
) -> None:
    inner, outer = x.shape[1], grad_out.shape[1]
    tasks = get_num_threads()
    size = (grad_out.shape[2], grad_out.shape[3])
    plan = tile_plan(x.shape[0], inner, outer, size, padding, 16, tasks)
    tiles = x.shape[0] * plan.tiles_in_image
    panel_step = tiles * 64
    v_step = buffers.spread(panel_step * panels(inner))
    d_step = buffers.spread(panel_step * panels(outer))
    v = buffers.aligned(36 * v_step, later=True)
    d = buffers.aligned(36 * d_step, later=True)
    units = unit_ints(x, x.shape, x.strides, plan)
    stage_bytes = buffers.spread(plan.images * max(plan.stage_image, plan.patch_image))
    stage = buffers.scratch(tasks * stage_bytes)
    busy = min(tasks, plan.count)
    place = (v, v_step, 64, panel_step, stage, stage_bytes, panels(inner), 0)
    launch(all_inputs, [*units, *place], tasks=busy, later=True)
    table = image_table(grad_out)
    gradients = [*units, table, d, d_step, panel_step, stage, stage_bytes]
    launch(all_gradients, gradients, tasks=busy, later=True, keep=(grad_out,))
    zero = np.zeros(1, np.int64)
    shape = (panel_step, panels(outer), tiles)
    launch(
        all_weight_products,
        (v, v_step, inner, d, d_step, du, du_step, *shape, zero, BLOCK_TILES, int(accumulate)),
        later=True,
    )
