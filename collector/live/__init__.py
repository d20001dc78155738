"""Live events: the event stream and the newest states, to any number of subscribers."""
