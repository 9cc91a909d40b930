"""What happens to an order."""

from __future__ import annotations

import logging
from typing import Final

from shop.models import Order
from shop.steps import with_database
from tenuto import Retry, current_step, sleep, step, workflow

DRYING_SECONDS: Final = 0.5
"""How long the glue of a parcel dries."""

logger = logging.getLogger(__name__)


@step(retry=Retry(attempts=5, delay_seconds=0.2))
@with_database
def pack(number: int) -> None:
    """Pack an order; one that is packed already stays as it is, so that doing it again does no harm."""
    waiting = Order.objects.filter(pk=number, state__in=[Order.State.NEW, Order.State.STARTED])
    if waiting.update(state=Order.State.PACKED):
        logger.info("order %s is packed", number)


@step(retry=Retry(attempts=5, delay_seconds=0.2))
@with_database
def send(number: int) -> str:
    """Send an order; the key is the same whenever this is done again, and so is the parcel."""
    parcel = f"parcel of {current_step().idempotency_key}"
    Order.objects.filter(pk=number).update(state=Order.State.SENT, parcel=parcel)
    logger.info("order %s is sent", number)
    return parcel


@workflow
async def fulfil(number: int) -> str:
    """Carry out the order of this number; return its parcel."""
    await pack(number)
    await sleep(DRYING_SECONDS)
    return await send(number)
