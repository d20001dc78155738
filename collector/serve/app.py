"""The web application: API, live events, documentation, page; who may use it, and how much."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi_standalone_docs import StandaloneDocs
from pydantic import BaseModel, SecretStr
from starlette.exceptions import HTTPException as StarletteHTTPException

from collector import __version__ as VERSION
from collector.errors import CollectorError, ConfigurationError
from collector.live.events import NOW, Selection
from collector.live.hub import Subscriber
from collector.serve import api
from collector.serve.answers import answer_of
from collector.serve.guard import COOKIE, LOOPBACK, Allowance, Guard
from collector.serve.models import EventBody
from collector.serve.push import HEARTBEAT_S, Live, cut_event, sse
from collector.settings import Settings

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
#: What a browser may do with the page: nothing of another host.
_POLICIES = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
#: The documentation has a script in its page.
_DOCS, _DOCS_POLICIES = ("/docs", "/redoc"), f"{_POLICIES}; script-src 'self' 'unsafe-inline'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_CODES = {401: "no_token", 404: "not_found", 405: "wrong_method", 429: "too_many_clients"}
#: Bytes of a request's body.
_BODY_MAX = 64 << 10
#: Subscriptions of one WebSocket.
_SELECTIONS_MAX = 100
#: Close codes of a WebSocket: the client broke the rules; try again later.
_POLICY, _LATER = 1008, 1013

Next = Callable[[Request], Awaitable[Response]]


class _Token(BaseModel):
    token: SecretStr


def create_app(url: str, settings: Settings) -> FastAPI:
    """Return the application.

    Args:
        url: of Redis.
    """
    own = settings.serve
    live = Live(url, settings)
    names = filter(None, map(str.strip, own.host_names.split(",")))
    guard = Guard([*LOOPBACK, own.host, *names], own.token.get_secret_value())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        live.start()
        yield
        await asyncio.to_thread(live.stop)

    app = FastAPI(
        title="Bithumb collector", version=VERSION, lifespan=lifespan,
        description="Stored results and live events. Decimals are text, times epoch ms UTC.",
    )  # fmt: skip
    StandaloneDocs(app=app)
    app.state.reader, app.state.settings, app.state.live = live.source.reader, settings, live
    _add_errors(app)

    @app.middleware("http")
    async def check(request: Request, call_next: Next) -> Response:
        refused = _refusal(guard, request)
        response = refused or await call_next(request)
        is_docs = request.url.path.startswith(_DOCS)
        response.headers["Content-Security-Policy"] = _DOCS_POLICIES if is_docs else _POLICIES
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.post("/v1/session", status_code=204, include_in_schema=guard.needs_token)
    def session(given: _Token) -> Response:
        """Take the token and return it as a cookie, for the page: scripts can't read it."""
        if not guard.knows(given.token.get_secret_value()):
            raise HTTPException(401, "that is not the token")
        response = Response(status_code=204)
        response.set_cookie(COOKIE, given.token.get_secret_value(), httponly=True, samesite="strict")
        return response

    app.include_router(api.router)
    _add_stream(app, live, settings)
    _add_socket(app, live, guard, settings)
    app.add_middleware(GZipMiddleware, minimum_size=1_000)

    @app.get("/assets/lightweight-charts.js", include_in_schema=False)
    def chart_library() -> Response:
        """Return the script of the charts out of the package that carries it."""
        script = (resources.files("litecharts") / "js" / "lightweight-charts.js").read_bytes()
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def _add_stream(app: FastAPI, live: Live, settings: Settings) -> None:
    @app.get(
        "/v1/stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}, "model": EventBody}, **api.ERRORS},
    )
    async def stream(
        request: Request,
        channels: Annotated[str, Query(examples=["trade,candle.1m"])],
        markets: Annotated[str, Query(examples=["KRW-BTC,KRW-E*"])] = "",
        start: Annotated[str, Query(description="now, earliest, an event's id, or a time")] = NOW,
    ) -> StreamingResponse:
        """Send live events as they happen (SSE); `Last-Event-ID` resumes after that event."""
        selection = await live.resolved(Selection.of(channels, markets))
        after = live.begin_at(request.headers.get("last-event-id") or start)
        _check_room(live, settings)
        subscriber = Subscriber(settings.serve.queue_max)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        events = sse(live, subscriber, selection, after)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _add_socket(app: FastAPI, live: Live, guard: Guard, settings: Settings) -> None:
    @app.websocket("/v1/ws")
    async def ws(socket: WebSocket) -> None:
        headers = socket.headers
        if not (guard.is_ours(headers.get("host", "")) and guard.may(headers)) or not guard.is_same_origin(
            headers.get("host", ""), headers.get("origin")
        ):
            await socket.close(_POLICY)  # before it is accepted: HTTP 403
            return
        await socket.accept()
        if len(live.hub) >= settings.serve.clients_max:
            await socket.close(_LATER, "too many clients")
            return
        await _Talk(socket, live, settings).run()


