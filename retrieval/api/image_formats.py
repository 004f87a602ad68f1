"""Answers that are pictures; errors of the same endpoints stay JSON."""

from __future__ import annotations

from rest_framework.renderers import JSONRenderer


class PngRenderer(JSONRenderer):
    """Lets callers ask for image/png; what it renders itself are errors, in JSON."""

    media_type = "image/png"
    format = "png"
