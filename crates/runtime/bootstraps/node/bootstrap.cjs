// Runs a Node.js handler: speaks frames with the platform over descriptor 3 and behaves as AWS Lambda's runtime.
// The frame format is described in crates/runtime/src/frames/codec.rs.
//
// A cold start waits for every line here: CommonJS, because Node's loader of ES modules alone costs some milliseconds,
// and nothing is loaded at the top that Node has not loaded by itself.

"use strict";

const { writeSync, readSync, read, existsSync, readFileSync } = require("node:fs");
const { createRequire } = module.constructor;
const { format } = require("node:util");
const { pathToFileURL } = require("node:url");
const path = require("node:path");

const FRAMES = 3;
const HELLO = 0x01, READY = 0x02, INIT_ERROR = 0x03, RESPONSE = 0x04, ERROR = 0x05, LOG = 0x06;
const STREAM_BEGIN = 0x07, CHUNK = 0x08, STREAM_END = 0x09, STREAM_ERROR = 0x0a;
const INIT = 0x81, INVOKE = 0x82, BEGIN = 0x83;
const PROTOCOL_VERSION = 1;
const LOG_BYTES = 256 * 1024;
// Pieces of a streamed answer; a frame holds at most 1 MiB.
const CHUNK_BYTES = 256 * 1024;
// How often it is looked for room for a piece. At full speed the platform needs tens of milliseconds for what the socket holds.
const ROOM_MILLISECONDS = 2;
// Log lines that wait behind a piece; with more, the process waits.
const UNSENT_BYTES = 1024 * 1024;
// What was compiled of the function's package, laid out like the package; files smaller than this are not.
const COMPILED_PACKAGE = "/var/compiled/task";
const COMPILED_BYTES = 32 * 1024;
// Taken from the platform at once, unless a frame is known to be longer.
const READ_BYTES = 64 * 1024;
const MAJOR = Number(process.versions.node.split(".")[0]);
// Longest message and trace of an error document; a frame holds at most 1 MiB.
const MESSAGE_CHARACTERS = 128 * 1024;
const TRACE_LINES = 200, TRACE_LINE_CHARACTERS = 512;
let JSON_LOG = false; // Told by the environment, which is complete after `init`.
const HANDLER_STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const HANDLER_HIGH_WATER_MARK = Symbol.for("aws.lambda.runtime.handler.streaming.highWaterMark");
const HTTP_CONTENT_TYPE = "application/vnd.awslambda.http-integration-response";

// --- Frames -------------------------------------------------------------------------------------------------

let rehearsing = false; // What is said meanwhile is said to nobody.
let sleeper = null;

/** Waits a moment for the platform, when there is nothing else to do. */
function sleep() {
  sleeper ??= new Int32Array(new SharedArrayBuffer(4));
  Atomics.wait(sleeper, 0, 0, 1);
}

