#!/bin/sh
# prometheus_client 0.26.0: make_wsgi_app
#
# Guess:     a scrape target answers HEAD as it answers GET, without the body; load balancers and uptime checks look so.
# Behaviour: HEAD is refused with 405 and `Allow: OPTIONS,GET`; any path at all is answered with the metrics.
# So:        a server in front of the application turns HEAD into GET and drops the body, and checks the path itself.
#
# Seen:      GET /metrics 200, HEAD /metrics 405 OPTIONS,GET, GET /nonsense 200
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prometheus_client==0.26.0
"$folder/venv/bin/python" - <<'PYTHON'
from prometheus_client import CollectorRegistry, Counter, make_wsgi_app

registry = CollectorRegistry()
Counter("seen", "what was seen", registry=registry).inc()
app = make_wsgi_app(registry)


def ask(method: str, path: str) -> tuple[str, str]:
    head = []
    list(app({"REQUEST_METHOD": method, "PATH_INFO": path}, lambda *status: head.append(status)))
    status, headers = head[0]
    return status.split()[0], dict(headers).get("Allow", "")


get, head, other = ask("GET", "/metrics"), ask("HEAD", "/metrics"), ask("GET", "/nonsense")
print(f"GET /metrics {get[0]}, HEAD /metrics {' '.join(head)}, GET /nonsense {other[0]}")
assert (get[0], head, other[0]) == ("200", ("405", "OPTIONS,GET"), "200")
PYTHON
