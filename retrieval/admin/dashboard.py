"""Numbers and charts on the admin's first page."""

from __future__ import annotations

import json
import shutil
import uuid
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from retrieval.admin.base import bounded_count
from retrieval.counts import counts_since
from retrieval.models import Analysis, Image
from retrieval.queue import oldest_wait_s

DAYS = 30


def id_at(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of a moment: ids are ordered by time, so the primary key finds days."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def _days(values: dict[date, int]) -> tuple[list[str], list[int]]:
    today = timezone.localdate()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    return [day.strftime("%m-%d") for day in days], [values.get(day, 0) for day in days]


def _chart(label: str, values: dict[date, int]) -> str:
    labels, numbers = _days(values)
    return json.dumps(
        {
            "labels": labels,
            "datasets": [
                {"label": label, "data": numbers, "backgroundColor": "var(--color-primary-600)"}
            ],
        }
    )


def _uploads() -> dict[date, int]:
    since = timezone.now() - timedelta(days=DAYS)
    rows = Image.objects.filter(pk__gte=id_at(since), collection__kind="normal")
    by_day = rows.annotate(day=TruncDate("created_at")).order_by("day").values("day")
    return {row["day"]: row["n"] for row in by_day.annotate(n=Count("pk"))}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What templates/admin/index.html shows; no number here reads a whole table."""
    day = timezone.now() - timedelta(days=1)
    waiting = Analysis.objects.filter(state__in=("queued", "running")).aggregate(
        queued=Count("id", filter=Q(state="queued")), running=Count("id", filter=Q(state="running"))
    )
    ended = Analysis.objects.filter(state__in=("failed", "quarantined", "rejected"))
    failures = bounded_count(ended)
    disk = shutil.disk_usage(settings.HOME)
    searches = counts_since("searches", DAYS)
    jobs = reverse("jobs")
    oldest = oldest_wait_s()
    context["cards"] = [
        {
            "title": _("Pictures"),
            "value": f"{bounded_count(Image.objects.filter(collection__kind='normal')):,}",
            "note": _("%(n)d in the last day")
            % {"n": Image.objects.filter(pk__gte=id_at(day)).count()},
            "href": reverse("admin:retrieval_image_changelist"),
        },
        {
            "title": _("Queue"),
            "value": f"{waiting['queued'] + waiting['running']:,}",
            "note": _("oldest waits %(s)d s") % {"s": oldest} if oldest else _("nothing waits"),
            "href": jobs,
        },
        {
            "title": _("Not parsed"),
            "value": f"{failures:,}",
            "note": _("rejected, failed or set aside"),
            "href": f"{jobs}?state=failed",
        },
        {
            "title": _("Disk"),
            "value": filesizeformat(disk.free),
            "note": _("free of %(all)s") % {"all": filesizeformat(disk.total)},
            "href": "",
        },
        {
            "title": _("Searches"),
            "value": f"{searches.get(timezone.localdate(), 0):,}",
            "note": _("today; %(n)d in 30 days") % {"n": sum(searches.values())},
            "href": reverse("search"),
        },
    ]
    context["uploads_chart"] = _chart(_("Pictures uploaded"), _uploads())
    context["searches_chart"] = _chart(_("Searches"), searches)
    return context
