"""Views: plain, synchronous, and without a word of Tenuto: they hand orders over by saving them."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_POST

from shop.models import Order


@require_POST
def orders(request: HttpRequest) -> JsonResponse:
    """Take an order.

    It is saved in the transaction of whatever else the request does: with it the order is handed over,
    without it there is none. `run_workflows` starts it.
    """
    try:
        order = Order(article=request.POST["article"], quantity=int(request.POST["quantity"]))
    except (KeyError, ValueError):
        return JsonResponse({"error": "article and quantity are needed"}, status=HTTPStatus.BAD_REQUEST)
    order.save()
    return JsonResponse({"number": order.pk}, status=HTTPStatus.ACCEPTED)


@require_GET
def order(_: HttpRequest, number: int) -> JsonResponse:
    """Tell how far an order is: its steps write that into its row."""
    found = get_object_or_404(Order, pk=number)
    return JsonResponse({"number": found.pk, "state": found.state, "parcel": found.parcel or None})
