"""The tables. Every table that grows with images carries its `collection`."""

from retrieval.models.access import ApiToken
from retrieval.models.analyses import Analysis
from retrieval.models.collections import Collection, Membership
from retrieval.models.counts import DailyCount
from retrieval.models.idempotency import IdempotentRequest
from retrieval.models.images import Image, ImageTag, Tag
from retrieval.models.release_jobs import ReleaseJob
from retrieval.models.releases import Release, SemanticClass
from retrieval.models.searches import ResultPool, SavedSearch, SavedSearchLook
from retrieval.models.sheets import Sheet, SheetStage
from retrieval.models.statistics import MapPoint, NearDuplicate, Statistic
from retrieval.models.uploads import Upload
from retrieval.models.vectors import ClassArea, Descriptor, Mask, Region
from retrieval.models.webhooks import Delivery, Webhook

__all__ = [
    "Analysis",
    "ApiToken",
    "ClassArea",
    "Collection",
    "DailyCount",
    "Delivery",
    "Descriptor",
    "IdempotentRequest",
    "Image",
    "ImageTag",
    "MapPoint",
    "Mask",
    "Membership",
    "NearDuplicate",
    "Region",
    "Release",
    "ReleaseJob",
    "ResultPool",
    "SavedSearch",
    "SavedSearchLook",
    "SemanticClass",
    "Sheet",
    "SheetStage",
    "Statistic",
    "Tag",
    "Upload",
    "Webhook",
]
