"""What somebody asked for in the admin and takes longer than a page: import, install, fit, promote, …"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from retrieval.models.releases import Release


class ReleaseJob(models.Model):
    """One task about releases; a worker takes them one after the other.

    Attributes:
        parameters: what `workers.releasing` is to be called with.
        done, total: progress in whatever the step counts; total 0: not known.
        step: what is being done, in words.
        result: what came of it. sheet: PNG of the largest differences, for a comparison.
        taken_until: until when a worker holds it; NULL or past: it may be taken.
    """

    class Kind(models.TextChoices):
        IMPORT = "import", _("Import a checkpoint")
        INSTALL = "install", _("Install a published model")
        FIT = "fit", _("Fit the whitening")
        PROMOTE = "promote", _("Promote")
        COMPARE = "compare", _("Compare")
        RETIRE = "retire", _("Retire")

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    kind = models.CharField(_("what"), max_length=10, choices=Kind.choices)
    release = models.ForeignKey(
        Release, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs"
    )
    parameters = models.JSONField(default=dict)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.QUEUED)
    step = models.CharField(max_length=200, blank=True)
    done = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(default=0)
    result = models.JSONField(default=dict)
    sheet = models.BinaryField(null=True)
    error_detail = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    taken_until = models.DateTimeField(null=True, blank=True)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    asked_at = models.DateTimeField(_("asked"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=("queued", "done", "failed")), name="release_job_state_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.state}"

    @property
    def percent(self) -> int | None:
        """Share done in percent; None where the total is not known."""
        return min(100, 100 * self.done // self.total) if self.total else None
