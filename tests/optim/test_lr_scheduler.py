"""Schedules: closed formulas, PyTorch's values over whole schedules, saving and loading."""

import json
import math

import pytest

import tinygrad_ft as tg
from tinygrad_ft import optim
from tinygrad_ft.optim import lr_scheduler as own_schedules

STEPS = 40

# name -> maker(module of schedules, optimizer); the same code runs on PyTorch's module
SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, 7, gamma=0.3),
    "multistep": lambda s, o: s.MultiStepLR(o, [20, 5, 5, 11], gamma=0.5),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 12, eta_min=0.01),
    "cosine to the end": lambda s, o: s.CosineAnnealingLR(o, STEPS),
    "linear": lambda s, o: s.LinearLR(o, 0.1, total_iters=6),
    "linear down": lambda s, o: s.LinearLR(o, 1.0, 0.25, total_iters=30),
    "linear defaults": lambda s, o: s.LinearLR(o),
    "lambda": lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + t)),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 - t / 100]),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.8, total_steps=STEPS),
    "one cycle per group": lambda s, o: s.OneCycleLR(
        o, [0.8, 0.2], epochs=5, steps_per_epoch=8, anneal_strategy="linear", pct_start=0.2
    ),
    "one cycle in three": lambda s, o: s.OneCycleLR(
        o, 0.8, total_steps=STEPS, three_phase=True, div_factor=10.0, final_div_factor=100.0
    ),
    "warm-up, then cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 35)], [5]
    ),
    "three in a row": lambda s, o: s.SequentialLR(
        o,
        [s.StepLR(o, 3), s.MultiStepLR(o, [2, 4]), s.LambdaLR(o, lambda t: 0.5**t)],
        [8, 20],
    ),
}
ROWS = {
    "linear and step at once": lambda s, o: [s.LinearLR(o, 0.2), s.StepLR(o, 4)],
    "cosine and multistep at once": lambda s, o: [
        s.CosineAnnealingLR(o, STEPS),
        s.MultiStepLR(o, [9]),
    ],
}


def make_optimizer(kind="SGD"):
    a, b = tg.zeros(1, requires_grad=True), tg.zeros(1, requires_grad=True)
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(optim, kind)([{"params": [a]}, {"params": [b], "lr": 0.1}], lr=0.5, **options)


def snapshot(optimizer):
    return [(g["lr"], g.get("momentum"), g.get("betas")) for g in optimizer.param_groups]


def run(schedule, optimizer, steps=STEPS - 1):
    rates = [[g["lr"] for g in optimizer.param_groups]]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        rates.append([g["lr"] for g in optimizer.param_groups])
        assert schedule.get_last_lr() == rates[-1]
    return rates


def torch_optimizer(torch, kind="SGD"):
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    options = {"momentum": 0.9} if kind == "SGD" else {}
    groups = [{"params": [a]}, {"params": [b], "lr": 0.1}]
    return getattr(torch.optim, kind)(groups, lr=0.5, **options)


def close(ours, theirs):
    for (lr, momentum, betas), (lr2, momentum2, betas2) in zip(ours, theirs, strict=True):
        assert lr == pytest.approx(lr2, rel=1e-12, abs=1e-16)
        assert momentum == (None if momentum2 is None else pytest.approx(momentum2, rel=1e-12))
        assert betas == (None if betas2 is None else pytest.approx(betas2, rel=1e-12))


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", [*SCHEDULES, *ROWS])
def test_every_value_is_pytorchs(name, kind):
    torch = pytest.importorskip("torch")
    ours, theirs = make_optimizer(kind), torch_optimizer(torch, kind)
    make = SCHEDULES.get(name) or ROWS[name]
    mine, others = make(own_schedules, ours), make(torch.optim.lr_scheduler, theirs)
    mine, others = (s if isinstance(s, list) else [s] for s in (mine, others))
    close(snapshot(ours), snapshot(theirs))
    for _ in range(STEPS - 1):
        theirs.step()
        for schedule in [*mine, *others]:
            schedule.step()
        close(snapshot(ours), snapshot(theirs))


