"""Live events: sockets, their sessions, and what closes the holes between them."""
