"""Notes over HTTP: GET reads them from a database, POST saves one, anything else is not allowed.

The event is an HTTP request as a gateway hands it over (API Gateway's proxy format, 1.0 or 2.0). The database
is SQLite on a durable directory that all instances share, mounted at /mnt/notes by FileSystemConfigs.
"""

import base64
import json
import os
import sqlite3

DATABASE = os.path.join(os.environ.get("NOTES_DIRECTORY", "/mnt/notes"), "notes.sqlite")
LONGEST_NOTE = int(os.environ.get("LONGEST_NOTE", "10000"))


def connect():
    """One connection per instance; instances wait for each other's writes."""
    connection = sqlite3.connect(DATABASE, timeout=2, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS notes ("
        " id INTEGER PRIMARY KEY,"
        " text TEXT NOT NULL,"
        " created TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')))"
    )
    return connection


connection = connect()


def handler(event, context):
    method = event.get("httpMethod") or event.get("requestContext", {}).get("http", {}).get("method")
    if method == "GET":
        rows = connection.execute("SELECT id, text, created FROM notes ORDER BY id").fetchall()
        return answer(200, {"notes": [{"id": row[0], "text": row[1], "created": row[2]} for row in rows]})
    if method == "POST":
        text = note_text(event)
        if text is None:
            return answer(400, {"error": 'send {"text": "..."} with 1 to %d characters' % LONGEST_NOTE})
        saved = connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))
        print("saved note", saved.lastrowid)
        return answer(201, {"id": saved.lastrowid, "text": text})
    return answer(405, {"error": "only GET and POST are allowed"}, {"Allow": "GET, POST"})


def import_note(event, context):
    """One note of an import, an asynchronous event {"text": "..."}: what it raises is retried, and then kept."""
    text = note_text({"body": json.dumps(event)})
    if text is None:
        raise ValueError("a note has 1 to %d characters" % LONGEST_NOTE)
    return {"id": connection.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid}


def note_text(event):
    body = event.get("body") or ""
    try:
        if event.get("isBase64Encoded"):
            body = base64.b64decode(body)
        text = json.loads(body)["text"]
    except (ValueError, KeyError, TypeError):
        return None
    return text if isinstance(text, str) and 0 < len(text) <= LONGEST_NOTE else None


def answer(status, body, headers=None):
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": json.dumps(body),
    }
