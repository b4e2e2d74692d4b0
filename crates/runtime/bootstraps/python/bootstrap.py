"""Runs a Python handler: speaks frames with the platform over descriptor 3 and behaves as AWS Lambda's runtime.

Imports as little as possible before the handler does: every millisecond here is a cold start's.
The frame format is described in crates/runtime/src/frames/codec.rs.
"""

import os
import sys
import time

FRAMES = 3
# To the platform.
HELLO, READY, INIT_ERROR, RESPONSE, ERROR, LOG = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
# From the platform.
INVOKE = 0x82
PROTOCOL_VERSION = 1
# A log event longer than this is cut by the platform anyway.
LOG_BYTES = 256 * 1024


def send(*frames):
    """Sends (kind, payload) pairs, all in one write where the socket takes them."""
    data = b"".join((len(payload) + 1).to_bytes(4, "big") + bytes((kind,)) + payload for kind, payload in frames)
    view = memoryview(data)
    while view:
        view = view[os.write(FRAMES, view) :]


class Frames:
    """Reads frames from the platform."""

    def __init__(self):
        self.buffer = bytearray()

    def take(self, length):
        while len(self.buffer) < length:
            chunk = os.read(FRAMES, max(65536, length - len(self.buffer)))
            if not chunk:
                os._exit(0)  # The platform is gone, and with it whoever could read an answer.
            self.buffer += chunk
        taken = bytes(self.buffer[:length])
        del self.buffer[:length]
        return taken

    def receive(self):
        length = int.from_bytes(self.take(4), "big")
        frame = self.take(length)
        return frame[0], frame[1:]


# --- JSON -----------------------------------------------------------------------------------------------------
#
# `import json` pulls in `re`, five milliseconds. The C accelerators it is made of do the same work without it.


class MarshalError(Exception):
    pass


def encode_default(value):
    if type(value).__module__ == "decimal" and type(value).__name__ == "Decimal":
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def make_codec():
    try:
        import _json

        class Settings:
            strict = True
            object_hook = None
            object_pairs_hook = None
            parse_float = float
            parse_int = int
            memo = {}

            @staticmethod
            def parse_constant(name):
                return {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}[name]

        scan = _json.make_scanner(Settings)
        # Python 3.12 and later write text as it is, as AWS's runtime does for them.
        quote = _json.encode_basestring if sys.version_info >= (3, 12) else _json.encode_basestring_ascii

        def decode(data):
            text = data.decode("utf-8")
            start = len(text) - len(text.lstrip(" \t\n\r"))
            try:
                value, end = scan(text, start)
                if not text[end:].strip(" \t\n\r"):
                    return value
            except Exception:
                pass
            # Not JSON: the whole module finds the words for what is wrong with it.
            import json

            return json.loads(text)

        def encode(value):
            write = _json.make_encoder({}, encode_default, quote, None, ": ", ", ", False, False, True)
            return "".join(write(value, 0)).encode("utf-8", "surrogatepass")

        if decode(encode({"a": [1, 2.5, None, True, "\u00e9"]})) != {"a": [1, 2.5, None, True, "\u00e9"]}:
            raise ImportError("the accelerators changed")
        return decode, encode
    except Exception:  # Another Python without the accelerators, or with other signatures.
        import json

        def encode(value):
            return json.dumps(
                value, default=encode_default, ensure_ascii=sys.version_info < (3, 12)
            ).encode("utf-8", "surrogatepass")

        return json.loads, encode


decode, encode = make_codec()


# --- Logs -----------------------------------------------------------------------------------------------------


def log_frame(text):
    payload = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return LOG, int(time.time() * 1000).to_bytes(8, "big") + payload[:LOG_BYTES]


def make_output(descriptor):
    """Standard output or error as log frames: a line each, in order with the records of `logging`."""
    import io

    class Lines(io.RawIOBase):
        pending = b""

        def writable(self):
            return True

        def fileno(self):
            return descriptor

        def write(self, data):
            *lines, self.pending = (self.pending + bytes(data)).split(b"\n")
            if lines:
                send(*(log_frame(line + b"\n") for line in lines))
            if len(self.pending) > LOG_BYTES:
                self.finish()
            return len(data)

        def finish(self):
            if self.pending:
                pending, self.pending = self.pending, b""
                send(log_frame(pending))

    lines = Lines()
    stream = io.TextIOWrapper(io.BufferedWriter(lines), encoding="utf-8", errors="replace", line_buffering=True)
    return stream, lines


