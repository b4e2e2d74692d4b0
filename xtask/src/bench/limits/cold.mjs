// The cold limit for Node.js: a bare interpreter imports the handler's module and answers one event over a pipe.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { handler } = await import(pathToFileURL(`${process.argv[2]}/index.mjs`));
process.stdout.write(`${await handler(readFileSync(0, "utf8").trimEnd())}\n`);
