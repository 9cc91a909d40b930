"""The shop's own tests: `python manage.py test`."""

from __future__ import annotations

from django.test import TestCase

from shop.models import Order
from shop.workflows import pack, send
from tenuto import StepContext
from tenuto.authoring.step_context import inside_step


class Views(TestCase):
    """What customers can do."""

    def test_an_order_is_handed_over(self) -> None:
        """It is saved as new, and can be asked for; `run_workflows` does the rest."""
        answer = self.client.post("/orders/", {"article": "teapot", "quantity": "2"})
        number = answer.json()["number"]
        assert answer.status_code == 202
        found = self.client.get(f"/orders/{number}/").json()
        assert {"number": number, "state": "new", "parcel": None} == found

    def test_half_an_order_is_refused(self) -> None:
        """Nothing is saved."""
        assert self.client.post("/orders/", {"article": "teapot"}).status_code == 400
        assert Order.objects.count() == 0


class Steps(TestCase):
    """Steps are plain functions: what they are made of can be called."""

    def test_doing_it_again_changes_nothing(self) -> None:
        """After a crash a step is done again, with the same key."""
        order = Order.objects.create(article="teapot", quantity=2)
        with inside_step(StepContext("order-1", "/send", 1, "key")):
            for _ in range(2):
                pack.function(order.pk)
                send.function(order.pk)
        order.refresh_from_db()
        assert (order.state, order.parcel) == ("sent", "parcel of key")
