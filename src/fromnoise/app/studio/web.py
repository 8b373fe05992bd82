"""The studio's URLs. Handlers are a line or two; the work is done by the modules that they call."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from fromnoise.app.studio import asking, results, theory, works
from fromnoise.app.studio.frames import finite
from fromnoise.app.studio.guard import Guard
from fromnoise.app.studio.house import House
from fromnoise.app.studio.uploads import LARGEST
from fromnoise.app.studio.worker import in_words
from fromnoise.errors import FromNoiseError

PAGE = Path(__file__).with_name("page")
PAGES = ("", "draw", "train", "inside", "theory", "edit", "measure")
_JSON, _DEEPEST = 2**20, 5


class Answer(JSONResponse):
    """A JSON response that is valid for data from any file: NaN and infinity become null."""

    def render(self, content: Any) -> bytes:
        try:
            return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
        except ValueError:
            return json.dumps(finite(content), separators=(",", ":")).encode()


def application(house: House, host: str, token: str | None) -> Starlette:
    """The studio as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        house.jobs.start()
        clock = asyncio.create_task(_ticking(house))
        try:
            yield
        finally:
            clock.cancel()
            house.jobs.close()

    api = {
        ("GET", "/api/state"): lambda r: house.state(),
        ("GET", "/api/start"): lambda r: house.about(),
        ("GET", "/api/runs/{run:path}/log"): lambda r: house.log(_run(r), _whole(r, "after")),
        ("GET", "/api/runs/{run:path}/about"): lambda r: house.run(_run(r)),
        ("POST", "/api/runs/{run:path}/pause"): lambda r: house.trainings.pause(_run(r)),
        ("POST", "/api/runs/{run:path}/stop"): lambda r: house.trainings.pause(_run(r), "stopped"),
        ("GET", "/api/recipes/{name}"): lambda r: asking.recipe(r.path_params["name"]),
        ("GET", "/api/sets"): lambda r: house.uploads.set_names(),
        ("GET", "/api/theory"): lambda r: theory.chapters(),
        ("GET", "/api/theory/{chapter}"): lambda r: theory.chapter(r.path_params["chapter"]),
    }
    with_body = {
        "/api/train": house.train,
        "/api/resume": house.resume,
        "/api/sets": lambda values: house.uploads.begin_set(str(values.get("name", "images"))).about(),
    }
    routes = [Route(path, _answering(what), methods=[method]) for (method, path), what in api.items()]
    routes += [Route(path, _taking(what), methods=["POST"]) for path, what in with_body.items()]
    routes += [
        Route("/api/ask/{kind}", _asked(house), methods=["POST"]),
        Route("/api/jobs/{kind}", _begun(house), methods=["POST"]),
        Route("/api/jobs/{number}/frames", _frames(house), methods=["GET"]),
        Route("/api/jobs/{number}", _cancelled(house), methods=["DELETE"]),
        Route("/api/jobs/{number}/result.png", _result(house), methods=["GET"]),
        Route("/api/runs/{run:path}/grids/{name}", _grid(house), methods=["GET"]),
        Route("/api/images", _image(house), methods=["POST"]),
        Route("/api/sets/{name}", _set_image(house), methods=["POST"]),
        Mount("/page", StaticFiles(directory=PAGE)),
        *[Route(f"/{name}", _page, methods=["GET"]) for name in PAGES],
        Route("/theory/{chapter}", _page, methods=["GET"]),
    ]
    handlers = {FromNoiseError: _said, OSError: _system, HTTPException: _http, ClientDisconnect: _gone, Exception: _bug}
    guard = Middleware(Guard, host=host, token=token)  # pyrefly: ignore[bad-argument-type]
    return Starlette(routes=routes, lifespan=lifespan, middleware=[guard], exception_handlers=handlers)


async def _ticking(house: House) -> None:
    """Once a second, start the next waiting training."""
    while True:
        await asyncio.sleep(1)
        try:
            await run_in_threadpool(house.tick)
        except Exception as error:  # a full disk may be free again in a minute
            in_words(error)


Handler = Callable[[Request], Awaitable[Response]]


def _answering(what: Callable[[Request], Any]) -> Handler:
    async def handle(request: Request) -> Response:
        return Answer(await run_in_threadpool(what, request))

    return handle


def _taking(what: Callable[[Mapping[str, Any]], Any]) -> Handler:
    async def handle(request: Request) -> Response:
        values = await _json(request)
        return Answer(await run_in_threadpool(what, values))

    return handle


