"""One listener process: what its parts are made of, and how they are put together."""
