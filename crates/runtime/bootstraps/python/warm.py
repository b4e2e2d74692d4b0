"""What a zygote and its children do before there is a function, run in the globals of bootstrap.py."""

# What AWS's own runtime client (awslambdaric 4) has loaded when it imports a handler; the rest are dependencies of these.
STANDARD = ("__future__", "decimal", "json", "logging", "textwrap", "traceback")
LOG_HANDLER = ()


def preload():
    """Imports in a zygote what most functions import first. None of it draws random numbers or reads the environment."""
    global LOG_HANDLER
    before = set(sys.modules)
    for name in STANDARD:
        importlib.import_module(name)
    PRELOADED.update({name.partition(".")[0] for name in sys.modules} - {name.partition(".")[0] for name in before})
    load_rest()
    LOG_HANDLER = make_log_handler(sys.modules["logging"])


def offer_preloaded():
    """Keeps what was preloaded, unless the function brings a module of such a name: it must find its own, as it would have."""
    if modules_beneath(FUNCTION_PATH).isdisjoint(PRELOADED):
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, LoggingHook)]
        add_log_handler(sys.modules["logging"], *LOG_HANDLER)
    else:
        # Not freed: taking modules apart would write to the pages they share with the zygote.
        SHARED.extend(sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in PRELOADED)


def modules_beneath(directories):
    """Names of whatever may be a module in one of them, and of other things."""
    names = set()
    for directory in directories:
        try:
            names.update(name.partition(".")[0] for name in os.listdir(directory))
        except OSError:
            pass  # No layers.
    return names


def rehearse():
    """Does once, unheard, with a handler of our own, what will be done with the function's: the memory this writes to is then
    this process's own, no longer the zygote's."""
    global send
    root = sys.modules["logging"].getLogger()
    root.addHandler(LOG_HANDLER[0])
    root.removeHandler(LOG_HANDLER[0])
    # About as many variables as a function is told, of names that none may have.
    names = [f"_{number}" for number in range(24)]
    apply_init(b'{"environment": {%s}}' % b", ".join(b'"%s": "%040d"' % (name.encode(), 0) for name in names))
    for name in names:
        del os.environ[name]
    modules_beneath(FUNCTION_PATH)
    speak, send = send, lambda *frames: None
    runtime = os.path.dirname(__file__)
    sys.path.insert(0, runtime)
    try:
        header = {"request_id": "", "invoked_arn": "", "deadline_ms": 0}
        invoke(load_handler("rehearsal.handler"), header, memoryview(b'{"key": ["value", 1, null]}'))
    finally:
        sys.path.remove(runtime)
        sys.path_importer_cache.pop(runtime, None)
        sys.modules.pop("rehearsal", None)
        send, Current.request_id = speak, None
