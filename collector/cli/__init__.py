"""What the `collector` commands do, a module each; imported only when their command runs."""


def main() -> None:
    """Run the command line: the console script `collector`."""
    from collector.cli import entry

    entry.main()
