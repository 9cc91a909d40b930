"""Settings: as few as Django allows, and where the workflows' runs are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DATA: Final = Path(os.environ.get("SHOP_DATA", Path(__file__).resolve().parent.parent))
"""The folder of both databases."""

SECRET_KEY: Final = os.environ.get("SHOP_SECRET_KEY", "only for trying it out")
INSTALLED_APPS: Final = ["shop"]
MIDDLEWARE: Final = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF: Final = "project.urls"
USE_TZ: Final = True
DEFAULT_AUTO_FIELD: Final = "django.db.models.BigAutoField"
DATABASES: Final = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "shop.db",
        # Views and steps write at the same time: take the lock first, and wait for it.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}

WORKFLOWS_DATABASE: Final = DATA / "workflows.db"
"""The file that `run_workflows` keeps runs in. It is Tenuto's own: never one of `DATABASES`."""

LOOK_FOR_ORDERS_SECONDS: Final = 0.5
"""How often `run_workflows` looks for new orders."""

LOGGING: Final = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"shop": {"handlers": ["console"], "level": "INFO"}},
}
