"""The way in: handshakes let through or refused, REST calls answered on the same port."""

import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from collector.simulator.fault_injector import FaultInjector
from collector.simulator.options import SimulatorOptions
from collector.simulator.rate_limits import RateLimiter
from collector.simulator.rest import Reply, category
from collector.simulator.rules import Rules

#: Status and body of a REST call that is one too many, by the rule `limit`.
OVER_LIMIT = {
    "429": (429, ""),
    "error": (200, '{"error":{"name":429,"message":"Too many API requests."}}'),
    "error-text": (200, '{"error":{"name":"too_many_requests","message":"요청 수 제한을 초과했습니다."}}'),
}


class HttpFront:
    """Answers every HTTP request. Counts `refused_429`, `refused_503`, `rest_calls`, `rest_refused`."""

    def __init__(
        self,
        options: SimulatorOptions,
        rules: Rules,
        injector: FaultInjector,
        counters: Counter[str],
        sockets: frozenset[str],
        answer: Callable[[str], Reply],
        now_s: Callable[[], float],
    ) -> None:
        self._limit = options.rest_requests_per_s
        self._over_limit = OVER_LIMIT[rules.limit]
        self._injector = injector
        self._counters = counters
        self._sockets = sockets
        self._answer = answer
        self._now_s = now_s
        self._gatekeeper = RateLimiter(options)

    def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """Let a handshake through (None), refuse it, or answer a REST call."""
        address = str(socket.remote_address[0]) if socket.remote_address else ""
        if path_of(request) not in self._sockets:
            return self._call(address, request.path)
        status = self._refusal(address)
        if status is None:
            return None
        self._counters[f"refused_{status}"] += 1
        return _response(status, "", {})

    def _refusal(self, address: str) -> int | None:
        for status in (429, 503):
            if self._injector.is_on(f"reject{status}", self._now_s()):
                return status
        return None if self._gatekeeper.admits(address, time.monotonic()) else 429

    def _call(self, address: str, target: str) -> Response:
        self._counters["rest_calls"] += 1
        for status in (429, 503):
            if self._injector.is_on(f"rest{status}", self._now_s()):
                self._counters["rest_refused"] += 1
                return _response(status, "", {})
        if self._injector.is_on("rest-limit", self._now_s()):
            self._counters["rest_refused"] += 1
            return _response(*self._over_limit, {})
        left = self._gatekeeper.calls_left(address, category(target), time.monotonic())
        headers = {
            "x-ratelimit-remaining": str(left or 0),
            "x-ratelimit-requested-tokens": "1",
            "x-ratelimit-burst-capacity": str(self._limit),
            "x-ratelimit-replenish-rate": str(self._limit),
        }
        if left is None:
            self._counters["rest_refused"] += 1
            return _response(*self._over_limit, headers)
        reply = self._answer(target)
        return _response(reply.status, reply.body, headers)


def path_of(request: Request) -> str:
    """Return a request's path without its query."""
    return request.path.partition("?")[0]


def _response(status: int, body: str, headers: dict[str, str]) -> Response:
    content = body.encode()
    fields = {
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        "Content-Length": str(len(content)),
        "Content-Type": "application/json;charset=UTF-8",
        **headers,
    }
    return Response(status, HTTPStatus(status).phrase, Headers(fields), content)
