"""Runs a Python handler: speaks frames with the platform over descriptor 3 and behaves as AWS Lambda's runtime.

Imports as little as possible before the handler does: every millisecond here is a cold start's.
The frame format is described in crates/runtime/src/frames/codec.rs.
"""

import _thread
import importlib
import os
import sys
import time

FRAMES = 3
# To the platform.
HELLO, READY, INIT_ERROR, RESPONSE, ERROR, LOG = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
# From the platform.
INIT, INVOKE, BEGIN = 0x81, 0x82, 0x83
PROTOCOL_VERSION = 1
# A log event longer than this is cut by the platform anyway.
LOG_BYTES = 256 * 1024
# Byte code of the function's package and of its layers, laid out like these: in task, in opt.
COMPILED_PACKAGE = "/var/compiled"
# Whether this is run as the byte code the server makes for an interpreter. Functions see the source's name.
COMPILED = __file__.endswith("c")
__file__ = __file__[:-1] if COMPILED else __file__
# Threads of the function log while another one answers. Reentrant, for signal handlers.
SENDING = _thread.RLock()
# What a version zygote's imports print, while they do.
KEPT = None


def send(*frames):
    """Sends (kind, payload) pairs, all in one write where the socket takes them."""
    if KEPT is not None:
        KEPT.keep(frames)
        return
    data = b"".join((len(payload) + 1).to_bytes(4, "big") + bytes((kind,)) + payload for kind, payload in frames)
    with SENDING:
        if FRAMES < 0:
            return  # A forked child: the conversation is its parent's.
        view = memoryview(data)
        while view:
            view = view[os.write(FRAMES, view) :]


class Frames:
    """Reads frames from the platform."""

    def __init__(self):
        self.buffer = bytearray()

    def take(self, length):
        while len(self.buffer) < length:
            if FRAMES < 0:
                os._exit(0)  # A forked child came back from the handler.
            chunk = os.read(FRAMES, max(65536, length - len(self.buffer)))
            if not chunk:
                os._exit(0)  # The platform is gone, and with it whoever could read an answer.
            self.buffer += chunk
        if len(self.buffer) == length:
            taken, self.buffer = self.buffer, bytearray()
        else:
            taken = self.buffer[:length]
            del self.buffer[:length]
        return taken

    def receive(self):
        length = int.from_bytes(self.take(4), "big")
        frame = self.take(length)
        return frame[0], memoryview(frame)[1:]


# --- JSON -----------------------------------------------------------------------------------------------------
#
# `import json` pulls in `re`, five milliseconds. The C accelerators it is made of do the same work without it.


class Exact:
    """Numbers written digit by digit. The encoder has no way to say "these bytes": a name stands in for them."""

    def __init__(self):
        self.mark = None
        self.texts = []

    def name(self, text):
        if self.mark is None:
            self.mark = f"exact-{os.urandom(12).hex()}-"
        self.texts.append(text)
        return f"{self.mark}{len(self.texts) - 1}-"

    def put(self, encoded):
        for index, text in enumerate(self.texts):
            encoded = encoded.replace(f'"{self.mark}{index}-"', text)
        return encoded


def make_default(exact):
    """How to write what JSON has no type for, as AWS's runtime does: exact decimals, and bytes as text."""

    def default(value):
        if isinstance(value, bytes):
            return value.decode("utf-8")
        decimal = sys.modules.get("decimal")
        if decimal is not None and isinstance(value, decimal.Decimal):
            return float("nan") if value.is_nan() else exact.name(str(value))
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

    return default


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
            text = str(data, "utf-8")
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
            exact = Exact()
            write = _json.make_encoder({}, make_default(exact), quote, None, ": ", ", ", False, False, True)
            return exact.put("".join(write(value, 0))).encode("utf-8", "surrogatepass")

        if decode(encode({"a": [1, 2.5, None, True, "\u00e9"]})) != {"a": [1, 2.5, None, True, "\u00e9"]}:
            raise ImportError("the accelerators changed")
        return decode, encode
    except Exception:  # Another Python without the accelerators, or with other signatures.
        import json

        def encode(value):
            exact = Exact()
            text = json.dumps(value, default=make_default(exact), ensure_ascii=sys.version_info < (3, 12))
            return exact.put(text).encode("utf-8", "surrogatepass")

        return (lambda data: json.loads(bytes(data))), encode


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
        os.register_at_fork(before=SENDING.acquire, after_in_parent=SENDING.release, after_in_child=self.in_child)

    def finish(self):
        for stream, lines in self.streams:
            try:
                stream.flush()
                lines.finish()
            except ValueError:
                pass  # The function closed its standard output.

    def in_child(self):
        global FRAMES, SENDING
        if KEPT is not None:
            SENDING.release()  # The platform's fork of a version zygote: the child is to be what its parent was.
            return
        # Its number is free for any file the child opens, so nothing may be written to it any more.
        descriptor, FRAMES, SENDING = FRAMES, -1, _thread.RLock()
        try:
            os.close(descriptor)
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


