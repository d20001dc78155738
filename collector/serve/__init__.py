"""`collector serve`: results over HTTP, live events over SSE and WebSocket, and the page."""
