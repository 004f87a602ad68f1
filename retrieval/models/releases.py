"""Model releases: which network parsed an image, and what its classes are called."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property


class Release(models.Model):
    """A network with its weights, label set and ranking; at most one is active.

    Attributes:
        input_rules: mean, standard deviation and size rule of the network's input.
        context_width: D of the context and region vectors, `halfvec(D)`.
        ranking: default weights {"context", "layout", "composition"}.
        followed: the release that this one took over from, to go back to.
        metrics: measured figures, as in the weights' manifest.
    """

    class State(models.TextChoices):
        FILLING = "filling", "filling"
        ACTIVE = "active", "active"
        RETIRED = "retired", "retired"

    name = models.CharField(max_length=120, unique=True)
    network = models.CharField(max_length=120)
    weights_name = models.CharField(max_length=120)
    weights_sha256 = models.CharField(max_length=64)
    label_set = models.CharField(max_length=120)
    input_rules = models.JSONField(default=dict, blank=True)
    context_width = models.PositiveIntegerField()
    ranking = models.JSONField(default=dict, blank=True)
    metrics = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.FILLING)
    followed = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("state",), condition=Q(state="active"), name="release_one_active"
            ),
            models.CheckConstraint(
                condition=Q(state__in=("filling", "active", "retired")), name="release_state_known"
            ),
            # HNSW takes halfvec up to 4,000 wide.
            models.CheckConstraint(
                condition=Q(context_width__gte=1, context_width__lte=4000),
                name="release_context_width",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @cached_property
    def class_count(self) -> int:
        """How many classes it tells apart; asked for once, as they never change."""
        return self.classes.count()


class SemanticClass(models.Model):
    """What class `index` of a release's masks means."""

    release = models.ForeignKey(
        Release, on_delete=models.CASCADE, related_name="classes", db_index=False
    )
    index = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=80)
    name_zh = models.CharField(max_length=80, blank=True)
    colour = models.CharField(max_length=7)

    class Meta:
        ordering = ("release", "index")
        verbose_name_plural = "semantic classes"
        constraints = (
            models.UniqueConstraint(fields=("release", "index"), name="class_index_per_release"),
            models.UniqueConstraint(fields=("release", "name"), name="class_name_per_release"),
            models.CheckConstraint(
                condition=Q(colour__regex=r"^#[0-9a-f]{6}$"), name="class_colour_hex"
            ),
        )

    def __str__(self) -> str:
        return self.name
