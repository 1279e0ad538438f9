"""The order of calls and pauses, with a clock that is moved by hand."""

from benchmarks.timing import Effort, Samples, interleave


class Workbench:
    """A clock, and calls that take a known time and leave a trace."""

    def __init__(self):
        self.now = 0.0
        self.trace = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.trace.append("pause")
        self.now += seconds

    def call(self, name, *seconds):
        """A call that takes these seconds in turn, then the last one for ever."""
        left = list(seconds)

        def run():
            self.trace.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_everyone_has_a_pause_and_a_warm_call_in_every_round():
    bench = Workbench()
    calls = {"a": bench.call("a", 1.0), "b": bench.call("b", 1.0)}
    interleave(calls, Effort(rounds=3, slot=0.5, pause=0.25), bench.clock, bench.sleep)
    first = ["pause", "a", "a", "pause", "b", "b"]
    second = ["pause", "b", "b", "pause", "a", "a"]
    assert bench.trace == ["a", "b", *first, *second, *first]


def test_short_calls_are_repeated_until_they_fill_a_slot():
    bench = Workbench()
    calls = {"short": bench.call("short", 0.125), "long": bench.call("long", 4.0)}
    found = interleave(calls, Effort(rounds=2, slot=1.0, pause=1.0), bench.clock, bench.sleep)
    assert found["short"].calls == 9
    assert found["long"].calls == 1
    # time per call, without the pause and the warm call
    assert found["short"].values == [0.125, 0.125]
    assert found["long"].values == [4.0, 4.0]


def test_warm_call_is_not_timed():
    bench = Workbench()
    # the call that finds the number of repetitions, the warm call, the timed one
    slow_when_cold = bench.call("x", 1.0, 50.0, 1.0)
    found = interleave({"x": slow_when_cold}, Effort(1, 0.5, 0.0), bench.clock, bench.sleep)
    assert found["x"].values == [1.0]


def test_median_ignores_one_disturbed_sample():
    assert Samples([1.0, 1.1, 30.0]).median == 1.1
