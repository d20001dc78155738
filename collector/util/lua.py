"""Lua scripts, each a file in the folder `lua` of the package that uses it."""

from importlib.resources import files


def read_script(package: str, name: str) -> str:
    """Return the text of `lua/{name}.lua` in `package`."""
    return files(package).joinpath("lua", f"{name}.lua").read_text()
