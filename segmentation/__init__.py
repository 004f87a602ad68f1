"""Scene parsing with PSPNet and description of what was parsed; usable alone, without Django."""
