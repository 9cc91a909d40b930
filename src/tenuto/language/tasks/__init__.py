"""What each kind of task does; what all tasks have in common stands in `fold`."""
