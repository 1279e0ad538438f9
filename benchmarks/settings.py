"""What the command line asked for, and which peers can take part."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec

import kernels


@dataclass
class Settings:
    """Handed to every file in cases/.

    threads   for ours and for every peer
    quick     one short round: shows that everything works, the numbers mean little
    compiled  let `torch.compile` take part where a whole network runs
    chosen    peers that may take part; None for all
    """

    threads: int = 1
    quick: bool = False
    compiled: bool = False
    chosen: frozenset[str] | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    """Peers that were wanted and cannot take part, with the reason."""
    _found: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        kernels.set_num_threads(self.threads)

    def wants(self, peer: str) -> bool:
        """True if a peer, named by the module one imports, was chosen and is installed.

        The first time its threads are set. A peer that is missing is noted in `skipped`."""
        if peer in self._found:
            return True
        if peer in self.skipped or (self.chosen is not None and peer not in self.chosen):
            return False
        if find_spec(peer) is None:
            self.skipped[peer] = "not installed"
            return False
        try:
            _LIMIT_THREADS.get(peer, lambda threads: None)(self.threads)
        except ImportError as error:
            self.skipped[peer] = f"its threads cannot be set: {error}"
            return False
        self._found.add(peer)
        return True

    @property
    def unused(self) -> list[str]:
        """Peers that were chosen and that no case has asked for."""
        return sorted((self.chosen or frozenset()) - self._found - self.skipped.keys())


def _limit_numpy(threads: int) -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, user_api="blas")


def _limit_torch(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


_LIMIT_THREADS: dict[str, Callable[[int], None]] = {"numpy": _limit_numpy, "torch": _limit_torch}
