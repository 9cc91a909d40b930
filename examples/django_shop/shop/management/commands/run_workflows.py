"""`manage.py run_workflows`: carry out orders until SIGTERM or Ctrl-C, and next time the rest."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from shop.models import Order
from shop.steps import with_database
from shop.workflows import fulfil
from tenuto import App, TenutoError

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Opens the App and drives its runs: the one process that does, beside any number of web servers."""

    help = "Carry out orders until SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until somebody says to stop."""
        try:
            asyncio.run(work())
        except TenutoError as error:
            raise CommandError(f"{error.message}\n{error.hint or ''}".strip()) from None


async def work() -> None:
    """Drive runs, and start those of new orders."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with App(workflows=[fulfil], database=settings.WORKFLOWS_DATABASE) as app:
        logger.info("running")
        while not stop.is_set():
            await start_new_orders(app)
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.LOOK_FOR_ORDERS_SECONDS):
                    await stop.wait()
    logger.info("stopped")


async def start_new_orders(app: App) -> None:
    """Start the runs of orders that have none.

    If this process ends between start and mark, the order is still new and is started again next time:
    by then its run is there, and a second one of that id never begins.
    """
    for order in await asyncio.to_thread(new_orders):
        await app.start(fulfil, order.pk, id=order.run)
        await asyncio.to_thread(mark_started, order.pk)


@with_database
def new_orders() -> list[Order]:
    """Return the orders that have no run yet."""
    return list(Order.objects.filter(state=Order.State.NEW).order_by("pk"))


@with_database
def mark_started(number: int) -> None:
    """Note that an order has its run, unless a step was faster."""
    Order.objects.filter(pk=number, state=Order.State.NEW).update(state=Order.State.STARTED)
