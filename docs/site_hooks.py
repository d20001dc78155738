"""Hooks of the docs site: the READMEs become pages; links to them lead there."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
READMES = {"README.md": "overview.md", "README.ko.md": "overview.ko.md"}
#: What the theme would load for search in files.
SHIM = "https://unpkg.com/iframe-worker/shim"
_LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401 - mkdocs' own type is untyped
    """Add a page for each README, and one that lists the decisions."""
    for source, page in READMES.items():
        files.append(File.generated(config, page, content=_of_readme((ROOT / source).read_text("utf-8"))))
    files.append(File.generated(config, "decisions/README.md", content=_list_of_decisions()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Point links to the READMEs at their pages; links to other files of the repository lead nowhere."""
    return _LINK.sub(_within_docs, markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:  # noqa: ANN401, ARG001 - mkdocs' own types
    """Load the script for search without a server from the site itself, not from the network."""
    if SHIM not in output:
        raise PluginError(f"{page.url} loads another script for search in files than {SHIM}")
    up = "../" * page.url.count("/")
    return output.replace(SHIM, f"{up}assets/file-search.js")


def on_post_template(output_content: str, **_: object) -> str:
    """Do the same for pages without a source, such as 404."""
    return output_content.replace(SHIM, "assets/file-search.js")


def _within_docs(link: re.Match[str]) -> str:
    target, anchor = link[1], link[2] or ""
    if not target.startswith("../") or target.startswith("../decisions"):
        return link[0]
    name = target.lstrip("./")
    if name in READMES:
        return f"]({READMES[name]}{anchor})"
    return link[0] if (ROOT / "docs" / name).exists() else "](#)"


def _list_of_decisions() -> str:
    lines = []
    for file in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title = file.read_text("utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({file.name})")
    return "\n".join(["# Decisions", "", *lines, ""])


def _of_readme(text: str) -> str:
    """Return a README with its links seen from `docs/`."""

    def seen_from_docs(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if target in READMES:
            return f"]({READMES[target]}{anchor})"
        if target.rstrip("/") == "docs/decisions":
            return "](decisions/README.md)"
        if target.startswith("docs/"):
            return f"]({target.removeprefix('docs/')}{anchor})"
        return f"](README.md{anchor})" if not target.startswith("http") else link[0]

    return _LINK.sub(seen_from_docs, text)
