"""`collector top`: the whole system and every market on a terminal, followed as they change (Textual)."""
