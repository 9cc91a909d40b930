"""Tenuto inside other programs: Apps by themselves, in FastAPI, in Django."""
