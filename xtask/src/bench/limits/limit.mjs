// The limit for Node.js: the same handler behind Node's own HTTP server, in one process, without any wall.
import http from "node:http";

const handler = async (event) => event;

if (process.argv[2] === "cold") {
  console.log(JSON.stringify(await handler(JSON.parse(process.argv[3]))));
} else {
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", async () => {
      const body = JSON.stringify(await handler(JSON.parse(Buffer.concat(chunks).toString())));
      response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
      response.end(body);
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}