/** Writes everything at once: what was said before a crash must have been said. */
function writeAll(bytes) {
  let at = 0;
  while (at < bytes.length) {
    try {
      at += writeSync(FRAMES, bytes, at, bytes.length - at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      sleep(); // The platform reads on and makes room.
    }
  }
}

/** What follows of a piece of a stream for which the platform has no room yet, and the log lines after it. */
const unsent = { frames: [], bytes: 0, done: null, timer: null };

function frameHead(kind, length) {
  const head = Buffer.allocUnsafe(5);
  head.writeUInt32BE(length + 1, 0);
  head[4] = kind;
  return head;
}

/**
 * Sends a piece of a stream as far as the platform takes it now, and the rest as it takes more: whoever reads the stream
 * slowly must hold up the stream and not the process. `done` is called when it is sent; until then no other piece may come.
 */
function sendPiece(bytes, done) {
  unsent.done = done;
  queue(Buffer.concat([frameHead(CHUNK, bytes.length), bytes]));
  sendSome();
}

function queue(frame) {
  unsent.frames.push(frame);
  unsent.bytes += frame.length;
}

function sendSome() {
  const { frames } = unsent;
  while (frames.length > 0) {
    let written = 0;
    try {
      written = writeSync(FRAMES, frames[0]);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
    unsent.bytes -= written;
    if (written < frames[0].length) {
      frames[0] = frames[0].subarray(written);
      unsent.timer ??= setTimeout(() => {
        unsent.timer = null;
        sendSome();
      }, ROOM_MILLISECONDS);
      return;
    }
    frames.shift();
  }
  sent();
}

/** What waits goes before anything else. */
function sendUnsent() {
  while (unsent.frames.length > 0) writeAll(unsent.frames.shift());
  unsent.bytes = 0;
  sent();
}

function sent() {
  const { done } = unsent;
  unsent.done = null;
  if (done) setImmediate(done); // Not at once: other events have their turn between two pieces.
}

// What was said before the end must have been said. Nobody is told when the platform is gone.
process.on("exit", () => {
  try {
    sendUnsent();
  } catch {}
});

function send(kind, payload = Buffer.alloc(0)) {
  if (rehearsing) return;
  const head = frameHead(kind, payload.length);
  if (unsent.frames.length > 0) {
    if (kind === LOG && unsent.bytes < UNSENT_BYTES) return queue(Buffer.concat([head, payload]));
    sendUnsent();
  }
  writeAll(payload.length < 65536 ? Buffer.concat([head, payload]) : head);
  if (payload.length >= 65536) writeAll(payload);
}

function sendTyped(kind, errorType, document) {
  const name = Buffer.from(String(errorType)).subarray(0, 255);
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16BE(name.length, 0);
  send(kind, Buffer.concat([length, name, Buffer.from(document)]));
}

function sendLog(text) {
  const body = Buffer.from(text).subarray(0, LOG_BYTES);
  const time = Buffer.allocUnsafe(8);
  time.writeBigInt64BE(BigInt(Date.now()), 0);
  send(LOG, Buffer.concat([time, body]));
}

/** The platform is gone, and with it whoever could read an answer. */
const gone = () => process.exit(0);

/**
 * Reads frames. A socket does it without holding the event loop open while a handler runs, but `node:net` takes
 * milliseconds to load: what a start waits for is read with plain calls, and the socket comes after the first answer.
 */
class Frames {
  constructor() {
    this.chunks = [];
    this.length = 0;
    this.wake = null;
    this.socket = null;
    this.first = true;
  }

  /** From here on with a socket. It makes the descriptor non-blocking. */
  attach() {
    const { Socket } = require("node:net");
    this.first = false;
    this.socket = new Socket({ fd: FRAMES, readable: true, writable: false });
    this.socket.on("data", (chunk) => {
      this.took(chunk);
      this.wake?.();
    });
    this.socket.on("end", gone);
    this.socket.on("error", gone);
    return this.socket;
  }

  took(chunk) {
    this.chunks.push(chunk);
    this.length += chunk.length;
  }

  take(length) {
    const all = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks, this.length);
    this.chunks = all.length > length ? [all.subarray(length)] : [];
    this.length = all.length - length;
    return all.subarray(0, length);
  }

  /** One frame, read while nothing else happens in this process. */
  receiveNow() {
    const need = (length) => {
      while (this.length < length) {
        const room = Buffer.allocUnsafe(Math.max(READ_BYTES, length - this.length));
        try {
          const count = readSync(FRAMES, room);
          if (count === 0) gone();
          this.took(room.subarray(0, count));
        } catch (error) {
          if (error.code !== "EAGAIN") gone();
          sleep();
        }
      }
    };
    need(4);
    const length = this.take(4).readUInt32BE(0);
    need(length);
    const frame = this.take(length);
    return [frame[0], frame.subarray(1)];
  }

  async need(length) {
    while (this.first && this.length < length) {
      const room = Buffer.allocUnsafe(Math.max(READ_BYTES, length - this.length));
      await new Promise((resolve) => {
        read(FRAMES, room, 0, room.length, null, (error, count) => {
          if (error?.code === "EAGAIN") this.attach();
          else if (error || count === 0) gone();
          else this.took(room.subarray(0, count));
          resolve();
        });
      });
    }
    while (this.length < length) await new Promise((resolve) => (this.wake = resolve));
    this.wake = null;
  }

  async receive() {
    this.socket?.ref();
    await this.need(4);
    const length = this.take(4).readUInt32BE(0);
    await this.need(length);
    const frame = this.take(length);
    this.socket?.unref();
    return [frame[0], frame.subarray(1)];
  }
}

// --- Logs ---------------------------------------------------------------------------------------------------

let current = null; // The invocation under way.

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
let LEVEL = LEVELS.TRACE;

/** Errors inside a JSON record, as AWS's runtime writes them. */
function withErrors(key, value) {
  if (!(value instanceof Error)) return value;
  const errorType = value.constructor?.name ?? "UnknownError";
  return { errorType, errorMessage: value.message, stackTrace: String(value.stack).split("\n"), ...value };
}

function jsonLine(timestamp, level, values) {
  const line = { timestamp, level, requestId: current?.id, tenantId: current?.tenantId };
  if (values.length === 1) {
    try {
      return JSON.stringify({ ...line, message: values[0] }, withErrors);
    } catch {
      return JSON.stringify({ ...line, message: format(values[0]) }); // Circular, for example.
    }
  }
  line.message = format(...values);
  const error = values.find((value) => value instanceof Error);
  return JSON.stringify(error ? { ...line, ...withErrors("", error) } : line);
}

function patchConsole() {
  const write = (level) => (...values) => {
    if (LEVELS[level] < LEVEL) return;
    const time = new Date().toISOString();
    if (!JSON_LOG) {
      sendLog(`${time}\t${current?.id ?? "undefined"}\t${level}\t${format(...values)}\n`);
      return;
    }
    sendLog(jsonLine(time, level, values) + "\n");
  };
  for (const [name, level] of [
    ["log", "INFO"], ["info", "INFO"], ["debug", "DEBUG"], ["warn", "WARN"], ["error", "ERROR"], ["trace", "TRACE"],
  ]) console[name] = write(level);
  console.fatal = write("FATAL");
}

// --- Errors -------------------------------------------------------------------------------------------------

function stackLines(error) {
  const lines = String(error.stack ?? "").split("\n");
  // The bootstrap's own frames say nothing about the function.
  return lines.filter((line) => !line.includes(__filename));
}

class RuntimeFailure extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

function describe(error) {
  if (error instanceof Error || (error && typeof error === "object" && "stack" in error && "message" in error)) {
    const errorMessage = String(error.message).slice(0, MESSAGE_CHARACTERS);
    const trace = stackLines(error).slice(0, TRACE_LINES).map((line) => line.slice(0, TRACE_LINE_CHARACTERS));
    return { errorType: String(error.name ?? "Error"), errorMessage, trace };
  }
  return { errorType: typeof error, errorMessage: String(error).slice(0, MESSAGE_CHARACTERS), trace: [] };
}

function logError(title, error) {
  const document = describe(error);
  const { errorType, errorMessage, trace } = document;
  const extra = error && typeof error === "object" ? Object.fromEntries(Object.entries(error)) : {};
  const time = new Date().toISOString();
  let text;
  try {
    text = JSON.stringify({ errorType, errorMessage, ...extra, stack: trace });
  } catch {
    text = JSON.stringify({ errorType, errorMessage, stack: trace });
  }
  if (JSON_LOG) {
    sendLog(jsonLine(time, "ERROR", [error instanceof Error ? error : new Error(errorMessage)]) + "\n");
  } else {
    sendLog(`${time}\t${current?.id ?? "undefined"}\tERROR\t${title}\t${text}\n`);
  }
  return document;
}

/** Ends the process after telling why: what happened cannot be caught by the handler any more. */
function fatal(title, error, status) {
  const document = logError(title, error);
  if (current && !current.answered) {
    current.answered = true;
    sendTyped(current.streaming ? STREAM_ERROR : ERROR, document.errorType, JSON.stringify(document));
  } else if (!current && !started) {
    sendTyped(INIT_ERROR, document.errorType, JSON.stringify(document));
  }
  process.exit(status);
}

let started = false;
let platform = null; // Its frames, once there is a handler.

process.on("uncaughtException", (error) => fatal("Uncaught Exception ", error, 129));
process.on("unhandledRejection", (reason) => {
  const error = new RuntimeFailure("Runtime.UnhandledPromiseRejection", String(reason));
  error.reason = reason;
  error.promise = {};
  if (reason instanceof Error) error.stack = `Runtime.UnhandledPromiseRejection: ${reason}\n${stackLines(reason).join("\n")}`;
  fatal("Unhandled Promise Rejection ", error, 128);
});

// --- The handler --------------------------------------------------------------------------------------------

function isModuleScope(file) {
  for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
    const manifest = path.join(directory, "package.json");
    if (existsSync(manifest)) {
      try {
        return JSON.parse(readFileSync(manifest, "utf8")).type === "module";
      } catch {
        return false;
      }
    }
    if (directory === path.dirname(directory)) return false;
  }
}