def _asked(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind in works.names() and not works.get(kind).quick:
            raise FromNoiseError(f"{kind} is a job: use POST /api/jobs/{kind}")
        values = await _json(request)
        job = house.jobs.add(kind, values, await run_in_threadpool(house.places, kind, values))
        return Response(await house.jobs.answer(job), media_type="application/octet-stream")

    return handle


def _begun(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind in works.names() and works.get(kind).quick:
            raise FromNoiseError(f"{kind} is a question: use POST /api/ask/{kind}")
        values = await _json(request)
        places = await run_in_threadpool(house.places, kind, values)
        return Answer(house.jobs.add(kind, values, places).about())

    return handle


def _frames(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        job = house.jobs.get(_number(request))
        frames = house.jobs.frames(job, _whole(request, "from"))

        async def content() -> AsyncIterator[bytes]:
            async for frame in frames:
                yield frame
            yield results.last(job)

        return StreamingResponse(
            content(), media_type="application/octet-stream", headers={"cache-control": "no-store"}
        )

    return handle


def _cancelled(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        house.jobs.cancel(_number(request))
        return Answer({})

    return handle


def _result(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        job = house.jobs.get(_number(request))
        image = request.query_params.get("image", "all")
        content = await run_in_threadpool(results.png, job, image)
        name = f"{job.kind}-{job.number}.png"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="image/png", headers=headers)

    return handle


def _grid(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        content = await run_in_threadpool(house.grid, _run(request), request.path_params["name"])
        return Response(content, media_type="image/png", headers={"cache-control": "max-age=3600"})

    return handle


def _image(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        content = await _body(request, LARGEST)
        return Answer(await run_in_threadpool(house.uploads.add, content))

    return handle


def _set_image(house: House) -> Handler:
    async def handle(request: Request) -> Response:
        content, sent_as = await _body(request, LARGEST), request.query_params.get("as", "image")
        found = await run_in_threadpool(house.uploads.add_to_set, request.path_params["name"], sent_as, content)
        return Answer(found.about())

    return handle


async def _page(request: Request) -> Response:
    content = await run_in_threadpool((PAGE / "index.html").read_bytes)
    return Response(content, media_type="text/html; charset=utf-8", headers={"cache-control": "no-cache"})


def _run(request: Request) -> str:
    return request.path_params["run"]


def _number(request: Request) -> int:
    text = request.path_params["number"]
    if not (text.isdecimal() and text.isascii() and len(text) <= 15):
        raise HTTPException(404)
    return int(text)


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isdecimal() and text.isascii() and len(text) <= 15):
        raise FromNoiseError(f"{name} must be a whole number, got {text[:40]!r}")
    return int(text)


async def _body(request: Request, most: int) -> bytes:
    """Read the body of a request, at most `most` bytes.

    Raises:
        FromNoiseError: if the body is larger, or empty.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise FromNoiseError(f"the request is larger than the limit of {most / 2**20:g} MB")
        parts.append(part)
    if not size:
        raise FromNoiseError("the request is empty")
    return b"".join(parts)


async def _json(request: Request) -> dict[str, Any]:
    content = await _body(request, _JSON)
    try:
        values = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise FromNoiseError("the request is not valid JSON") from None
    if not isinstance(values, dict):
        raise FromNoiseError("the request must be a JSON object")
    if _is_deep(values, _DEEPEST):
        raise FromNoiseError("the request is nested too deeply")
    text = json.dumps(values, ensure_ascii=False)
    if "\\u0000" in text or text.encode(errors="replace").decode() != text:  # which no file name or command can contain
        raise FromNoiseError("the request has characters that are not text")
    return values


def _is_deep(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return not levels or any(_is_deep(v, levels - 1) for v in (value.values() if isinstance(value, dict) else value))


def _no_constant(text: str) -> float:
    raise ValueError(text)


async def _said(request: Request, error: Exception) -> Response:
    return Answer({"error": " ".join(str(error).split())}, 400)


async def _system(request: Request, error: Exception) -> Response:
    """Answer an OSError, such as a full disk or a folder that was deleted."""
    full = getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT)
    return Answer({"error": in_words(error)}, 507 if full else 500)


async def _http(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    words = {404: "there is nothing at this address", 405: "this address does not support that method"}
    if status == 404 and not request.url.path.startswith(("/api/", "/page/")):
        return await _page(request)
    return Answer({"error": words.get(status, str(getattr(error, "detail", error)))}, status)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _bug(request: Request, error: Exception) -> Response:
    said = f"this is a bug in fromnoise, not in your input ({type(error).__name__})"
    return Answer({"error": said}, 500)
