"""Results for people: numbers, times and tables in the terminal, pictures in files. Pure: values in, text out."""
