"""`manage.py makemessages`: Django's own, which also knows the pages' `t("…")` and `tn("…", "…")`."""

from __future__ import annotations

from django.core.management.commands import makemessages


class Command(makemessages.Command):
    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=t", "--keyword=tn:1,2"]
