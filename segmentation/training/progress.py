"""How far a run is: pictures per second and remaining time, for people who watch it."""

from __future__ import annotations

import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar over all pictures of all epochs, so that the remaining time is that of the run.

    Args:
        epochs: of the run.
        images: pictures in an epoch.
        done: epochs that an earlier start finished.
    """

    def __init__(self, epochs: int, images: int, done: int) -> None:
        self.epochs, self.images, self.epoch = epochs, images, done
        self.bar = tqdm(
            total=epochs * images,
            initial=done * images,
            unit="image",
            mininterval=2,
            smoothing=0.02,
            dynamic_ncols=True,
        )
        self._started = self._epoch_started = time.monotonic()
        self._begun = done
        self._training_s = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.close()

    def begin_epoch(self) -> None:
        """An epoch's first batch comes next."""
        self._epoch_started = time.monotonic()
        self.bar.set_description(f"epoch {self.epoch + 1}/{self.epochs}", refresh=False)

    def step(self, images: int, loss: float) -> None:
        """A batch was learned from."""
        self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self.bar.update(images)

    def end_training(self) -> None:
        """The epoch's last batch is done; what follows is evaluation."""
        self._training_s = time.monotonic() - self._epoch_started

    def end_epoch(self) -> dict[str, float]:
        """Columns of the log: images/s of training alone, seconds of the epoch, remaining seconds."""
        self.epoch += 1
        now = time.monotonic()
        mean_s = (now - self._started) / (self.epoch - self._begun)
        return {
            "images_per_s": round(self.images / max(self._training_s, 1e-9), 2),
            "seconds": round(now - self._epoch_started, 1),
            "remaining_s": round(mean_s * (self.epochs - self.epoch)),
        }