class Outputs:
    """Both standard streams; a forked child gets the plain ones back, since frames must not be mixed."""

    def __init__(self):
        self.streams = []
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            stream, lines = make_output(descriptor)
            setattr(sys, name, stream)
            setattr(sys, "__" + name + "__", stream)
            self.streams.append((stream, lines))
        os.register_at_fork(after_in_child=self.in_child)

    def finish(self):
        for stream, lines in self.streams:
            try:
                stream.flush()
                lines.finish()
            except ValueError:
                pass  # The function closed its standard output.

    def in_child(self):
        try:
            os.close(FRAMES)
        except OSError:
            pass
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            stream = os.fdopen(os.dup(descriptor), "w", buffering=1, encoding="utf-8", errors="replace")
            setattr(sys, name, stream)
            setattr(sys, "__" + name + "__", stream)


class Current:
    """The invocation under way, for log records."""

    request_id = None
    tenant_id = None


JSON_LOG = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "Text").lower() == "json"


def set_up_logging(logging):
    """Gives the root logger Lambda's handler. Called when `logging` is first imported, by whomever."""

    class Filter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = Current.request_id or ""
            return True

    class TextFormatter(logging.Formatter):
        converter = time.gmtime

        def __init__(self):
            super().__init__(
                "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
            )

    standard = set(vars(logging.makeLogRecord({}))) | {"aws_request_id", "message", "asctime", "taskName"}

    class JsonFormatter(logging.Formatter):
        converter = time.gmtime

        def format(self, record):
            line = {
                "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
                "level": record.levelname,
                "message": record.getMessage(),
                "logger": record.name,
            }
            if record.exc_info and record.exc_info[0]:
                line["stackTrace"] = stack_of(record.exc_info[2])
                line["errorType"] = record.exc_info[0].__name__
                line["errorMessage"] = str(record.exc_info[1])
                line["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
            if Current.request_id:
                line["requestId"] = Current.request_id
            for key, value in vars(record).items():
                if key not in standard and key not in line:
                    line[key] = value
            try:
                return encode(line).decode() + "\n"
            except (TypeError, ValueError):
                return encode({key: str(value) for key, value in line.items()}).decode() + "\n"

    class Handler(logging.Handler):
        def emit(self, record):
            try:
                frame = log_frame(self.format(record))
                OUTPUTS.finish()
                send(frame)
            except Exception:
                self.handleError(record)

    handler = Handler()
    handler.addFilter(Filter())
    handler.setFormatter(JsonFormatter() if JSON_LOG else TextFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO" if JSON_LOG else "").upper()
    level = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}.get(level, level)
    if JSON_LOG and isinstance(logging.getLevelName(level), int):
        root.setLevel(level)


class LoggingHook:
    """Sets logging up right after its import, so that functions that never log do not pay for it."""

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                execute = spec.loader.exec_module

                def exec_module(module):
                    execute(module)
                    set_up_logging(module)

                spec.loader.exec_module = exec_module
                return spec
        return None


# --- Errors ---------------------------------------------------------------------------------------------------


class Fault(Exception):
    """A failure that Lambda names itself."""

    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = list(trace)


def stack_of(traceback_object, skip=0):
    import traceback

    return traceback.format_list(traceback.extract_tb(traceback_object))[skip:]


def error_document(message, error_type, trace, request_id):
    document = {"errorMessage": message, "errorType": error_type}
    if request_id is not None:
        document["requestId"] = request_id
    document["stackTrace"] = trace
    return document


def log_error(document):
    OUTPUTS.finish()
    if JSON_LOG:
        line = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "ERROR"}
        if Current.request_id:
            line["requestId"] = Current.request_id
        line.update({key: document[key] for key in ("errorMessage", "errorType", "stackTrace")})
        line["log_level"] = "ERROR"
        send(log_frame(encode(line).decode() + "\n"))
        return
    text = f"[ERROR] {document['errorType']}: {document['errorMessage']}"
    if document["stackTrace"]:
        text += "\nTraceback (most recent call last):\n" + "".join(document["stackTrace"]).rstrip("\n")
    send(log_frame(text + "\n"))


def with_type(error_type, document):
    name = error_type.encode("utf-8", "replace")[:255]
    return len(name).to_bytes(2, "big") + name + encode(document)


def describe(error, skip):
    """An exception of the function as (type, document without request id)."""
    if isinstance(error, Fault):
        return error.error_type, error.message, error.trace
    trace = stack_of(error.__traceback__, skip)
    # The frames of the import machinery say nothing about the function.
    trace = [line for line in trace if "<frozen importlib" not in line and __file__ not in line]
    return type(error).__name__, str(error), trace


# --- The handler ----------------------------------------------------------------------------------------------


def faulty(fault):
    def handler(event, context):
        raise fault

    return handler


