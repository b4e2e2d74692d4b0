"""Watches the imports of a function that are done once for many instances, and refuses what those must not share.

Run by bootstrap.py when it is started as a version zygote. What an import leaves is looked at afterwards; what leaves no trace
(random bytes drawn, variables read) is noticed while it happens, by stand-ins that are taken away again. Code that wants to get
past this can: it only gets its own instances to share what it drew. What a compiled module draws by itself is not seen.
"""

import _signal
import os
import sys
import time

# What each instance is told. Source: crates/pool/src/environment.rs.
TOLD_LATER = (b"AWS_LAMBDA_INITIALIZATION_TYPE", b"AWS_LAMBDA_LOG_STREAM_NAME")
CREDENTIALS = (b"AWS_ACCESS_KEY_ID", b"AWS_SECRET_ACCESS_KEY", b"AWS_SESSION_TOKEN")
# Who instances run as; a version zygote itself is somebody else. Source: crates/sandbox/src/linux/identity.rs.
USER, GROUP = 993, 990
KEPT_BYTES = 64 * 1024
# Functions that make something unique, by module.
DRAWING = {"os": ("urandom", "getrandom"), "time": ("time", "time_ns")}
# Modules whose import draws something that `become_instance` draws again.
DRAWN_AGAIN = ("logging", "multiprocessing.process", "numpy.random", "random", "uuid")
# Each log record has a time, and so has each line in bootstrap.py.
MAY_ASK_FOR_THE_TIME = ("__main__", "logging")
# They ask for interfaces by netlink, which processes forked from a version zygote do not have. Source:
# crates/sandbox/src/seccomp/capabilities.rs.
NEED_NETLINK = ("ifaddr", "netifaces", "psutil", "pyroute2")
# What makes an HTTP client looks for `..._proxy`; what makes one of AWS looks for where an EC2 host would tell its role.
TAKE_OTHER_VARIABLES = (("urllib.request", "getproxies_environment"), ("botocore.utils", "__init__"))


class Unfit(Exception):
    """Why a function's imports cannot be shared."""


class Kept:
    """What the imports print, for each instance to say."""

    def __init__(self):
        self.records, self.left = [], KEPT_BYTES
        self.plain = b""

    def keep(self, frames):
        for _, payload in frames:
            self.left -= len(payload)
            if self.left >= 0:
                self.records.append(bytes(payload[8:]))

    def replay(self, send, kind):
        now = int(time.time() * 1000).to_bytes(8, "big")
        if self.records:
            send(*((kind, now + text) for text in self.records))
        if self.plain:
            os.write(1, self.plain)


def takes_other_variables():
    """Whether this is a library that goes through all variables and is known to look for a few of its own."""
    frame = sys._getframe(2)
    while frame:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in TAKE_OTHER_VARIABLES:
            return True
        frame = frame.f_back
    return False


class Environment(dict):
    """The data of `os.environ` that remembers who asked for what differs between instances."""

    seen = frozenset()

    def see(self, *keys):
        seen = set(keys) & {*TOLD_LATER, *CREDENTIALS}
        if not seen <= self.seen and not takes_other_variables():
            self.seen |= seen

    def __getitem__(self, key):
        self.see(key)
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        self.see(key)
        super().__setitem__(key, value)

    def __delitem__(self, key):
        self.see(key)
        super().__delitem__(key)

    def __iter__(self):
        self.see(*TOLD_LATER)
        return super().__iter__()

    def items(self):
        self.see(*TOLD_LATER)
        return super().items()


def status():
    with open("/proc/self/status", "rb") as file:
        return dict(line.split(b":", 1) for line in file.read().splitlines())


def lines(path):
    try:
        with open(path, "rb") as file:
            return file.read().splitlines()
    except OSError:
        return []


def files():
    return {folder: sorted(os.listdir(folder)) for folder in ("/tmp", "/dev/shm") if os.path.isdir(folder)}