/** Lets large CommonJS files of the package be loaded from what compile_package.cjs made of them. */
function useCompiledPackage(root) {
  // Source maps are read where Node itself compiles.
  if (!existsSync(COMPILED_PACKAGE) || process.execArgv.concat(process.env.NODE_OPTIONS ?? "").join().includes("source-maps")) return;
  const { Script, constants } = require("node:vm");
  // How `import()` works in a script as in a file, from Node 20.12 on. It is used as documented, and warns of itself.
  const importModuleDynamically = constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (!importModuleDynamically) return;
  const { emitWarning } = process;
  process.emitWarning = function (warning, ...more) {
    if (!String(warning).startsWith("vm.USE_MAIN_CONTEXT_DEFAULT_LOADER")) emitWarning.call(this, warning, ...more);
  };
  const Module = module.constructor;
  const compile = Module.prototype._compile;
  const [before, after] = Module.wrapper;
  Module.prototype._compile = function (content, filename, ...more) {
    const script = more[0] !== "module" && filename.startsWith(root) ? compiledScript(content, filename) : null;
    if (!script) return compile.call(this, content, filename, ...more);
    const require = (id) => this.require(id);
    const { resolve } = createRequire(filename);
    Object.assign(require, { resolve, main: process.mainModule, extensions: Module._extensions, cache: Module._cache });
    const { exports } = this;
    return Reflect.apply(script.runInThisContext(), exports, [exports, require, this, filename, path.dirname(filename)]);
  };

  function compiledScript(content, filename) {
    if (content.length < COMPILED_BYTES) return null;
    try {
      const file = readFileSync(`${COMPILED_PACKAGE}${filename.slice(root.length)}.v8`);
      const cachedData = file.subarray(32);
      // V8 dies of damaged code instead of refusing it.
      const digest = require("node:crypto").createHash("sha256").update(cachedData).digest();
      if (!digest.equals(file.subarray(0, 32))) return null;
      // As if Node had compiled it: what is before the first line takes no columns.
      const options = { filename, columnOffset: -before.length, cachedData, importModuleDynamically };
      const script = new Script(before + content + after, options);
      return script.cachedDataRejected ? null : script;
    } catch {
      return null; // Not there. Or no such script, of which Node says it better.
    }
  }
}