FORMULAS = {
    "step": lambda base, t: base * 0.3 ** (t // 7),
    "multistep": lambda base, t: base * 0.5 ** ((t >= 20) + 2 * (t >= 5) + (t >= 11)),
    "cosine": lambda base, t: 0.01 + (base - 0.01) * (1 + math.cos(math.pi * t / 12)) / 2,
    "linear": lambda base, t: base * (0.1 + 0.9 * min(t, 6) / 6),
    "linear down": lambda base, t: base * (1 - 0.75 * min(t, 30) / 30),
    "lambda": lambda base, t: base / (1 + t),
    "warm-up, then cosine": lambda base, t: (
        base * (0.1 + 0.9 * t / 5) if t < 5 else base * (1 + math.cos(math.pi * (t - 5) / 35)) / 2
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_rate_is_its_formula(name):
    optimizer = make_optimizer()
    rates = run(SCHEDULES[name](own_schedules, optimizer), optimizer)
    for t, row in enumerate(rates):
        assert row == pytest.approx([FORMULAS[name](base, t) for base in (0.5, 0.1)], rel=1e-9)


def test_one_cycle_goes_up_and_down_with_momentum_opposite():
    optimizer = make_optimizer()
    schedule = own_schedules.OneCycleLR(optimizer, 1.0, total_steps=20, pct_start=0.25)
    rows = [snapshot(optimizer)[0]]
    for _ in range(19):
        schedule.step()
        rows.append(snapshot(optimizer)[0])
    rates, momenta = [r[0] for r in rows], [r[1] for r in rows]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.index(max(rates)) == 4
    assert rates[4] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(1 / 25 / 1e4)
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert momenta[0] == pytest.approx(0.95)
    assert momenta[4] == pytest.approx(0.85)
    assert momenta[-1] == pytest.approx(0.95)
    schedule.step()  # one more is allowed: the step() after the last batch
    with pytest.raises(ValueError, match="has 20 steps and was stepped 21 times"):
        schedule.step()


def test_cosine_with_warm_up():
    optimizer = make_optimizer()
    schedule = own_schedules.CosineWarmupLR(optimizer, 20, warmup_steps=4, eta_min=0.01)
    rates = [row[0] for row in run(schedule, optimizer, 25)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    for t in range(4, 21):
        expected = 0.01 + 0.49 * (1 + math.cos(math.pi * (t - 4) / 16)) / 2
        assert rates[t] == pytest.approx(expected)
    assert rates[20:] == [0.01] * 6


def test_cosine_without_warm_up_is_cosine_annealing():
    ours, other = make_optimizer(), make_optimizer()
    a = run(own_schedules.CosineWarmupLR(ours, STEPS), ours)
    b = run(own_schedules.CosineAnnealingLR(other, STEPS), other)
    for x, y in zip(a, b, strict=True):
        assert x == pytest.approx(y, rel=1e-9)


RESUMED = {**SCHEDULES, "warm-up": lambda s, o: s.CosineWarmupLR(o, STEPS, 5)}


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("at", [0, 5, 17])
def test_resumed_schedule_has_the_same_bits(name, at):
    straight = make_optimizer()
    schedule = RESUMED[name](own_schedules, straight)
    run(schedule, straight, at)
    saved = json.loads(json.dumps(schedule.state_dict()))
    groups = straight.state_dict()

    resumed = make_optimizer()
    again = RESUMED[name](own_schedules, resumed)
    again.load_state_dict(saved)
    resumed.load_state_dict(groups)
    assert run(again, resumed, 20) == run(schedule, straight, 20)


def test_a_state_of_another_schedule_is_refused():
    optimizer = make_optimizer()
    steps = own_schedules.StepLR(optimizer, 3)
    cosine = own_schedules.CosineAnnealingLR(optimizer, 3)
    before = steps.state_dict()
    with pytest.raises(ValueError, match="StepLR: the loaded state has the fields"):
        steps.load_state_dict(cosine.state_dict())
    with pytest.raises(ValueError, match="of 1 parameter groups, this optimizer has 2"):
        steps.load_state_dict({**before, "base_lrs": [0.1]})
    assert steps.state_dict() == before
    row = SCHEDULES["three in a row"](own_schedules, optimizer)
    before = row.state_dict()
    with pytest.raises(ValueError, match="2 schedulers, this one has 3"):
        row.load_state_dict({**before, "schedulers": before["schedulers"][:2]})
    mixed = {**before, "schedulers": [*before["schedulers"][:2], cosine.state_dict()]}
    with pytest.raises(ValueError, match="LambdaLR: the loaded state"):
        row.load_state_dict(mixed)
    assert row.state_dict() == before


@pytest.mark.parametrize(
    "make",
    [
        lambda s, o: s.StepLR(o, 0),
        lambda s, o: s.CosineAnnealingLR(o, 0),
        lambda s, o: s.CosineWarmupLR(o, 5, 5),
        lambda s, o: s.CosineWarmupLR(o, 5, -1),
        lambda s, o: s.LinearLR(o, 0.0),
        lambda s, o: s.LinearLR(o, end_factor=1.5),
        lambda s, o: s.LinearLR(o, total_iters=0),
        lambda s, o: s.LambdaLR(o, [lambda t: 1.0]),
        lambda s, o: s.OneCycleLR(o, 0.1),
        lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0),
        lambda s, o: s.OneCycleLR(o, 0.1, epochs=3),
        lambda s, o: s.OneCycleLR(o, 0.1, epochs=3, steps_per_epoch=0),
        lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=1.5),
        lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="square"),
        lambda s, o: s.OneCycleLR(o, [0.1], 10),
        lambda s, o: s.SequentialLR(o, [], []),
        lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3]),
        lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1), s.StepLR(o, 1)], [0]),
        lambda s, o: s.SequentialLR(o, [s.StepLR(make_optimizer(), 1)], []),
    ],
)
def test_wrong_options(make):
    optimizer = make_optimizer()
    before = snapshot(optimizer)
    with pytest.raises(ValueError):
        make(own_schedules, optimizer)
    assert snapshot(optimizer) == before


def test_wrong_optimizers():
    with pytest.raises(TypeError, match="StepLR takes an Optimizer, got int"):
        own_schedules.StepLR(3, 1)
    with pytest.raises(KeyError, match="'initial_lr'"):
        own_schedules.StepLR(make_optimizer(), 1, last_epoch=4)
    optimizer = make_optimizer()
    schedule = own_schedules.StepLR(optimizer, 1)
    optimizer.add_param_group({"params": [tg.zeros(1, requires_grad=True)]})
    with pytest.raises(ValueError, match="made for 2 parameter groups"):
        schedule.step()
