"""Bytes from the exchange to the model and back; pure, no sockets."""