def load_handler(name):
    """Imports the handler. What Lambda reports per invocation becomes a handler that raises it."""
    try:
        module_path, function_name = name.rsplit(".", 1)
    except ValueError as error:
        return faulty(Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': {error}"))
    module_name = module_path.replace("/", ".")
    try:
        if module_name.split(".")[0] in sys.builtin_module_names:
            raise Fault(
                "Runtime.BuiltInModuleConflict",
                f"Cannot use built-in module {module_path} as a handler module",
            )
        import importlib

        module = importlib.import_module(module_name)
    except Fault as fault:
        return faulty(fault)
    except ImportError as error:
        trace = [] if getattr(error, "name", None) == module_name.split(".")[0] else stack_of(error.__traceback__)
        trace = [line for line in trace if "importlib" not in line and __file__ not in line]
        return faulty(
            Fault("Runtime.ImportModuleError", f"Unable to import module '{module_path}': {error}", trace)
        )
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        return faulty(
            Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_path}': {error}", trace)
        )
    try:
        return getattr(module, function_name)
    except AttributeError:
        return faulty(
            Fault("Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_path}'")
        )


class ClientContext:
    def __init__(self, document):
        self.custom = document.get("custom")
        self.env = document.get("env")
        self.client = Client(document["client"]) if document.get("client") else None


class Client:
    def __init__(self, document):
        for name in ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"):
            setattr(self, name, document.get(name))


class Identity:
    def __init__(self, document):
        self.cognito_identity_id = document.get("cognitoIdentityId")
        self.cognito_identity_pool_id = document.get("cognitoIdentityPoolId")


class LambdaContext:
    """What a handler gets as its second argument. Source: AWS Lambda developer guide, Python context object."""

    def __init__(self, header):
        self.aws_request_id = header["request_id"]
        self.invoked_function_arn = header["invoked_arn"]
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.client_context = None
        self.tenant_id = header.get("tenant_id")
        context = header.get("client_context")
        if context:
            context = decode(context.encode())
            if isinstance(context, dict):
                self.client_context = ClientContext(context)
        self.identity = Identity({})
        self._deadline_ms = header["deadline_ms"]

    def get_remaining_time_in_millis(self):
        return max(int(self._deadline_ms - time.time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))

    def __repr__(self):
        fields = (
            "aws_request_id",
            "log_group_name",
            "log_stream_name",
            "function_name",
            "memory_limit_in_mb",
            "function_version",
            "invoked_function_arn",
            "client_context",
            "identity",
            "tenant_id",
        )
        return f"LambdaContext([{','.join(f'{name}={getattr(self, name)}' for name in fields)}])"


def invoke(handler, header, payload):
    """Runs one event and sends the answer."""
    Current.request_id = header["request_id"]
    trace_id = header.get("trace_id")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    try:
        try:
            event = decode(payload)
        except Exception as error:
            raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None
        result = handler(event, LambdaContext(header))
        try:
            body = encode(result)
        except Exception as error:
            raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None
    except Exception as error:
        error_type, message, trace = describe(error, 0)
        document = error_document(message, error_type, trace, header["request_id"])
        log_error(document)
        send((ERROR, with_type(error_type, document)))
    else:
        OUTPUTS.finish()
        send((RESPONSE, body))
    Current.request_id = None


def set_up_path():
    """The function's modules first, then layers, then the runtime's own."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    runtime = "/var/runtime"
    library = [entry for entry in sys.path if entry and entry != runtime]
    packages = [
        entry
        for entry in (
            f"{sys.prefix}/lib/{version}/site-packages",
            "/usr/local/lib/" + version + "/dist-packages" if sys.prefix == "/usr" else "",
            "/usr/lib/python3/dist-packages" if sys.prefix == "/usr" else "",
        )
        if entry and os.path.isdir(entry)
    ]
    layers = [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
    # The handler's directory must not be shadowed by anything, PYTHONPATH included.
    sys.path[:] = [os.environ.get("LAMBDA_TASK_ROOT", "/var/task"), *layers, *library, *packages]


def add_site_builtins():
    """`exit` and `quit`, which the skipped `site` module would have made."""
    import builtins

    import _sitebuiltins

    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


def main():
    global OUTPUTS
    os.set_inheritable(FRAMES, False)
    send((HELLO, bytes((PROTOCOL_VERSION,))))
    OUTPUTS = Outputs()
    set_up_path()
    add_site_builtins()
    sys.meta_path.insert(0, LoggingHook())
    # The bootstrap's own names must not be importable as the function's `__main__`.
    sys.argv = [sys.argv[0]]
    try:
        handler = load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        error_type, message, trace = describe(error, 0)
        document = error_document(message, error_type, trace, "")
        log_error(document)
        send((INIT_ERROR, with_type(error_type, document)))
        OUTPUTS.finish()
        os._exit(1)
    except SystemExit:
        OUTPUTS.finish()
        raise
    OUTPUTS.finish()
    send((READY, b""))
    frames = Frames()
    while True:
        kind, payload = frames.receive()
        if kind == INVOKE:
            length = int.from_bytes(payload[:4], "big")
            invoke(handler, decode(payload[4 : 4 + length]), payload[4 + length :])


main()
