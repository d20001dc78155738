#!/bin/sh
# mkdocs-material 9.8.2 with mkdocs 1.6.1: the plugin `offline`
#
# Guess:     a site that is built with the plugin `offline`, for reading without a network, loads nothing from one.
# Behaviour: each page has a script that is loaded from a public content network when the page is opened as a file.
#            Without a network that script is missing, and search, which is what it is for, does not come up.
# So:        a site that has to work from a disk needs that script in its own assets; check the built pages for hosts.
#
# Seen:      index.html has 1 script of another host
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mkdocs==1.6.1 mkdocs-material==9.8.2
mkdir "$folder/docs"
echo "# A page" >"$folder/docs/index.md"
cat >"$folder/mkdocs.yml" <<'YAML'
site_name: a site
use_directory_urls: false
theme: { name: material, font: false }
plugins: [offline, search]
YAML
"$folder/venv/bin/mkdocs" build --quiet --config-file "$folder/mkdocs.yml" --site-dir "$folder/site" 2>/dev/null
"$folder/venv/bin/python" - "$folder/site/index.html" <<'PYTHON'
import re
import sys

page = open(sys.argv[1], encoding="utf-8").read()
scripts = re.findall(r"""["'](https://[^"']+/iframe-worker/[^"']*)["']""", page)
print(f"index.html has {len(scripts)} script of another host")
assert len(scripts) == 1
PYTHON
