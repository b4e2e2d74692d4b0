"""A guest book as any FastAPI application: nothing in it knows that it runs as a function."""

import asyncio
import json

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field

app = FastAPI(title="guest book")
entries: list["Entry"] = []


class Entry(BaseModel):
    name: str = Field(min_length=1, max_length=80)
    text: str = Field(min_length=1, max_length=1_000)


@app.get("/", response_class=HTMLResponse)
def index() -> str:
    return "<!doctype html><title>guest book</title><h1>guest book</h1><p>GET and POST /entries, GET /count/10</p>"


@app.get("/entries")
def read() -> list[Entry]:
    return entries


@app.post("/entries", status_code=201)
def write(entry: Entry) -> Entry:
    """Kept in this instance's memory: an application with users keeps it in a database."""
    entries.append(entry)
    return entry


@app.post("/echo")
async def echo(request: Request) -> StreamingResponse:
    """Bytes back as they came."""
    return StreamingResponse(iter([await request.body()]), media_type=request.headers.get("content-type"))


@app.get("/count/{last}")
async def count(last: int, pause: float = 0.1) -> StreamingResponse:
    """A line of JSON for each number, while the client reads."""

    async def lines():
        for number in range(1, last + 1):
            yield json.dumps({"number": number}) + "\n"
            await asyncio.sleep(pause)

    return StreamingResponse(lines(), media_type="application/x-ndjson")
