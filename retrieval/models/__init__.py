"""The tables. Every table that grows with images carries its `collection`."""

from retrieval.models.access import ApiToken
from retrieval.models.analyses import Analysis
from retrieval.models.collections import Collection, Membership
from retrieval.models.counts import DailyCount
from retrieval.models.images import Image, ImageTag, Tag
from retrieval.models.releases import Release, SemanticClass
from retrieval.models.searches import SavedSearch
from retrieval.models.sheets import Sheet, SheetStage
from retrieval.models.uploads import Upload
from retrieval.models.vectors import ClassArea, Descriptor, Mask, Region

__all__ = [
    "Analysis",
    "ApiToken",
    "ClassArea",
    "Collection",
    "DailyCount",
    "Descriptor",
    "Image",
    "ImageTag",
    "Mask",
    "Membership",
    "Region",
    "Release",
    "SavedSearch",
    "SemanticClass",
    "Sheet",
    "SheetStage",
    "Tag",
    "Upload",
]