def descriptors():
    """Numbers and what they are; that of the listing itself is closed when it is looked at."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass
    return found


def has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except ChildProcessError:
        # Those that let go of their parent belong to the init.
        return any(name.isdigit() and int(name) not in (1, os.getpid()) for name in os.listdir("/proc"))


class Watch:
    """From before the imports until an instance begins."""

    def __init__(self, kept, outputs):
        self.kept, self.outputs = kept, outputs
        self.reasons, self.drawn_again = [], {}
        self.excused = 0
        self.stand_ins = []
        self.process = os.getpid()
        self.begun = time.time()

    def note(self, reason):
        if not self.excused:
            self.reasons.append(reason)

    # --- Before ---

    def begin(self):
        self.files, self.directory = files(), os.getcwd()
        self.plain = os.memfd_create("output")
        self.outside = [os.dup(1), os.dup(2)]
        for descriptor in (1, 2):
            os.dup2(self.plain, descriptor)
        self.descriptors = descriptors()
        self.environment = Environment(os.environ._data)
        self.put_environment(self.environment)
        for module, names in DRAWING.items():
            for name in names:
                if hasattr(sys.modules[module], name):
                    self.stand_in(module, name, self.noting(getattr(sys.modules[module], name), module, name))
        constants = {"uid": USER, "gid": GROUP}
        for kind, value in constants.items():
            self.stand_in("os", "get" + kind, lambda value=value: value)
            self.stand_in("os", "gete" + kind, lambda value=value: value)
            self.stand_in("os", "getres" + kind, lambda value=value: (value,) * 3)
        sys.meta_path.insert(0, self)
        for name in DRAWN_AGAIN:
            if name in sys.modules:
                self.imported(name)

    def put_environment(self, data):
        os.environ._data = os.environb._data = data

    def stand_in(self, module, name, function):
        self.stand_ins.append((function, getattr(sys.modules[module], name)))
        setattr(sys.modules[module], name, function)

    def noting(self, function, module, name):
        def stand_in(*arguments, **named):
            caller = sys._getframe(1).f_globals.get("__name__")
            if module != "time" or caller not in MAY_ASK_FOR_THE_TIME:
                self.note(f"called {module}.{name}")
            return function(*arguments, **named)

        return stand_in

    def find_spec(self, name, path=None, target=None):
        """Learns when one of the modules that draw at their import is there."""
        if name not in DRAWN_AGAIN:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                loader, execute = spec.loader, spec.loader.exec_module
                own = "exec_module" in vars(loader)

                def exec_module(module):
                    if own:
                        loader.exec_module = execute
                    else:
                        del loader.exec_module
                    self.excused += 1
                    try:
                        execute(module)
                    finally:
                        self.excused -= 1
                    self.imported(name)

                loader.exec_module = exec_module
                return spec
        return None

    def imported(self, name):
        module = sys.modules[name]
        self.drawn_again[name] = module
        if name == "random":
            self.random_state = module.getstate()
        elif name == "numpy.random":
            self.numpy_state = repr(module.get_state(legacy=False))
        elif name == "uuid" and getattr(module, "_generate_time_safe", None):
            self.stand_in(name, "_generate_time_safe", self.noting(module._generate_time_safe, name, "uuid1"))

    # --- After ---

    def end(self):
        """Takes the stand-ins away. Fails with `Unfit` when the imports did or left what instances must not share."""
        if os.getpid() != self.process:
            os._exit(0)  # A child of the imports came back from them.
        sys.meta_path.remove(self)
        self.put_environment(dict(dict.items(self.environment)))
        self.take_stand_ins_away()
        self.outputs.finish()
        reasons = [*self.reasons, *self.drawn(), *self.read(), *self.left()]
        self.restore_output()
        if reasons:
            raise Unfit("the imports " + reasons[0])

    def take_stand_ins_away(self):
        back = {id(function): original for function, original in self.stand_ins}
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", None)
            if type(names) is dict:
                for name, value in list(names.items()):
                    if id(value) in back:
                        names[name] = back[id(value)]

    def drawn(self):
        module = self.drawn_again.get("random")
        if module and module.getstate() != self.random_state:
            yield "used the shared random number generator"
        module = sys.modules.get("_random")
        if module:
            import gc

            usual = {id(getattr(self.drawn_again.get("random"), "_inst", None))}
            system = getattr(self.drawn_again.get("random"), "SystemRandom", ())
            for thing in gc.get_objects():
                if isinstance(thing, module.Random) and not isinstance(thing, system) and id(thing) not in usual:
                    yield "made a random number generator"
        if self.keep_the_time():
            yield "kept the time"
        module = self.drawn_again.get("numpy.random")
        if module and repr(module.get_state(legacy=False)) != self.numpy_state:
            yield "used numpy's random number generator"

    def keep_the_time(self):
        """Whether something holds what `datetime.now()` or `date.today()` gave: no stand-in can take the place of these types."""
        module = sys.modules.get("datetime")
        if module is None:
            return False
        import gc

        things = gc.get_objects()  # Before those below are among them.

        def moments(seconds):
            there = module.datetime.fromtimestamp(seconds, module.timezone.utc)
            return module.datetime.fromtimestamp(seconds), there.replace(tzinfo=None), there

        # A second of slack on both sides, for who counts in whole ones.
        spans = list(zip(moments(self.begun - 1), moments(time.time() + 1)))
        days = {moment.date() for span in spans for moment in span}

        def is_now(value):
            if type(value) is module.date:
                return value in days
            return isinstance(value, module.datetime) and any(
                begun <= value <= now for begun, now in spans if (begun.tzinfo is None) == (value.utcoffset() is None)
            )

        for at in range(0, len(things), 1000):
            held = gc.get_referents(*things[at : at + 1000])
            if any(is_now(value) for value in held if isinstance(value, module.date)):
                return True
        return False

    def read(self):
        for name in TOLD_LATER:
            if name in self.environment.seen:
                yield "read " + name.decode()

    def left(self):
        for name in NEED_NETLINK:
            if name in sys.modules:
                yield f"have {name}, which needs netlink"
        if int(status()[b"Threads"]) != 1:
            yield "left a thread"
        if has_children():
            yield "left a process"
        if descriptors() != self.descriptors:
            yield "left a descriptor open, or closed one"
        if files() != self.files:
            yield "left a file"
        # Second in a line: what may be done with the memory, the last letter `s` when it is shared.
        rights = [fields[1] for fields in map(bytes.split, lines("/proc/self/maps")) if len(fields) > 1]
        if any(b"w" in right and right.endswith(b"s") for right in rights):
            yield "made shared memory"
        if any(len(lines("/proc/sysvipc/" + kind)) > 1 for kind in ("msg", "sem", "shm")):
            yield "made a System V object"
        if any(any(_signal.getitimer(kind)) for kind in range(3)) or lines("/proc/self/timers"):
            yield "set a timer"
        if os.getcwd() != self.directory:
            yield "changed the directory"
        if self.kept.left < 0 or os.fstat(self.plain).st_size > KEPT_BYTES:
            yield "printed too much"

    def restore_output(self):
        self.kept.plain = os.pread(self.plain, KEPT_BYTES, 0)
        for descriptor, outside in zip((1, 2), self.outside):
            os.dup2(outside, descriptor)
            os.close(outside)
        os.close(self.plain)

    # --- In an instance ---

    def become_instance(self, environment):
        """Completes the environment, and draws again what the imports drew."""
        read = set(CREDENTIALS) if self.environment.seen & set(CREDENTIALS) else set()
        for name in (*TOLD_LATER, *CREDENTIALS):
            if name not in read and name.decode() in environment:
                os.environ[name.decode()] = environment[name.decode()]
        for name, module in self.drawn_again.items():
            if name == "random":
                module.seed()
            elif name == "numpy.random":
                module.seed()
            elif name == "logging":
                module._startTime = time.time_ns() if type(module._startTime) is int else time.time()
            elif name == "multiprocessing.process":
                module.current_process().authkey = os.urandom(32)
