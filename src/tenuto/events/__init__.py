"""What happens, as CloudEvents."""
