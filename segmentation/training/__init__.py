"""Training: a configuration, a run in a folder that can be killed and resumed, its log and pictures."""

from segmentation.training.config import Loading, Schedule, TrainConfig, load_config
from segmentation.training.trainer import Trainer

__all__ = ["Loading", "Schedule", "TrainConfig", "Trainer", "load_config"]
