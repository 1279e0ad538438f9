"""Launches that are taken down and done again: for other arrays, in order, on their own memory."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import buffers, get_num_threads, set_num_threads, workers
from kernels.buffers import Reserve
from kernels.cache import kernel, registry
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.parallel import launch, share
from kernels.recording import Span, recording, root_of, span_of
from kernels.simd import float64_at, int64_at
from kernels.workers import ahead, allowing, catch_up, run_ahead


@kernel()
def mix(ints, floats, task, tasks):
    """out[i] = floats[0] * a[i] + b[i] for this task's share; counts in the table at ints[4] and
    leaves its mark in working memory."""
    a, b, out = float64_at(ints[0]), float64_at(ints[1]), float64_at(ints[2])
    for i in range(share(ints[3], task, tasks), share(ints[3], task + 1, tasks)):
        out[i] = floats[0] * a[i] + b[i]
    if task == 0:
        table = int64_at(ints[4])
        table[0] += 1
        int64_at(ints[5])[0] = table[0]
        if table[0] != 1:  # an earlier run has counted here
            out[0] = np.nan


@kernel()
def follow(ints, floats, task, tasks):
    """Adds 1 to the float64 whose address lies in a table in memory."""
    float64_at(int64_at(ints[0])[0])[0] += 1


for own in (mix, follow):
    del registry[own.name]  # not one of the package's own

N = 40_000  # 320 KB: the pool's
THREADS = pytest.mark.parametrize("threads", [1, 2, 3])
pytestmark = pytest.mark.usefixtures("restore_threads")


def plan(size, factor=2.0):
    ints = [HERE, HERE, HERE, size, [0], Work()]
    return LaunchPlan(mix, ints, (factor,), get_num_threads(), work_bytes=64)


def new(size=N):
    return buffers.empty(size, np.float64, later=True)


def chain(a, b, length):
    """out = 2 x + y over and over: each result is dropped as soon as two others follow."""
    step = plan(a.size)
    for _ in range(length):
        out = new(a.size)
        step.launch(a, b, out)
        a, b = b, out
    return b


def expected(a, b, length):
    for _ in range(length):
        a, b = b, 2 * a + b
    return b


def where():
    return "here"


def take_down(length, size=N, reserve=None):
    """A program of `chain`, the array that it was recorded with, and the reserve."""
    reserve = Reserve() if reserve is None else reserve
    a, b = np.arange(size) * 1.0, np.ones(size)
    with run_ahead(), allowing(True):
        with recording(reserve, where) as taken:
            out = chain(a, b, length)
        spans = [span_of(a, 0), span_of(b, 1)]
        root = root_of(out)
        since = reserve.taken.get(root.begin, 0)
        spans.append(Span(root.begin, root.begin + root.nbytes, 2, 0, since))
        assert taken.problem is None
        program = taken.program(spans, 3)
        if taken.used_before(spans[2]):
            catch_up()
            out = out.copy()
    np.testing.assert_array_equal(out, expected(a, b, length))
    return program, out, reserve


@THREADS
@pytest.mark.parametrize("length", [1, 7, 300])  # 300: more than can wait at once
@pytest.mark.parametrize("size", [50, N])
def test_a_program_does_the_same_for_other_arrays(threads, length, size):
    set_num_threads(threads)
    program, first, _ = take_down(length, size)
    before = first.copy()
    assert program.launches == length
    assert program.used == {0, 1, 2}
    random = np.random.default_rng(0)
    results = []
    with run_ahead():
        for _ in range(3):
            a, b, out = random.random(size), random.random(size), new(size)
            with allowing(True):
                program.run([a, b, out])
            results.append((out, expected(a, b, length)))
        with allowing(True):
            late = new(size)
            plan(size).launch(out, out, late)  # comes after the program
    for out, wanted in results:
        np.testing.assert_array_equal(out, wanted)
    np.testing.assert_array_equal(late, 3 * out)
    np.testing.assert_array_equal(first, before)  # what was given away is not written again


@pytest.mark.parametrize("how", ["alone", "not allowed", "other thread's kernels"])
def test_a_program_runs_where_nothing_may_be_put_off(how):
    set_num_threads(2)
    program, _, _ = take_down(5)
    a, b, out = np.full(N, 3.0), np.full(N, 4.0), new()
    if how == "alone":
        program.run([a, b, out])
    elif how == "not allowed":
        with run_ahead(), allowing(False):
            program.run([a, b, out])
            assert not ahead.pending
            assert out[0] == expected(a, b, 5)[0]
    else:
        with run_ahead(), allowing(True), workers._pool.busy:
            program.run([a, b, out])
            assert not ahead.pending
    np.testing.assert_array_equal(out, expected(a, b, 5))


def test_memory_of_a_program_is_nobody_elses_until_it_is_closed():
    set_num_threads(2)
    buffers.trim()
    program, _, reserve = take_down(6)
    held = reserve.bytes()
    assert 3 * 8 * N <= held <= 5 * 9 * N  # chain needs three arrays at a time, and working memory
    others = [new() for _ in range(20)]
    kept = {block.start + block.offset for block in reserve._blocks}
    assert not kept & {root_of(other).begin for other in others}
    del others
    for other in (np.full(N, 7.0), np.full(N, 8.0)):
        fresh = new()
        with run_ahead(), allowing(True):
            program.run([other, other, fresh])
        assert root_of(fresh).begin not in kept
    del program, fresh
    unused = buffers.pool_info()["unused_bytes"]
    reserve.close()
    assert reserve.bytes() == 0
    assert buffers.pool_info()["unused_bytes"] == unused + held


def test_memory_that_is_out_when_a_reserve_is_closed_or_releases_it_returns_to_the_pool():
    buffers.trim()
    for end in ("close", "release"):
        reserve = Reserve()
        with buffers.reserving(reserve):
            array = new()
        assert reserve.bytes() == root_of(array).nbytes + buffers.ALIGNMENT
        if end == "close":
            reserve.close()
        else:
            reserve.release(root_of(array).begin)
        assert reserve.bytes() == 0
        place = root_of(array).begin
        del array
        assert root_of(new()).begin == place  # from the pool
        buffers.trim()


def test_a_second_recording_uses_the_memory_of_the_first_again():
    set_num_threads(2)
    reserve = Reserve()
    program, out, _ = take_down(6, reserve=reserve)
    del out
    held = reserve.bytes()
    second, _, _ = take_down(4, reserve=reserve)
    assert reserve.bytes() == held
    a, b, c, d = (np.full(N, float(i)) for i in range(4))
    with run_ahead(), allowing(True):
        first_out, second_out = new(), new()
        program.run([a, b, first_out])
        second.run([c, d, second_out])
    np.testing.assert_array_equal(first_out, expected(a, b, 6))
    np.testing.assert_array_equal(second_out, expected(c, d, 4))


@THREADS
@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        (catch_up, "values are looked at"),
        (lambda: launch(mix, (*[np.ones(5)] * 3, 5, *[np.zeros(1, np.int64)] * 2), (1.0,)), ""),
        (lambda: buffers.zeros(4 * N), "values are looked at"),
        (lambda: set_num_threads(get_num_threads()), "values are looked at"),
        (lambda: workers.cannot_repeat("chance"), "chance"),
    ],
    ids=["catch_up", "launch that waits", "memory for Python", "threads", "other"],
)
def test_what_launches_alone_cannot_do_again_is_a_problem(threads, deed, reason):
    set_num_threads(threads)
    with run_ahead(), allowing(True), recording(Reserve(), where) as taken:
        out = chain(np.ones(50), np.ones(50), 2)
        assert taken.problem is None
        deed()
        assert taken.problem is not None
        assert reason in taken.problem
        assert taken.problem.endswith("here")
        out = chain(out, out, 2)
    assert (out == expected(*[np.full(50, 5.0)] * 2, 2)).all()
    workers.cannot_repeat("outside of a recording it is no problem")


def test_only_who_runs_ahead_can_record_and_only_one_at_a_time():
    with pytest.raises(RuntimeError, match="recording"), recording(Reserve(), where):
        pass
    with run_ahead(), allowing(True), recording(Reserve(), where):
        with pytest.raises(RuntimeError, match="recording"), recording(Reserve(), where):
            pass
        assert ahead.recording is not None
    assert ahead.recording is None


def test_an_error_ends_the_recording():
    with run_ahead(), allowing(True):
        with pytest.raises(ZeroDivisionError), recording(Reserve(), where):
            raise ZeroDivisionError
        assert ahead.recording is None
        out = new()
        assert root_of(out).begin not in Reserve().taken


def test_spans_must_lie_apart():
    a, out = np.ones(50), np.zeros(50)
    with run_ahead(), allowing(True), recording(Reserve(), where) as taken:
        plan(40).launch(a[5:45], a[5:45], out)
    whole, part = span_of(a, 0), span_of(a[10:20], 1)
    with pytest.raises(ValueError, match="overlap"):
        taken.program([whole, part, span_of(out, 2)], 3)
    with pytest.raises(ValueError, match="overlap"):
        taken.program([whole, span_of(a, 1), span_of(out, 2)], 3)
    program = taken.program([whole, span_of(out, 1), span_of(np.empty(0), 1)], 2)
    b, other = np.arange(50.0), np.zeros(50)
    program.run([b, other])
    np.testing.assert_array_equal(other[:40], 3 * b[5:45])
    with pytest.raises(ValueError, match="2 arrays are needed, not 1"):
        program.run([b])


def test_an_address_in_a_table_in_memory_is_refused():
    a = np.zeros(3)
    table = np.array([a.ctypes.data], np.int64)
    with run_ahead(), allowing(True), recording(Reserve(), where) as taken:
        launch(follow, (table,), tasks=1, later=True)
    catch_up()
    assert a[0] == 1
    with pytest.raises(ValueError, match="from a table"):
        taken.program([span_of(a)], 1)
    taken.program([span_of(np.zeros(3))], 1)  # of others it is all right


def test_arrays_with_gaps_and_negative_steps_are_found_from_their_first_element():
    a = np.arange(100.0)
    view = a[90:10:-1]
    span = span_of(view, 4)
    assert (span.begin, span.end) == (a.ctypes.data + 8 * 11, a.ctypes.data + 8 * 91)
    assert span.at == span.begin - view.ctypes.data
    assert root_of(view) == (a.ctypes.data, 800)


def test_memory_means_what_it_is_used_for_at_the_time():
    set_num_threads(2)
    reserve = Reserve()
    a, zero = np.full(N, 2.0), np.zeros(N)
    step = plan(N, 1.0)
    with run_ahead(), allowing(True):
        with recording(reserve, where) as taken:
            inner = new()
            place = root_of(inner).begin
            step.launch(a, a, inner)
            last = np.empty(N)
            step.launch(inner, a, last)
            del inner
            result = new()  # in the same memory
            assert root_of(result).begin == place
            step.launch(last, zero, result)
        root, since = root_of(result), reserve.taken[place]
        span = Span(root.begin, root.begin + root.nbytes, 1, 0, since)
        assert since == 2
        assert taken.used_before(span)
        catch_up()
        result = result.copy()
        assert taken.refers_to(span)
        assert not taken.refers_to(span._replace(since=3))
        program = taken.program([span_of(a, 0), span], 2)
    b, out = np.full(N, 5.0), new()
    with run_ahead(), allowing(True):
        program.run([b, out])
    assert (out == 15).all()
    assert (result == 6).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_program_runs_in_a_child_process():
    set_num_threads(2)
    program, _, _ = take_down(6)
    a, b, out = np.full(N, 3.0), np.full(N, 4.0), new()
    with run_ahead(), allowing(True):
        program.run([a, b, out])
    child = os.fork()
    if child == 0:
        again = new()
        with run_ahead(), allowing(True):
            program.run([b, a, again])
        os._exit(0 if (again == expected(b, a, 6)).all() else 3)
    assert os.waitpid(child, 0)[1] == 0


@given(
    st.lists(st.tuples(*[st.integers(0, 5)] * 3, st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([60, N]),
)
def test_any_sequence_of_launches_on_arrays_that_come_and_go(moves, threads, size):
    """Some arrays are given, the others are made, overwritten in place and dropped."""
    set_num_threads(threads)
    steps = {0.5: plan(size, 0.5)}

    def play(given_arrays):
        arrays = list(given_arrays)
        for first, second, third, in_place in moves:
            if in_place and third >= 2:  # those that are given stay as they are
                out = arrays[third]
            else:
                out = new(size)
            steps[0.5].launch(arrays[first], arrays[second], out)
            arrays[max(third, 2)] = out
        return arrays[2:]

    def start(seed):
        random = np.random.default_rng(seed)
        return [random.random(size) for _ in range(2)]

    def inputs(seed):
        given_arrays = start(seed)
        return [*given_arrays, *[new(size) for _ in range(4)]]

    def filled(arrays):
        for i, array in enumerate(arrays[2:]):
            steps[0.5].launch(arrays[i % 2], arrays[1], array)
        return arrays

    reserve = Reserve()
    with run_ahead(), allowing(True):
        recorded = start(0)
        with recording(reserve, where) as taken:
            results = play(filled([*recorded, *[new(size) for _ in range(4)]]))
        spans = [span_of(recorded[0], 0), span_of(recorded[1], 1)]
        unique = {id(r): r for r in results}
        for number, result in enumerate(unique.values(), 2):
            root = root_of(result)
            since = reserve.taken.get(root.begin, 0)
            spans.append(Span(root.begin, root.begin + root.nbytes, number, 0, since))
        program = taken.program(spans, 2 + len(unique))
        del result
    numbers = [list(unique).index(id(r)) for r in results]
    catch_up()
    # what is to stay must not lie where the program works
    results = [
        r.copy() if taken.used_before(spans[2 + n]) else r
        for n, r in zip(numbers, results, strict=True)
    ]
    kept = [r.copy() for r in results]
    for seed in (1, 2):
        with run_ahead(), allowing(True):
            wanted = play(filled(inputs(seed)))
            made = [new(size) for _ in unique]
            program.run([*start(seed), *made])
        for number, want in zip(numbers, wanted, strict=True):
            np.testing.assert_array_equal(made[number], want)
    for result, before in zip(results, kept, strict=True):
        np.testing.assert_array_equal(result, before)