JSON_LOG = False  # Told by the environment, which is complete after `init`.


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
                    load_rest()
                    set_up_logging(module)

                spec.loader.exec_module = exec_module
                return spec
        return None


class OwnModules:
    """Finds, behind everybody else, the module that AWS's Python has and that a package need not bring."""

    def find_spec(self, name, path=None, target=None):
        if name != "snapshot_restore_py":
            return None
        from importlib.util import spec_from_file_location

        file = name + (".pyc" if COMPILED else ".py")
        return spec_from_file_location(name, os.path.join(os.path.dirname(__file__), file))


# --- Errors ---------------------------------------------------------------------------------------------------


class Fault(Exception):
    """A failure that Lambda names itself."""

    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = list(trace)


def load_rest():
    """Adds what an invocation that neither logs nor fails does not need."""
    if "report" not in globals():
        load_part("faults_and_logs.py")


def load_part(name):
    """Runs another file of the runtime in these globals."""
    path = os.path.join(os.path.dirname(__file__), name)
    try:
        # Made together with the byte code of this file, which is what runs here.
        if not COMPILED:
            raise OSError
        import marshal

        with open(path + "c", "rb") as file:
            code = marshal.loads(file.read()[16:])
    except OSError:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
    exec(code, globals())


# --- The handler ----------------------------------------------------------------------------------------------


def load_handler(name):
    """Imports the handler. Whatever goes wrong is a failed init."""
    try:
        module_path, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': {error}") from None
    try:
        if module_path.split(".")[0] in sys.builtin_module_names:
            raise Fault(
                "Runtime.BuiltInModuleConflict",
                f"Cannot use built-in module {module_path} as a handler module",
            )
        module = importlib.import_module(module_path.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_path}': {error}") from None
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise Fault(
            "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_path}': {error}", trace
        ) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault(
            "Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_path}'"
        ) from None


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
        self._w3c_fields = {}
        context = header.get("client_context")
        if context:
            try:
                context = decode(context.encode())
            except Exception as error:
                raise Fault(
                    "Runtime.LambdaContextUnmarshalError", f"Unable to parse Client Context JSON: {error}"
                ) from None
            if isinstance(context, dict):
                trace = context.pop("w3c", None)
                if isinstance(trace, dict):
                    for key in ("traceparent", "tracestate", "baggage"):
                        if isinstance(trace.get(key), str):
                            self._w3c_fields[key] = trace[key]
                self.client_context = ClientContext(context)
        self.identity = Identity({})
        self._deadline_ms = header["deadline_ms"]

    def get_remaining_time_in_millis(self):
        return max(int(self._deadline_ms - time.time() * 1000), 0)

    def w3c(self):
        """The W3C trace context the caller sent along."""
        return dict(self._w3c_fields)

    def log(self, message):
        OUTPUTS.finish()
        send(log_frame(str(message)))

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
    Current.request_id, Current.tenant_id = header["request_id"], header.get("tenant_id")
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
            body = result if isinstance(result, bytes) else encode(result)
        except Exception as error:
            raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None
    except Exception as error:
        load_rest()
        report(ERROR, error, header["request_id"])
    else:
        OUTPUTS.finish()
        send((RESPONSE, body))


def wait_for_init(frames):
    """The payload of INIT. While it is not there, gets done what its handling would only then begin."""
    os.set_blocking(FRAMES, False)
    try:
        frames.buffer += os.read(FRAMES, 65536)
    except BlockingIOError:
        if not SHARED:
            # The first one makes the types of the syntax tree, half a millisecond. The zygote has.
            compile("", "warm", "exec")
        elif comes_late(FRAMES):
            rehearse()
    os.set_blocking(FRAMES, True)
    return wait_for(frames, INIT)


def wait_for(frames, wanted):
    while True:
        kind, payload = frames.receive()
        if kind == wanted:
            return payload


FUNCTION_PATH = []  # Where the function's own modules are.


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
    FUNCTION_PATH[:] = os.environ.get("LAMBDA_TASK_ROOT", "/var/task"), *layers
    sys.path[:] = [*FUNCTION_PATH, *library, *packages]


def add_site_builtins():
    """`exit` and `quit`, which the skipped `site` module would have made."""
    import builtins

    import _sitebuiltins

    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


def prepare():
    """Makes of the interpreter that started this file the one that a function sees."""
    set_up_path()
    sys.meta_path.insert(0, LoggingHook())
    sys.meta_path.append(OwnModules())
    sys.argv = [__file__]
    use_compiled_package()


def use_compiled_package():
    """Lets imports find the byte code that compile_package.py made of package and layers. Whatever is wrong with it costs time
    only. They may come later, and their byte code never."""
    task = os.environ.get("LAMBDA_TASK_ROOT", "/var/task") + "/"
    external = sys.modules["_frozen_importlib_external"]
    cache_beside, load = external.cache_from_source, external._compile_bytecode

    def cache_from_source(*arguments, **named):
        cached = cache_beside(*arguments, **named)
        if cached.startswith(task):
            compiled = f"{COMPILED_PACKAGE}/task/{cached[len(task) :]}"
        elif cached.startswith("/opt/"):
            compiled = COMPILED_PACKAGE + cached
        else:
            return cached
        return compiled if external._path_isfile(compiled) else cached

    def compile_bytecode(data, name=None, bytecode_path=None, source_path=None):
        try:
            return load(data, name, bytecode_path, source_path)
        except (EOFError, ImportError, TypeError, ValueError):
            if not (source_path and bytecode_path and bytecode_path.startswith(COMPILED_PACKAGE)):
                raise
            with open(source_path, "rb") as file:
                return compile(file.read(), source_path, "exec", dont_inherit=True)

    external.cache_from_source, external._compile_bytecode = cache_from_source, compile_bytecode


