"""Keep trackers from breaking the cell or each other, and from changing its random numbers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from harness.tracking.backend import Backend
from harness.util.random_state import random_state, restore_random_state

logger = logging.getLogger(__name__)


class Isolated:
    """Trackers by name; a tracker that fails is left out from then on, with one warning."""

    def __init__(self) -> None:
        self.by_name: dict[str, Backend] = {}

    def start(self, name: str, make: Callable[[], Backend]) -> Backend | None:
        """Take in a tracker, and return it; None where it cannot be made."""
        with self._warned(name):
            self.by_name[name] = make()
        return self.by_name.get(name)

    def tell(self, name: str, what: Callable[[Backend], None]) -> bool:
        """Tell one tracker something, and return whether it took it."""
        with self._warned(name):
            what(self.by_name[name])
        return name in self.by_name

    def tell_all(self, what: Callable[[Backend], None]) -> None:
        """Tell all that are left something."""
        for name in list(self.by_name):
            self.tell(name, what)

    @contextlib.contextmanager
    def _warned(self, name: str) -> Iterator[None]:
        # Some trackers draw random names for runs, which must not change the training.
        state = random_state()
        try:
            yield
        except Exception as error:  # a server, a disk or a library may fail in any way
            self.by_name.pop(name, None)
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            logger.warning("tracker %s: %s; the run goes on without it", name, reason)
        finally:
            restore_random_state(state)
