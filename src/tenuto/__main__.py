"""Lets `python -m tenuto` be the `tenuto` command."""

from tenuto.app import main

main()
