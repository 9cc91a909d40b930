"""A shop whose orders are durable workflows inside a FastAPI application."""
