"""Speed, as ratios measured in one run. `make bench` runs everything and prints the table."""
