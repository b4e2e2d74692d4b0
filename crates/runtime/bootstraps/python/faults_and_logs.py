"""The second half of bootstrap.py, run in its globals when a function first logs or fails, or by a zygote."""

# Longest message and trace of an error document; a frame holds at most 1 MiB.
MESSAGE_CHARACTERS = 128 * 1024
TRACE_CHARACTERS = 128 * 1024


# --- Logs -----------------------------------------------------------------------------------------------------


def set_up_logging(logging):
    """Gives the root logger Lambda's handler. Called when `logging` is first imported, by whomever."""
    add_log_handler(logging, *make_log_handler(logging))


def make_log_handler(logging):
    """The handler, and its formatters for text and for JSON. Does not depend on the function."""

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
            message = record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage()
            line = {
                "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
                "level": record.levelname,
                "message": message,
                "logger": record.name,
            }
            if record.exc_info and record.exc_info[0]:
                line["stackTrace"] = stack_of(record.exc_info[2])
                line["errorType"] = record.exc_info[0].__name__
                line["errorMessage"] = str(record.exc_info[1])
            if Current.request_id:
                line["requestId"] = Current.request_id
            if Current.tenant_id:
                line["tenantId"] = Current.tenant_id
            if "stackTrace" in line:
                line["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
            for key, value in vars(record).items():
                if key not in standard and key not in line and value is not None:
                    line[key] = value
            import json

            # What has no JSON form must not cost the whole record.
            return json.dumps(line, ensure_ascii=False, default=str) + "\n"

    class Handler(logging.Handler):
        def emit(self, record):
            try:
                text = self.format(record)
                if FRAMES < 0 and KEPT is None:
                    sys.stdout.write(text)
                    return
                OUTPUTS.finish()
                send(log_frame(text))
            except Exception:
                self.handleError(record)

    handler = Handler()
    handler.addFilter(Filter())
    return handler, TextFormatter(), JsonFormatter()


def add_log_handler(logging, handler, text, json):
    handler.setFormatter(json if JSON_LOG else text)
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}.get(level, level)
    if isinstance(logging.getLevelName(level), int):
        root.setLevel(level)


# --- Errors ---------------------------------------------------------------------------------------------------


def stack_of(traceback_object):
    import traceback

    return traceback.format_list(traceback.extract_tb(traceback_object))


def error_document(message, error_type, trace, request_id):
    kept, left = [], TRACE_CHARACTERS
    for line in trace:
        left -= len(line)
        if left < 0:
            break
        kept.append(line)
    return {
        "errorMessage": message[:MESSAGE_CHARACTERS],
        "errorType": error_type,
        "requestId": request_id,
        "stackTrace": kept,
    }


def log_error(document):
    OUTPUTS.finish()
    if JSON_LOG:
        line = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "ERROR", **document}
        if Current.tenant_id:
            line["tenantId"] = Current.tenant_id
        send(log_frame(encode(line) + b"\n"))
        return
    text = "[ERROR]"
    if document["errorType"]:
        text += f" {document['errorType']}"
    if document["errorMessage"]:
        text += f": {document['errorMessage']}"
    lines = [text, "Traceback (most recent call last):"]
    for entry in document["stackTrace"]:
        lines.extend(entry.splitlines())
    send(log_frame("\n".join(lines) + "\n"))


def with_type(error_type, document):
    name = error_type.encode("utf-8", "replace")[:255]
    return len(name).to_bytes(2, "big") + name + encode(document)


def describe(error):
    """An exception of the function as (type, message, trace)."""
    if isinstance(error, Fault):
        return error.error_type, error.message, error.trace
    # Frames of ours and of the import machinery say nothing about the function.
    not_its = ("<frozen importlib", "/importlib/__init__.py", os.path.dirname(report.__code__.co_filename) + "/")
    trace = [line for line in stack_of(error.__traceback__) if not any(part in line for part in not_its)]
    try:
        message = str(error)
    except Exception:
        message = ""
    return type(error).__name__, message, trace


def report(kind, error, request_id, phase=None):
    """Logs an exception of the function and sends its document, under the name of the phase it ended, if any."""
    error_type, message, trace = describe(error)
    document = error_document(message, error_type, trace, request_id)
    log_error(document)
    send((kind, with_type(phase or error_type, document)))
