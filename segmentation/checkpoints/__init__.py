"""Published PSPNets: four layouts that look alike and are not, read safely and imported exactly."""

from segmentation.checkpoints.importing import import_checkpoint, refuse_taken
from segmentation.checkpoints.rules import ImportOptions

__all__ = ["ImportOptions", "import_checkpoint", "refuse_taken"]