async function loadModule(root, name) {
  const base = path.resolve(root, name);
  const require = createRequire(path.join(root, "index.js"));
  try {
    if (existsSync(base + ".js")) {
      if (isModuleScope(base + ".js")) return await import(pathToFileURL(base + ".js").href);
      return require(base + ".js");
    }
    if (existsSync(base + ".mjs")) return await import(pathToFileURL(base + ".mjs").href);
    if (existsSync(base + ".cjs")) return require(base + ".cjs");
    if (existsSync(base)) return require(base);
    // A handler inside a dependency of the package.
    return require(require.resolve(name, { paths: [root, "/opt/nodejs/node_modules"] }));
  } catch (error) {
    if (error instanceof SyntaxError) throw withName(error, "Runtime.UserCodeSyntaxError", error.toString());
    if (error?.code === "MODULE_NOT_FOUND" || error?.code === "ERR_MODULE_NOT_FOUND") {
      throw withName(error, "Runtime.ImportModuleError", error.toString());
    }
    throw error;
  }
}

function withName(error, name, message) {
  const failure = new RuntimeFailure(name, message);
  failure.stack = `${name}: ${message}\n${stackLines(error).slice(1).join("\n")}`;
  return failure;
}

async function loadHandler(root, name) {
  const base = path.basename(name);
  const found = base.match(/^([^.]*)\.(.*)$/);
  if (!found || name.includes("..")) throw new RuntimeFailure("Runtime.MalformedHandlerName", name.includes("..") ? `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.` : "Bad handler");
  const module = await loadModule(root, path.join(path.dirname(name), found[1]));
  const walk = (from) => found[2].split(".").reduce((value, key) => value?.[key], from);
  const handler = walk(module) ?? walk(module?.default);
  if (handler === undefined) throw new RuntimeFailure("Runtime.HandlerNotFound", `${name} is undefined or not exported`);
  if (typeof handler !== "function") throw new RuntimeFailure("Runtime.HandlerNotFound", `${name} is not a function`);
  return handler;
}

/** The answer of a streaming handler: a Writable whose pieces are sent as they are written. */
const makeResponseStream = (invocation, highWaterMark) => new (responseStreamClass())(invocation, highWaterMark);

