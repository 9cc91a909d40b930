"""Addresses."""

from __future__ import annotations

from django.urls import path
from shop.views import order, orders

urlpatterns = [path("orders/", orders), path("orders/<int:number>/", order)]
