"""Django's settings. Everything that differs between installations comes from `env`."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF

from control_plane.common.logs import logging_config
from control_plane.config.env import read_or_exit
from control_plane.config.openapi import SPECTACULAR_SETTINGS  # noqa: F401 - a Django setting

ENV = read_or_exit(os.environ)

BASE_DIR = Path(__file__).resolve().parents[1]
SECRET_KEY = ENV.secret_key
DEBUG = ENV.debug
ALLOWED_HOSTS = list(ENV.allowed_hosts)

SNAPSHOT_KEY = ENV.snapshot_key
NODE_TOKEN_KEYS = ENV.node_token_keys
NODE_ADDRESS_POLICY = ENV.address_policy
REGISTRIES = ENV.registries
REDIS_URL = ENV.redis_url
DATA_DIR = ENV.data_dir
ADMIN_PASSWORD = ENV.admin_password  # of the first operator; read by `manage.py bootstrap` only
PUBLIC_SCHEMA = ENV.public_schema
TRUSTED_PROXIES = ENV.trusted_proxies
CONTROL_BIND = ENV.control_bind
JOB_RETENTION_DAYS = ENV.job_retention_days

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "django_filters",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "control_plane.common",
    "control_plane.revisions",
    "control_plane.accounts",
    "control_plane.proxy_config",
    "control_plane.nodes",
    "control_plane.publishing",
    "control_plane.jobs",
    "control_plane.state",
]

MIDDLEWARE = [
    "control_plane.common.middleware.RequestIdMiddleware",
    "control_plane.common.middleware.JsonErrorMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "control_plane.config.urls"
WSGI_APPLICATION = "control_plane.config.wsgi.application"
APPEND_SLASH = False  # a redirected POST loses its body; both forms are routed instead

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

DATABASES = {"default": ENV.database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# No shared cache: what must hold across processes stands in the database or in Redis by name.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # serves without a collectstatic step
WHITENOISE_AUTOREFRESH = DEBUG

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # the largest honest request is a few kilobytes

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["control_plane.accounts.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["control_plane.common.permissions.RolePermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["control_plane.common.parsers.StrictJsonParser"],
    "DEFAULT_PAGINATION_CLASS": "control_plane.common.pagination.LimitOffset",
    "DEFAULT_FILTER_BACKENDS": [
        "control_plane.common.filters.StrictFilterBackend",
        "control_plane.common.filters.StrictSearchFilter",
        "control_plane.common.filters.StrictOrderingFilter",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "control_plane.accounts.denials.exception_handler",
    "DEFAULT_VERSIONING_CLASS": None,
    "NUM_PROXIES": ENV.trusted_proxies,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "UPDATE_LAST_LOGIN": False,
    "ALGORITHM": "HS256",
    "SIGNING_KEY": ENV.jwt_key,
    "ISSUER": "aivonx-control-plane",
    "AUDIENCE": "aivonx-control-plane",
    "LEEWAY": timedelta(seconds=30),
    "CHECK_USER_IS_ACTIVE": True,
    "CHECK_REVOKE_TOKEN": True,
    "AUTH_HEADER_TYPES": ("Bearer",),
}

CORS_ALLOWED_ORIGINS = list(ENV.cors_origins)
CORS_ALLOW_HEADERS = [*default_headers, "if-match", "x-request-id"]
CORS_EXPOSE_HEADERS = ["ETag", "Location", "Retry-After", "X-Request-ID"]
CSRF_TRUSTED_ORIGINS = list(ENV.csrf_trusted_origins)

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENV.https
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 31_536_000 if ENV.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENV.https
SECURE_REDIRECT_EXEMPT = [r"^(?:livez|readyz|healthz)/?$"]  # probes from beside us
if ENV.https and ENV.trusted_proxies:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CELERY_APP = "control_plane.config.celery.app"  # by name: `common` wakes tasks without importing it
CSRF_FAILURE_VIEW = "control_plane.common.views.forbidden"

LOGGING_CONFIG = "control_plane.common.logs.configure"
LOGGING = logging_config(ENV.log_format, ENV.log_level)