const responseStreamClass = () => class ResponseStream extends require("node:stream").Writable {
  constructor(invocation, highWaterMark) {
    super(highWaterMark ? { highWaterMark } : {});
    this.invocation = invocation;
    this.contentType = "";
    this.prelude = null;
    this.failure = null;
  }

  setContentType(type) {
    if (this.invocation.streaming) throw new Error("Cannot set content-type, too late.");
    this.contentType = type;
  }

  write(chunk, ...rest) {
    // As AWS's runtime: anything else than text and bytes is written as JSON.
    if (typeof chunk !== "string" && !(chunk instanceof Uint8Array)) chunk = JSON.stringify(chunk);
    return super.write(chunk, ...rest);
  }

  begin() {
    if (this.invocation.streaming || this.invocation.answered) return;
    this.invocation.streaming = true;
    send(STREAM_BEGIN, Buffer.from(this.contentType));
    if (this.prelude !== null) send(CHUNK, Buffer.concat([Buffer.from(this.prelude), Buffer.alloc(8)]));
  }

  _write(chunk, encoding, done) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk, encoding);
    this.begin();
    const next = (at) => {
      if (this.invocation.answered || at >= bytes.length) return done();
      sendPiece(bytes.subarray(at, at + CHUNK_BYTES), () => next(at + CHUNK_BYTES));
    };
    next(0);
  }

  _final(done) {
    this.begin();
    if (!this.invocation.answered) {
      this.invocation.answered = true;
      if (this.failure) sendTyped(STREAM_ERROR, this.failure.errorType, JSON.stringify(this.failure));
      else send(STREAM_END);
    }
    done();
  }

  /** The handler failed. What it has written goes first, when it has written anything. */
  fail(document) {
    if (!this.invocation.streaming || this.destroyed) return false;
    this.failure = document;
    if (!this.writableEnded) this.end();
    return true;
  }
};

globalThis.awslambda = {
  streamifyResponse(handler, options) {
    handler[HANDLER_STREAMING] = "response";
    if (options?.highWaterMark) handler[HANDLER_HIGH_WATER_MARK] = parseInt(options.highWaterMark, 10);
    return handler;
  },
  HttpResponseStream: class HttpResponseStream {
    static from(stream, prelude) {
      stream.setContentType(HTTP_CONTENT_TYPE);
      stream.prelude = JSON.stringify(prelude ?? {});
      return stream;
    }
  },
};

/** What a handler gets as its second argument. Source: AWS Lambda developer guide, Node.js context object. */
function makeContext(header, answer) {
  const context = {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: header.client_context ? JSON.parse(header.client_context) : undefined,
    identity: undefined,
    invokedFunctionArn: header.invoked_arn,
    awsRequestId: header.request_id,
    tenantId: header.tenant_id,
    getRemainingTimeInMillis: () => Math.max(header.deadline_ms - Date.now(), 0),
  };
  if (MAJOR < 24) {
    context.done = (error, result) => answer.callback(context, error, result);
    context.fail = (error) => answer.callback(context, error ?? "handled");
    context.succeed = (result) => answer.callback(context, null, result);
  }
  return context;
}

function stringify(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? "null";
  } catch {
    throw new RuntimeFailure("Runtime.MarshalError", "Unable to stringify response body");
  }
}

