"""Analysis tasks to call ad hoc."""
