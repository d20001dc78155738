"""Results for people: numbers, times and tables in the terminal, pictures in files. Values in, text out."""
