"""Django's commands for this project.

python manage.py migrate
python manage.py start_order teapot 2
python manage.py run_workflows
"""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    execute_from_command_line(sys.argv)
