"""What a release found in an image: mask, vectors, segments and class areas.

Vector columns have no fixed width, because releases differ; each release has its own partial
expression indexes, which `retrieval.search` makes. Zero and NaN vectors, which cosine search would
silently lose, are refused by the database.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, FloatField, Func, Q, Value
from django.db.models.lookups import GreaterThan, LessThan
from pgvector.django import HalfVectorField, SparseVectorField

from retrieval.models.analyses import Analysis
from retrieval.models.collections import Collection
from retrieval.models.images import Image
from retrieval.models.releases import Release

# In PostgreSQL NaN is greater than every number: "< largest" refuses it together with infinity.
_LARGEST = 1e30


def _norm(column: str) -> Func:
    return Func(F(column), function="l2_norm", output_field=FloatField())


def _finite_direction(column: str, name: str) -> models.CheckConstraint:
    """CHECK that a vector has a direction: its norm is neither zero nor NaN nor infinite."""
    return models.CheckConstraint(
        condition=Q(GreaterThan(_norm(column), Value(0.0)))
        & Q(LessThan(_norm(column), Value(_LARGEST))),
        name=name,
    )


class Found(models.Model):
    """Columns that every finding has. (image, release) indexes are named by each table."""

    image = models.ForeignKey(
        Image, on_delete=models.CASCADE, related_name="%(class)s_set", db_index=False
    )
    release = models.ForeignKey(
        Release, on_delete=models.PROTECT, related_name="%(class)s_set", db_index=False
    )
    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, related_name="+", db_index=False
    )

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.image_id} {self.release_id}"


class Mask(Found):
    """The class map as palette PNG, long side ≤ 512 px; a pixel's value is its class index.

    Attributes:
        mean_confidence: mean over pixels of the winning class's probability, 0 to 1.
    """

    analysis = models.OneToOneField(Analysis, on_delete=models.CASCADE, related_name="mask")
    png = models.BinaryField()
    width_px = models.PositiveSmallIntegerField()
    height_px = models.PositiveSmallIntegerField()
    mean_confidence = models.FloatField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("image", "release"), name="mask_once"),
            models.CheckConstraint(
                condition=Q(mean_confidence__gte=0, mean_confidence__lte=1.001),
                name="mask_confidence_range",
            ),
        )
        indexes = (
            models.Index(fields=("collection", "release"), name="mask_collection"),
            models.Index(fields=("release",), name="mask_release"),
        )


class Descriptor(Found):
    """The vectors of one image under one release; each L2-normalised.

    Attributes:
        composition: halfvec(C), sqrt of class areas.
        layout: sparsevec(64·C), sqrt of occupancy in an 8×8 grid; index (row·8 + col)·C + class.
        context: halfvec(D), whitened mean feature.
        context_norm: length of `context` before it was normalised.
        uniform_class: the class that fills every cell of the layout; None for all other pictures.
            Such layouts are equal to the last bit, and the index of layouts leaves them out.
    """

    composition = HalfVectorField()
    layout = SparseVectorField()
    context = HalfVectorField()
    context_norm = models.FloatField()
    uniform_class = models.PositiveSmallIntegerField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("image", "release"), name="descriptor_once"),
            _finite_direction("composition", "descriptor_composition_finite"),
            _finite_direction("layout", "descriptor_layout_finite"),
            _finite_direction("context", "descriptor_context_finite"),
            models.CheckConstraint(
                condition=Q(context_norm__gt=0, context_norm__lt=_LARGEST),
                name="descriptor_context_norm_finite",
            ),
        )
        indexes = (
            models.Index(fields=("release", "collection"), name="descriptor_filter"),
            models.Index(fields=("collection",), name="descriptor_collection"),
            models.Index(
                fields=("release", "uniform_class", "-image"),
                condition=Q(uniform_class__isnull=False),
                name="descriptor_uniform",
            ),
        )


class Region(Found):
    """One connected segment of an image, or the rest.

    Attributes:
        number: from 0, by falling area; the rest comes last.
        class_index: None for the rest, all segments under 1 %, so that areas sum to 1.
        area: fraction of the image.
        box: [x0, y0, x1, y1] as fractions.
        vector: halfvec(D), `W (v_r − μ)`, L2-normalised; `norm` is its length before.
    """

    number = models.PositiveSmallIntegerField()
    class_index = models.PositiveSmallIntegerField(null=True, blank=True)
    area = models.FloatField()
    box = models.JSONField()
    confidence = models.FloatField()
    vector = HalfVectorField()
    norm = models.FloatField()

    class Meta:
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(fields=("image", "release", "number"), name="region_once"),
            _finite_direction("vector", "region_vector_finite"),
            models.CheckConstraint(
                condition=Q(norm__gte=0, norm__lt=_LARGEST), name="region_norm_finite"
            ),
            models.CheckConstraint(
                condition=Q(area__gt=0, area__lte=1.001), name="region_area_range"
            ),
        )
        indexes = (
            models.Index(fields=("release", "class_index", "area"), name="region_filter"),
            models.Index(fields=("collection",), name="region_collection"),
        )


class ClassArea(Found):
    """The fraction of an image that a class covers; classes that do not occur have no row."""

    class_index = models.PositiveSmallIntegerField()
    fraction = models.FloatField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("image", "release", "class_index"), name="class_area_once"
            ),
            models.CheckConstraint(
                condition=Q(fraction__gt=0, fraction__lte=1.001), name="class_area_range"
            ),
        )
        indexes = (
            models.Index(
                fields=("release", "class_index", "fraction"),
                include=("image", "collection"),
                name="class_area_filter",
            ),
            models.Index(fields=("collection",), name="class_area_collection"),
        )
