"""What the shop knows of its orders."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """An order. Whoever saves one with state `new` has handed it over to `run_workflows`."""

    class State(models.TextChoices):
        """How far it is."""

        NEW = "new"
        STARTED = "started"
        PACKED = "packed"
        SENT = "sent"

    article = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.NEW, db_index=True)
    parcel = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.quantity} {self.article}, {self.state}"

    @property
    def run(self) -> str:
        """The id of the order's run."""
        return f"order-{self.pk}"
