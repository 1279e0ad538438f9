"""Looking for a good learning rate, freeze depth and weight decay: a run a trial, Optuna chooses.

Optuna's TPE sampler (Bergstra et al. 2011) proposes what to try from the validation accuracies so
far. It is made anew for each trial, seeded by (seed, number) and told of all trials before, so that
what is tried is a function of the seed and the results: a search that was stopped goes on as if it
had not been. Trials see training and validation images only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from tinygrad_ft.io import RunFolderError, atomic_write
from tinygrad_ft.io.folder_lock import FolderLock
from tinygrad_ft.train.checkpoints import check_identity
from tinygrad_ft.train.run import Outcome
from tinygrad_ft.train.settings import Settings, SettingsError
from tinygrad_ft.train.trainer import NonFiniteLoss

FILE = "search.json"
_DIGITS = 3  # of what is proposed: a command line that can be read


@dataclass(frozen=True)
class Space:
    """What is searched, from the lower to the higher bound; the first two on a logarithmic scale.

    freeze  numbers of frozen stages

    SettingsError for bounds that make no sense.
    """

    lr: tuple[float, float]
    weight_decay: tuple[float, float]
    freeze: tuple[int, int]

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            low, high = getattr(self, name)
            if not 0 < low <= high < float("inf"):
                raise SettingsError(
                    f"--{name.replace('_', '-')}-range must be two positive numbers, the lower "
                    f"one first, not {low:g},{high:g}"
                )
        if not 0 <= self.freeze[0] <= self.freeze[1]:
            raise SettingsError(
                "--freeze-range must be two numbers of stages, the lower one first, not "
                f"{self.freeze[0]},{self.freeze[1]}"
            )


@dataclass(frozen=True)
class Trial:
    """One run of the search; accuracy and loss on the validation images.

    A trial whose loss became infinite or NaN has none of the numbers after `freeze`.
    """

    number: int
    lr: float
    weight_decay: float
    freeze: int
    accuracy: float | None = None
    loss: float | None = None
    best_epoch: int | None = None
    seconds: float | None = None

    @property
    def folder(self) -> str:
        """The run's folder within that of the search."""
        return f"trial-{self.number:03}"

    def settings(self, base: Settings, stages: int) -> Settings:
        """Those of the run; `stages` is how many there are before the last layer."""
        depth = {0: "none", stages: "backbone"}.get(self.freeze, str(self.freeze))
        return replace(base, lr=self.lr, weight_decay=self.weight_decay, freeze=depth)

    def finished(self, outcome: Outcome) -> Trial:
        return replace(
            self,
            accuracy=outcome.accuracy,
            loss=outcome.loss,
            best_epoch=outcome.best_epoch,
            seconds=outcome.training_seconds,
        )


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The highest validation accuracy; of equals the lowest loss, then the first."""
    done = [t for t in trials if t.accuracy is not None]
    return min(done, key=lambda t: (-(t.accuracy or 0), t.loss or 0, t.number), default=None)


def possible_depths(base: Settings, stages: int) -> tuple[int, int]:
    """The numbers of frozen stages that go with the other settings (--head-epochs excludes all of
    them, --unfreeze-every none)."""
    found = []
    for depth in range(stages + 1):
        try:
            Trial(0, base.lr, base.weight_decay, depth).settings(base, stages)
        except SettingsError:
            continue
        found.append(depth)
    return found[0], found[-1]


def propose(space: Space, first: Trial, trials: Sequence[Trial], seed: int) -> Trial:
    """The next trial: `first`, brought into the space, and then what Optuna makes of `trials`."""
    number = len(trials)
    if number == 0:
        chosen: dict[str, Any] = {n: getattr(first, n) for n in ("lr", "weight_decay", "freeze")}
    else:
        chosen = _ask_optuna(space, trials, seed)
    depth = min(max(int(chosen["freeze"]), space.freeze[0]), space.freeze[1])
    lr, decay = (_within(chosen[n], getattr(space, n)) for n in ("lr", "weight_decay"))
    return Trial(number, lr, decay, depth)


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(float(f"{value:.{_DIGITS}g}"), bounds[0]), bounds[1])


def _ask_optuna(space: Space, trials: Sequence[Trial], seed: int) -> dict[str, Any]:
    import optuna  # an extra: only a search needs it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(*space.lr, log=True),
        "weight_decay": optuna.distributions.FloatDistribution(*space.weight_decay, log=True),
        "freeze": optuna.distributions.IntDistribution(*space.freeze),
    }
    sampler = optuna.samplers.TPESampler(seed=(seed * 1_000_003 + len(trials)) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: getattr(t, name) for name in distributions},
                distributions=distributions,
                value=t.accuracy or 0.0,  # a diverged one is as bad as can be
            )
            for t in trials
        ]
    )
    return study.ask(distributions).params


def check_search_folder(path: Path, *, resume: bool) -> None:
    """Raise RunFolderError if `SearchFolder` would, for what lies at `path`; change nothing."""
    there = (path / FILE).exists()
    if there and not resume:
        raise RunFolderError(
            f"{path} already holds a search; go on with --resume or choose another folder"
        )
    if resume and not there:
        raise RunFolderError(f"{path} holds no search to resume")


class SearchFolder:
    """The folder of a search: `search.json`, `trials.csv`, a run folder a trial; locked against
    other processes until `close` (or the end of a `with`).

    identity  what makes the search the search it is: plain values
    resume    take over the trials that are there; CheckpointError if they are of another search

    RunFolderError if there is a search already and `resume` is off, or none and it is on.
    """

    def __init__(self, path: Path, identity: dict[str, Any], *, resume: bool) -> None:
        self.path, self.identity = path, identity
        self.trials: list[Trial] = []
        self.test: dict[str, Any] | None = None
        check_search_folder(path, resume=resume)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunFolderError(f"{path} cannot be made: {problem.strerror}") from problem
        self._lock = FolderLock(path)
        try:
            check_search_folder(path, resume=resume)  # another process may have begun one
            if resume:
                self._read()
            else:
                self.write()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self) -> None:
        file = self.path / FILE
        try:
            content = json.loads(file.read_bytes())
            before = dict(content["identity"])
            self.trials = [Trial(**values) for values in content["trials"]]
            self.test = content["test"]
        except OSError as problem:
            raise RunFolderError(f"{file} cannot be read: {problem.strerror}") from problem
        except (ValueError, KeyError, TypeError) as problem:
            raise RunFolderError(f"{file} is damaged: it does not hold a search") from problem
        check_identity(before, json.loads(json.dumps(self.identity)), self.path)

    def write(self) -> None:
        """search.json and trials.csv, whole and atomically."""
        content = {
            "identity": self.identity,
            "trials": [asdict(t) for t in self.trials],
            "test": self.test,
        }
        text = io.StringIO(newline="")
        names = list(asdict(Trial(0, 0.0, 0.0, 0)))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(t) for t in self.trials)
        atomic_write(self.path / "trials.csv", text.getvalue().encode())
        atomic_write(self.path / FILE, json.dumps(content, indent=2).encode())

    @property
    def judged(self) -> bool:
        """Whether the test images have been looked at: the search is over then."""
        return self.test is not None


def run_trials(
    folder: SearchFolder,
    count: int,
    space: Space,
    first: Trial,
    seed: int,
    run: Callable[[Trial], Outcome],
) -> None:
    """Run trials by `run` until the folder has `count`.

    RunFolderError for more trials than there were when the test images were looked at: with them
    known, a further search would choose by them.
    """
    if folder.judged and count > len(folder.trials):
        raise RunFolderError(
            f"{folder.path} is finished, its best trial was judged on test images: a longer search "
            "needs a folder of its own"
        )
    while len(folder.trials) < count:
        trial = propose(space, first, folder.trials, seed)
        # one that diverges stays without numbers
        with suppress(NonFiniteLoss):
            trial = trial.finished(run(trial))
        folder.trials.append(trial)
        folder.write()
