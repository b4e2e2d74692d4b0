// A guest book as any Express application: nothing in it knows that it runs as a function.

const express = require("express");

const app = express();
const entries = [];

app.get("/", (request, response) => {
  response.send("<!doctype html><title>guest book</title><h1>guest book</h1><p>GET and POST /entries, GET /count/10</p>");
});

app.get("/entries", (request, response) => response.json(entries));

// Kept in this instance's memory: an application with users keeps it in a database.
app.post("/entries", express.json(), (request, response) => {
  const { name, text } = request.body ?? {};
  if (typeof name !== "string" || !name || typeof text !== "string" || !text) {
    return response.status(422).json({ error: 'send {"name": "...", "text": "..."}' });
  }
  entries.push({ name, text });
  response.status(201).json({ name, text });
});

// Bytes back as they came.
app.post("/echo", express.raw({ type: () => true, limit: "6mb" }), (request, response) => {
  response.type(request.get("content-type") ?? "application/octet-stream").send(request.body);
});

// A line of JSON for each number, while the client reads.
app.get("/count/:last", async (request, response) => {
  const pause = 1000 * Number(request.query.pause ?? 0.1);
  response.type("application/x-ndjson");
  for (let number = 1; number <= Number(request.params.last); number += 1) {
    response.write(JSON.stringify({ number }) + "\n");
    await new Promise((done) => setTimeout(done, pause));
  }
  response.end();
});

app.listen(Number(process.env.AWS_LWA_PORT ?? 8080), "127.0.0.1");
