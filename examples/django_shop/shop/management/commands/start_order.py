"""`manage.py start_order teapot 2`: take an order on the command line."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shop.models import Order


class Command(BaseCommand):
    """Hands an order over as the view does."""

    help = "Take an order; run_workflows carries it out."

    def add_arguments(self, parser: CommandParser) -> None:
        """Ask for what is ordered."""
        parser.add_argument("article")
        parser.add_argument("quantity", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        """Save the order."""
        order = Order.objects.create(article=options["article"], quantity=options["quantity"])
        self.stdout.write(str(order))
