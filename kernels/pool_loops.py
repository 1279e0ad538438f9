"""The loops of kernels/pool.py.

Memory is channels last. Outputs of one pixel are C neighbours, so every inner loop runs over
channels and vectorises. `rows` and `columns` are the tables that `pool_windows.py` makes, an entry
for each output row or column: first pixel inside the image, one past the last, and number of
pixels that count.
"""

import numpy as np

from kernels.cache import kernel
from kernels.parallel import share
from kernels.simd import float32_at, int64_at


@kernel()
def max_forward(ints, floats, task, tasks):
    """Tasks share the output rows of all images."""
    rows, columns = int64_at(ints[3]), int64_at(ints[4])
    images, channels, height, width = ints[5], ints[6], ints[7], ints[8]
    out_height, out_width, row_step, column_step = ints[9], ints[10], ints[11], ints[12]
    lines = images * out_height
    for line in range(share(lines, task, tasks), share(lines, task + 1, tasks)):
        image, i = line // out_height, line % out_height
        for j in range(out_width):
            pixel = (line * out_width + j) * channels
            best, place = float32_at(ints[1] + pixel * 4), int64_at(ints[2] + pixel * 8)
            first = rows[i] * width + columns[j]
            for c in range(channels):
                best[c] = np.float32(-np.inf)
                place[c] = first
            for y in range(rows[i], rows[out_height + i], row_step):
                for x in range(columns[j], columns[out_width + j], column_step):
                    here = y * width + x
                    values = float32_at(ints[0] + (image * height * width + here) * channels * 4)
                    for c in range(channels):
                        value = values[c]
                        # greater, or NaN; "not <=" would also replace a NaN by the next number
                        wins = value > best[c] or value != value
                        best[c] = value if wins else best[c]
                        place[c] = here if wins else place[c]


@kernel()
def average_forward(ints, floats, task, tasks):
    """Tasks share the output rows of all images."""
    rows, columns = int64_at(ints[2]), int64_at(ints[3])
    images, channels, height, width = ints[4], ints[5], ints[6], ints[7]
    out_height, out_width, divisor = ints[8], ints[9], ints[10]
    lines = images * out_height
    for line in range(share(lines, task, tasks), share(lines, task + 1, tasks)):
        image, i = line // out_height, line % out_height
        for j in range(out_width):
            total = float32_at(ints[1] + (line * out_width + j) * channels * 4)
            for c in range(channels):
                total[c] = np.float32(0)
            for y in range(rows[i], rows[out_height + i]):
                for x in range(columns[j], columns[out_width + j]):
                    pixel = (image * height + y) * width + x
                    values = float32_at(ints[0] + pixel * channels * 4)
                    for c in range(channels):
                        total[c] += values[c]
            count = divisor
            if count == 0:
                count = rows[2 * out_height + i] * columns[2 * out_width + j]
            number = np.float32(count)
            for c in range(channels):
                total[c] /= number


@kernel()
def average_grad_input(ints, floats, task, tasks):
    """Tasks share the rows of the images and add up what these get from the windows over them."""
    rows, columns = int64_at(ints[2]), int64_at(ints[3])
    images, channels, height, width = ints[4], ints[5], ints[6], ints[7]
    out_height, out_width, divisor = ints[8], ints[9], ints[10]
    lines = images * height
    for line in range(share(lines, task, tasks), share(lines, task + 1, tasks)):
        image, y = line // height, line % height
        row_at = ints[1] + line * width * channels * 4
        row = float32_at(row_at)
        for k in range(width * channels):
            row[k] = np.float32(0)
        for i in range(out_height):
            if rows[i] <= y < rows[out_height + i]:
                for j in range(out_width):
                    count = divisor
                    if count == 0:
                        count = rows[2 * out_height + i] * columns[2 * out_width + j]
                    number = np.float32(count)
                    pixel = (image * out_height + i) * out_width + j
                    grad = float32_at(ints[0] + pixel * channels * 4)
                    for x in range(columns[j], columns[out_width + j]):
                        target = float32_at(row_at + x * channels * 4)
                        for c in range(channels):
                            target[c] += grad[c] / number


@kernel()
def gather(ints, floats, task, tasks):
    """Tasks share the output pixels of all images."""
    images, channels, size, out_size = ints[3], ints[4], ints[5], ints[6]
    pixels = images * out_size
    for pixel in range(share(pixels, task, tasks), share(pixels, task + 1, tasks)):
        x = float32_at(ints[0] + (pixel // out_size) * size * channels * 4)
        place = int64_at(ints[1] + pixel * channels * 8)
        out = float32_at(ints[2] + pixel * channels * 4)
        for c in range(channels):
            out[c] = x[place[c] * channels + c]


@kernel()
def scatter_add(ints, floats, task, tasks):
    """Tasks share the images, and the groups that the channels of each are cut into: no two tasks
    write to the same number, and the order of the sums does not depend on the tasks."""
    images, channels, size, out_size, groups = ints[3], ints[4], ints[5], ints[6], ints[7]
    items = images * groups
    for item in range(share(items, task, tasks), share(items, task + 1, tasks)):
        image, group = item // groups, item % groups
        begin, end = share(channels, group, groups), share(channels, group + 1, groups)
        out = float32_at(ints[2] + image * size * channels * 4)
        for pixel in range(size):
            for c in range(begin, end):
                out[pixel * channels + c] = np.float32(0)
        for pixel in range(image * out_size, (image + 1) * out_size):
            x = float32_at(ints[0] + pixel * channels * 4)
            place = int64_at(ints[1] + pixel * channels * 8)
            for c in range(begin, end):
                out[place[c] * channels + c] += x[c]
