"""One machine: its processes, its Redis, its log lines, and the port for metrics."""