class _Talk:
    """One WebSocket."""

    def __init__(self, socket: WebSocket, live: Live, settings: Settings) -> None:
        self._socket = socket
        self._live = live
        self._subscriber = Subscriber(settings.serve.queue_max)
        self._allowance = Allowance(settings.serve.messages_per_s, settings.serve.messages_per_s * 5)
        self._tasks: set[asyncio.Task[None]] = set()
        #: One subscription catches up at a time, so that none gives what another has given.
        self._catching_up = asyncio.Lock()

    async def run(self) -> None:
        """Take messages and send events until the client is gone or was too slow."""
        self._live.hub.join(self._subscriber)
        sending = asyncio.create_task(self._send_events())
        receiving = asyncio.create_task(self._receive())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._subscriber.close()
            self._live.hub.detach(self._subscriber)
            for task in (sending, receiving, *self._tasks):
                task.cancel()
            await asyncio.gather(sending, receiving, *self._tasks, return_exceptions=True)

    async def _receive(self) -> None:
        try:
            while True:
                text = await self._socket.receive_text()
                if not self._allowance.take(time.monotonic()):
                    await self._refuse("too_many_messages", "slow down")
                    await self._socket.close(_POLICY, "too many messages")
                    return
                await self._take(text)
        except (WebSocketDisconnect, RuntimeError, KeyError):
            return  # KeyError: a binary message has no text

    async def _take(self, text: str) -> None:
        try:
            message = msgspec.json.decode(text)
            op = message["op"]
        except (msgspec.DecodeError, TypeError, KeyError):
            await self._refuse(
                "invalid_message", 'send {"op":"subscribe","channels":["trade"],"markets":["KRW-BTC"]}'
            )
            return
        if op == "ping":
            await self._say({"op": "pong", "now_ms": round(time.time() * 1000)})
        elif op in ("subscribe", "unsubscribe"):
            try:
                selection = Selection.of(_texts(message, "channels"), _texts(message, "markets"))
                await (self._subscribe if op == "subscribe" else self._unsubscribe)(selection, message)
            except CollectorError as error:
                await self._refuse(answer_of(error).code, str(error))
        else:
            await self._refuse("invalid_message", "op is subscribe, unsubscribe or ping")

    async def _subscribe(self, selection: Selection, message: dict[str, Any]) -> None:
        if len(self._subscriber.selections) + len(self._tasks) >= _SELECTIONS_MAX:
            await self._refuse("too_many_subscriptions", f"at most {_SELECTIONS_MAX}: use lists and patterns")
            return
        start = message.get("start", NOW)
        after = self._live.begin_at(start if isinstance(start, str) else "?")
        selection = await self._live.resolved(selection)
        self._live.begin(self._subscriber, selection, after)
        await self._say(
            {"op": "subscribed", "channels": sorted(selection.channels), "markets": [*selection.markets]}
        )
        task = asyncio.create_task(self._follow(selection, after))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, selection: Selection, after: Any) -> None:  # noqa: ANN401 - a position or None
        try:
            async with self._catching_up:
                await self._live.fill(self._subscriber, selection, after)
        except CollectorError as error:
            await self._refuse(answer_of(error).code, str(error))

    async def _unsubscribe(self, selection: Selection, _: dict[str, Any]) -> None:
        selection = await self._live.resolved(selection)
        self._live.hub.detach(self._subscriber, selection)
        await self._say(
            {"op": "unsubscribed", "channels": sorted(selection.channels), "markets": [*selection.markets]}
        )

    async def _send_events(self) -> None:
        subscriber = self._subscriber
        try:
            while not subscriber.is_over:
                for event in await subscriber.events(HEARTBEAT_S):
                    await self._socket.send_text(event.text)
            if subscriber.is_cut:
                await self._socket.send_text(cut_event(subscriber, self._live.hub.position).text)
                await self._socket.close(_LATER, "too slow: resume")
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _say(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(msgspec.json.encode(message).decode())

    async def _refuse(self, code: str, why: str) -> None:
        await self._say({"op": "error", "code": code, "message": why})


def _texts(message: dict[str, Any], name: str) -> list[str]:
    found = message.get(name, [])
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigurationError(f"{name} is a list of texts")
    return found


def _check_room(live: Live, settings: Settings) -> None:
    if len(live.hub) >= settings.serve.clients_max:
        raise HTTPException(429, f"{settings.serve.clients_max} clients are connected: try again later")


def _refusal(guard: Guard, request: Request) -> Response | None:
    headers = request.headers
    host = headers.get("host", "")
    if not guard.is_ours(host):
        return _problem(403, "wrong_host", f"not called {host[:80]!r}: add it to COLLECTOR_SERVE__HOST_NAMES")
    if request.method not in ("GET", "HEAD") and not guard.is_same_origin(host, headers.get("origin")):
        return _problem(403, "wrong_origin", "only our own page may do this")
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or int(length or 0) > _BODY_MAX:
        return _problem(413, "too_large", f"send Content-Length, and at most {_BODY_MAX} bytes")
    if request.url.path.startswith("/v1/") and request.url.path != "/v1/session" and not guard.may(headers):
        answer = _problem(401, "no_token", "send `Authorization: Bearer …` with COLLECTOR_SERVE__TOKEN")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    return None


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(CollectorError)
    async def ours(_: Request, error: CollectorError) -> Response:
        return _problem(*answer_of(error), str(error))

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> Response:
        code = _CODES.get(error.status_code, "refused")
        answer = _problem(error.status_code, code, str(error.detail))
        answer.headers.update(error.headers or {})  # of a wrong method: those that are allowed
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return _problem(422, "invalid_request", "; ".join(found)[:500])


def _problem(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
