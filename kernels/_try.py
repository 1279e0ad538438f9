from kernels.cache import kernel
from kernels.parallel import share
from numba import types, carray
@kernel("void(int64,int64)")
def helper(a, b):
    pass
_helper = helper.symbol
@kernel(needs=[helper])
def body(ints, floats, task, tasks):
    _helper(ints[0], 3)
    n = ints[1]
    for i in range(share(n, task, tasks), share(n, task + 1, tasks)):
        ints[2 + i] += task
