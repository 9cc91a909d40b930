"""The shop: its model, its views, its workflow, its commands."""
