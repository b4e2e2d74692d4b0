// Compiles the large CommonJS files of a function's package, so that its cold starts need not.
//
// Run in a sandbox of its own when a package is new, with the options its instances run with: V8 takes code only from a V8
// with the same ones. Compiling does not execute anything of the package. Writes a ZIP of V8 code caches to standard
// output, each after its SHA-256, named as bootstrap.cjs looks for them.

"use strict";

const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const v8 = require("node:v8");
const vm = require("node:vm");

const ROOT = process.argv[2];
const SECONDS = 40;
// What bootstrap.cjs looks for; reading a cache for less costs what it saves.
const LEAST_BYTES = 32 * 1024;
const SOURCE_BYTES = 16 * 1024 * 1024;
const OUTPUT_BYTES = 48 * 1024 * 1024;
const Module = module.constructor;
const MAJOR = Number(process.versions.node.split(".")[0]);

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function write(bytes) {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(1, bytes, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(sleeper, 0, 0, 1);
    }
  }
}

// --- ZIP, without compression (APPNOTE 4.3) -----------------------------------------------------------------

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function checksum(bytes) {
  let value = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) value = TABLE[(value ^ bytes[at]) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

const records = [];
let written = 0;

function add(name, content) {
  const title = Buffer.from(name);
  const common = Buffer.alloc(26);
  common.writeUInt16LE(20, 0); // Version needed; then flags: names are UTF-8.
  common.writeUInt16LE(0x800, 2);
  common.writeUInt32LE(checksum(content), 10);
  common.writeUInt32LE(content.length, 14);
  common.writeUInt32LE(content.length, 18);
  common.writeUInt16LE(title.length, 22);
  const place = Buffer.alloc(14);
  place.writeUInt32LE(written, 10);
  records.push(Buffer.concat([Buffer.from("PK\x01\x02\x14\0", "latin1"), common, place, title]));
  const entry = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), common, title, content]);
  written += entry.length;
  write(entry);
}

function finish() {
  const directory = Buffer.concat(records);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(records.length, 8);
  end.writeUInt16LE(records.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(written, 16);
  write(Buffer.concat([directory, end]));
}

// --- Compiling ----------------------------------------------------------------------------------------------

function* files(directory) {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) yield* files(file);
    else if (entry.isFile() && /\.c?js$/.test(entry.name)) yield file;
  }
}

function compile(file) {
  const size = fs.statSync(file).size;
  if (size < LEAST_BYTES || size > SOURCE_BYTES) return;
  const source = fs.readFileSync(file, "utf8");
  if (source.startsWith("#!")) return; // Only a first line, which it would not be.
  // Before Node 22 code from a cache has forgotten how `import()` works, text that is evaluated included.
  if (MAJOR < 22 && /\bimport\s*[(/]/.test(source)) return;
  // As bootstrap.cjs will: what `import()` does in it is part of the code.
  const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  const options = { filename: file, columnOffset: -Module.wrapper[0].length, importModuleDynamically };
  // Functions are compiled with what is around them rather than when they are first called, which never comes here. The cache
  // must not remember that, or it would be for such a V8 only.
  v8.setFlagsFromString("--no-lazy");
  let script;
  try {
    script = new vm.Script(Module.wrap(source), options);
  } finally {
    v8.setFlagsFromString("--lazy");
  }
  const code = script.createCachedData();
  // V8 dies of damaged code instead of refusing it.
  const digest = createHash("sha256").update(code).digest();
  if (written + code.length < OUTPUT_BYTES) add(`task${file.slice(ROOT.length)}.v8`, Buffer.concat([digest, code]));
}

const until = Date.now() + SECONDS * 1000;
// There even when it holds no file: it says that this was done.
add("task/", Buffer.alloc(0));
for (const file of files(ROOT)) {
  if (Date.now() > until || records.length >= 1000) break;
  try {
    compile(file);
  } catch {
    // No CommonJS, or not to be read: loading it says so.
  }
}
finish();
