// Notes over HTTP: GET reads them, POST saves one, anything else is not allowed.
//
// The event is an HTTP request as a gateway hands it over (API Gateway's proxy format, 1.0 or 2.0). The notes are
// lines of JSON in a file on a durable directory that all instances share, mounted at /mnt/notes by
// FileSystemConfigs: one append of one line is atomic, so instances need no lock. (SQLite is in Node from
// version 22 on; the Python twin of this example, app.py, uses it.)

import fs from "node:fs";
import path from "node:path";
import { randomUUID } from "node:crypto";

const FILE = path.join(process.env.NOTES_DIRECTORY ?? "/mnt/notes", "notes.jsonl");
const LONGEST_NOTE = 10_000;

export const handler = async (event) => {
  const method = event.httpMethod ?? event.requestContext?.http?.method;
  if (method === "GET") return answer(200, { notes: read() });
  if (method === "POST") {
    const text = noteText(event);
    if (text === undefined) {
      return answer(400, { error: `send {"text": "..."} with 1 to ${LONGEST_NOTE} characters` });
    }
    const note = { id: randomUUID(), text, created: new Date().toISOString() };
    save(note);
    console.log("saved note", note.id);
    return answer(201, { id: note.id, text });
  }
  return answer(405, { error: "only GET and POST are allowed" }, { Allow: "GET, POST" });
};

function read() {
  let text;
  try {
    text = fs.readFileSync(FILE, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

function save(note) {
  const file = fs.openSync(FILE, "a");
  try {
    fs.writeSync(file, JSON.stringify(note) + "\n");
    fs.fsyncSync(file); // On disk before the answer says so.
  } finally {
    fs.closeSync(file);
  }
}

function noteText(event) {
  try {
    const body = event.isBase64Encoded ? Buffer.from(event.body, "base64").toString() : event.body;
    const { text } = JSON.parse(body);
    return typeof text === "string" && text.length > 0 && text.length <= LONGEST_NOTE ? text : undefined;
  } catch {
    return undefined;
  }
}

function answer(statusCode, body, headers = {}) {
  return { statusCode, headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) };
}
