"""Django's settings; every value that may differ between installations comes from `retrieval.env`."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from retrieval import env

BASE_DIR = env.ROOT
HOME = env.folder("PAYSAGE_HOME")
DEBUG = env.flag("PAYSAGE_DEBUG")
SECURE = env.flag("PAYSAGE_SECURE")


def _secret_key() -> str:
    given = env.text("PAYSAGE_SECRET_KEY")
    if given:
        return given
    path = HOME / "secret_key"
    if not path.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(60))
    return path.read_text()


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "postgres",
        "USER": unquote(parts.username or "postgres"),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **options},
    }


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = env.words("PAYSAGE_HOSTS")
CSRF_TRUSTED_ORIGINS = env.words("PAYSAGE_ORIGINS")
DATABASES = {"default": _database(env.text("DATABASE_URL"))}
REDIS_URL = env.text("REDIS_URL")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "import_export",
    "retrieval",
    "workers",
]
MIDDLEWARE = [
    "retrieval.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "retrieval.middleware.RequestIdMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "retrieval.urls"
WSGI_APPLICATION = "retrieval.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator")
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "retrieval" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

STATIC_URL = "/static/"
STATIC_ROOT = HOME / "static"
# Client libraries, installed by npm beside the Python packages (see the Makefile), served as they are.
WEB_PACKAGES = Path(sys.prefix) / "web" / "node_modules"
STATICFILES_DIRS = [
    (f"vendor/{name}", WEB_PACKAGES / folder)
    for name, folder in (("tus", "tus-js-client/dist"), ("panzoom", "@panzoom/panzoom/dist"))
    if (WEB_PACKAGES / folder).is_dir()
]
MEDIA_ROOT = HOME / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
FILE_UPLOAD_HANDLERS = ["retrieval.upload_handlers.LimitedTemporaryFileHandler"]
MAX_UPLOAD_BYTES = env.number("PAYSAGE_MAX_UPLOAD_BYTES")
MAX_ARCHIVE_BYTES = env.number("PAYSAGE_MAX_ARCHIVE_BYTES")
WEBHOOK_PRIVATE = env.flag("PAYSAGE_WEBHOOK_PRIVATE")
REJECTED_KEPT_DAYS = 7
QUERY_KEPT_HOURS = 24

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "retrieval.api.authentication.ApiTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "retrieval.api.schema.EndpointSchema",
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "retrieval.api.errors.exception_handler",
    # Behind HTTPS one proxy says whose request it is; otherwise nobody is believed about that.
    "NUM_PROXIES": 1 if SECURE else 0,
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "sign_in": "10/min",
        "user": f"{env.number('PAYSAGE_REQUESTS_PER_MINUTE')}/min",
    },
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Paysage",
    "DESCRIPTION": "Finds photographs by scene: what is in them, how much of it, and where.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_PATCH": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "/static/paysage/icon.svg",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "retrieval.api.schema.complete",
    ],
    "ENUM_NAME_OVERRIDES": {
        "AnalysisState": "retrieval.models.Analysis.State",
        "PairState": "retrieval.models.NearDuplicate.State",
        "TokenScope": "retrieval.models.ApiToken.Scope",
    },
}

UNFOLD = {
    "SITE_TITLE": "Paysage",
    "SITE_HEADER": "Paysage",
    "SITE_URL": "/",
    "SITE_ICON": "/static/paysage/icon.svg",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "/static/paysage/icon.svg"},
    ],
    "DASHBOARD_CALLBACK": "retrieval.admin.dashboard.dashboard",
    "SHOW_HISTORY": True,
    "SHOW_LANGUAGES": True,
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "retrieval.admin.navigation.navigation",
    },
    # the blue of the pages, as light and dark as the theme's own steps
    "COLORS": {
        "primary": {
            "50": "oklch(97.7% .012 245)",
            "100": "oklch(94.6% .026 245)",
            "200": "oklch(90.2% .05 245)",
            "300": "oklch(82.7% .085 245)",
            "400": "oklch(72% .105 245)",
            "500": "oklch(60% .11 245)",
            "600": "oklch(48% .1 245)",
            "700": "oklch(42% .09 245)",
            "800": "oklch(36% .075 245)",
            "900": "oklch(30% .06 245)",
            "950": "oklch(22% .045 245)",
        },
    },
}
IMPORT_EXPORT_USE_TRANSACTIONS = True

DEVICE = env.text("PAYSAGE_DEVICE")
# Whether the network computes in bfloat16; None for where that is fast.
BF16 = {"auto": None, "float32": False, "bfloat16": True}[
    env.choice("PAYSAGE_PRECISION", "auto", "float32", "bfloat16")
]
BATCH = env.number("PAYSAGE_BATCH")
LEASE_S = env.number("PAYSAGE_LEASE_S")
SWEEP_S = env.number("PAYSAGE_SWEEP_S")
STATISTICS_S = env.number("PAYSAGE_STATISTICS_S")
EXACT_ROWS = env.number("PAYSAGE_EXACT_ROWS")
SHARED_DATA: Path = env.folder("PAYSAGE_SHARED_DATA")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "paysage": {"level": "INFO"},
        "django.request": {"level": "ERROR"},
    },
}
