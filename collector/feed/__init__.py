"""Live events: sockets, their sessions, and what fills the gaps between them."""