/** Runs one event; resolves when its answer has been sent. */
function invoke(handler, header, payload) {
  return new Promise((resolve) => {
    const invocation = { id: header.request_id, tenantId: header.tenant_id, answered: false, streaming: false };
    current = invocation;
    if (header.trace_id) process.env._X_AMZN_TRACE_ID = header.trace_id;
    else delete process.env._X_AMZN_TRACE_ID;
    let onEmptyLoop = null;
    let stream = null;
    const beforeExit = () => {
      // Nothing is left to wait for: a callback that was called may answer, and whoever never answers said null.
      if (onEmptyLoop) onEmptyLoop();
      else if (!invocation.answered) succeed(null);
      else finish();
    };
    process.on("beforeExit", beforeExit);
    const finish = () => {
      process.off("beforeExit", beforeExit);
      current = null;
      resolve();
    };
    const fail = (error) => {
      if (invocation.answered) return;
      const document = logError("Invoke Error ", error);
      if (stream?.fail(document)) return;
      invocation.answered = true;
      sendTyped(invocation.streaming ? STREAM_ERROR : ERROR, document.errorType, JSON.stringify(document));
      finish();
    };
    const succeed = (result) => {
      if (invocation.answered) return;
      let text;
      try {
        text = stringify(result);
      } catch (error) {
        fail(error);
        return;
      }
      invocation.answered = true;
      send(RESPONSE, Buffer.from(text));
      finish();
    };
    let called = false;
    const answer = {
      callback(context, error, result) {
        if (called) return;
        called = true;
        const conclude = () => (error !== undefined && error !== null ? fail(error) : succeed(result));
        if (error !== undefined && error !== null) setImmediate(conclude);
        else if (context.callbackWaitsForEmptyEventLoop) onEmptyLoop = conclude;
        else setImmediate(conclude);
      },
    };
    let event;
    try {
      event = JSON.parse(payload.toString("utf8"));
    } catch (error) {
      fail(error);
      return;
    }
    const context = makeContext(header, answer);
    try {
      if (handler[HANDLER_STREAMING] === "response") {
        // From here on without waiting in system calls.
        if (platform?.first) platform.attach().unref();
        stream = makeResponseStream(invocation, handler[HANDLER_HIGH_WATER_MARK]);
        // A handler that never ends its stream must not keep its caller waiting once nothing else runs.
        onEmptyLoop = () => (invocation.answered ? finish() : stream.end());
        stream.on("error", fail);
        stream.on("finish", finish);
        const result = handler(event, stream, context);
        if (typeof result?.then !== "function") {
          throw new RuntimeFailure("Runtime.StreamingHandlerError", "Streaming does not support non-async handlers.");
        }
        result.then(null, fail);
        return;
      }
      const callback = (error, result) => answer.callback(context, error, result);
      const result = MAJOR < 24 ? handler(event, context, callback) : handler(event, context);
      if (typeof result?.then === "function") result.then(succeed, fail);
      else if (MAJOR >= 24 || (handler.length < 3 && result !== undefined)) succeed(result);
    } catch (error) {
      fail(error);
    }
  });
}

/** Completes the environment; from here on it is the function's. */
function applyInit(payload) {
  Object.assign(process.env, JSON.parse(payload.toString("utf8")).environment);
  JSON_LOG = (process.env.AWS_LAMBDA_LOG_FORMAT ?? "").toUpperCase() === "JSON";
  LEVEL = LEVELS[(process.env.AWS_LAMBDA_LOG_LEVEL ?? "").toUpperCase()] ?? LEVELS.TRACE;
}

/** Does once, unheard, with handlers of our own, what will be done with the function's: what is run first is slow. */
async function rehearse() {
  new (require("node:net").Socket)().destroy();
  rehearsing = true;
  for (const name of ["rehearsal_module", "rehearsal_script"]) {
    const handler = await loadHandler(__dirname, `${name}.handler`);
    await invoke(handler, { request_id: "", invoked_arn: "", deadline_ms: 0 }, Buffer.from('{"key": ["value", 1]}'));
  }
  delete require.cache[path.join(__dirname, "rehearsal_script.cjs")];
  rehearsing = false;
}

/** Waits until it is known what this process is, and until its code is there. Nothing else is to be done meanwhile. */
async function waitForInit(frames) {
  // The environment is not complete: nobody waits yet, so there is time for what will be needed.
  if (process.env._HANDLER === undefined) await rehearse();
  for (;;) {
    const [kind, payload] = frames.receiveNow();
    if (kind === INIT) applyInit(payload);
    if (kind === BEGIN) break;
  }
}

async function main() {
  send(HELLO, Buffer.from([PROTOCOL_VERSION]));
  // Functions do not find a main module that is not theirs, as under AWS's runtime, which is an ES module.
  process.mainModule = undefined;
  delete require.cache[__filename];
  const frames = new Frames();
  await waitForInit(frames);
  // Code may have been bound over the directory this process has stood in since its start.
  process.chdir(process.env.LAMBDA_TASK_ROOT ?? "/var/task");
  useCompiledPackage(process.env.LAMBDA_TASK_ROOT ?? "/var/task");
  patchConsole();
  let handler;
  try {
    handler = await loadHandler(process.env.LAMBDA_TASK_ROOT ?? "/var/task", process.env._HANDLER ?? "");
  } catch (error) {
    fatal("Uncaught Exception ", error, 129);
  }
  started = true;
  platform = frames;
  send(READY);
  for (;;) {
    const [kind, payload] = await frames.receive();
    if (kind !== INVOKE) continue;
    const length = payload.readUInt32BE(0);
    const header = JSON.parse(payload.subarray(4, 4 + length).toString("utf8"));
    await invoke(handler, header, payload.subarray(4 + length));
    if (frames.first) frames.attach();
  }
}

main();