def apply_init(payload):
    """Completes the environment; from here on it is the function's."""
    global JSON_LOG
    for name, value in decode(payload)["environment"].items():
        os.environ[name] = value
        if name == "TZ":
            time.tzset()
    JSON_LOG = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def start():
    """Imports the handler, or tells why not and ends the process."""
    try:
        return load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        load_rest()
        report(INIT_ERROR, error, "")
        os._exit(1)


def run_snapshot_hooks():
    """What a function with SnapStart registered for before and after its snapshot. The instance as its imports left it is the
    snapshot, so both are run at its start, in the order in which they would be around one. Ends the process when one fails."""
    module = sys.modules.get("snapshot_restore_py")
    if module is None:
        return  # Nobody can have registered any.
    error_type = "Runtime.BeforeSnapshotError"
    try:
        hooks = module.get_before_snapshot()
        while hooks:
            call, arguments, named = hooks.pop()
            call(*arguments, **named)
        error_type = "Runtime.AfterRestoreError"
        for call, arguments, named in module.get_after_restore():
            call(*arguments, **named)
    except Exception as error:
        load_rest()
        report(INIT_ERROR, error, "", error_type)
        os._exit(1)


def serve(frames, handler):
    while True:
        kind, payload = frames.receive()
        if kind == INVOKE:
            length = int.from_bytes(payload[:4], "big")
            invoke(handler, decode(payload[4 : 4 + length]), payload[4 + length :])


# Of the zygote this process was forked from: modules that only it uses, and names of those that are for the function.
SHARED, PRELOADED = [], set()


def greet():
    # Python makes descriptors it did not open inheritable; children of the function must not get this one.
    os.set_inheritable(FRAMES, False)
    send((HELLO, bytes((PROTOCOL_VERSION,))))


def enter_package():
    # Code may have been bound over the directory this process has stood in since its start.
    os.chdir(os.environ.get("LAMBDA_TASK_ROOT", "/var/task"))


def import_as_version_zygote():
    """Imports the handler ahead of its instances. Returns it in each of them, when its turn to begin has come."""
    global FRAMES, JSON_LOG, KEPT, OUTPUTS
    import version_zygote
    import zygote

    add_site_builtins()
    compile("", "warm", "exec")  # As a waiting interpreter does.
    SHARED.extend((version_zygote, *zygote.hide()))
    descriptor, FRAMES = FRAMES, -1
    OUTPUTS = Outputs()
    prepare()
    JSON_LOG = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    KEPT = version_zygote.Kept()
    watch = version_zygote.Watch(KEPT, OUTPUTS)
    watch.begin()
    try:
        handler = load_handler(os.environ.get("_HANDLER", ""))
        watch.end()
    except BaseException as error:
        zygote.tell_failure(zygote.CONTROL, f"{type(error).__name__}: {error}")
        os._exit(1)
    zygote.serve(decode)
    kept, KEPT, FRAMES = KEPT, None, descriptor
    greet()
    frames = Frames()
    watch.become_instance(decode(wait_for(frames, INIT))["environment"])
    wait_for(frames, BEGIN)
    zygote.stay_alone()
    enter_package()
    kept.replay(send, LOG)
    return frames, handler


def begin():
    """Becomes an instance whose handler is still to be imported, when it is its turn."""
    global OUTPUTS, comes_late
    forks = sys.argv[1:] == ["zygote"]
    if forks:
        # What every child would do before its code is known is done once. The modules that stay come first.
        load_part("warm.py")
        preload()
        add_site_builtins()
        compile("", "warm", "exec")
        import zygote

        comes_late = zygote.comes_late
        prepare()
        SHARED.extend(zygote.hide())
        zygote.serve(decode)
    greet()
    OUTPUTS = Outputs()
    frames = Frames()
    if not forks:
        add_site_builtins()
        prepare()
    apply_init(wait_for_init(frames))
    wait_for(frames, BEGIN)
    if forks:
        zygote.stay_alone()
    enter_package()
    if PRELOADED:
        offer_preloaded()
    return frames


def main():
    handler = None
    if sys.argv[1:] == ["version-zygote"]:
        frames, handler = import_as_version_zygote()
    else:
        frames = begin()
    try:
        if handler is None:
            handler = start()
        if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
            run_snapshot_hooks()
        OUTPUTS.finish()
        send((READY, b""))
        serve(frames, handler)
    finally:
        # The function ended its process: what it printed without a line's end is said now.
        OUTPUTS.finish()


main()
