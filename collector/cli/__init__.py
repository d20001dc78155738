"""What the `collector` commands do, a module each; imported only when their command runs."""
