"""Forks a prepared interpreter into sandboxes that were made for its children.

Run by bootstrap.py when it is started as a zygote. The protocol is described in crates/sandbox/src/linux/zygote.rs: an egg is a
copy of this process that waits in a sandbox until it is asked to fork there, once. Everything a child needs is imported here,
before the first fork and before a function's own imports, which may replace what they find in `os`; `hide` takes these modules
out of `sys.modules` again.
"""

import sys

BEFORE = set(sys.modules)

import _json
import _socket
import ctypes
import gc
import posix as os
import select

CONTROL = 3
# A child of which nobody has said by then what it is was made ahead, and has time.
LATE_MILLISECONDS = 5
# How often a child looks whether its egg is gone, and the pause between, seconds: a second in all.
LOOKS, PAUSE = 5000, 0.0002
EGG = None  # In a child: the process id of the egg it came from.
REQUEST_BYTES = 64 * 1024
DESCRIPTORS = 32
NAMESPACES = 7
# From the kernel's headers; the numbers of system calls that are the same on every architecture it supports since 2020.
SYS_LANDLOCK = (444, 445, 446)
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 4, 22, 24
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_RULE_PATH_BENEATH = 1
LAST_CAPABILITY = 63

# Without giving up the lock around each call, which one thread has no use for.
libc = ctypes.PyDLL(None, use_errno=True)


class SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


class PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def must(doing, result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"failed to {doing}: {os.strerror(number)}")
    return result


def syscall(doing, *arguments):
    return must(doing, libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))


def enter(namespaces):
    """User namespace first: owning it gives every capability in it, which the others ask for."""
    for descriptor in namespaces:
        must("enter a namespace", libc.setns(descriptor, 0))


def restrict_files(plan):
    """Landlock, as crates/sandbox/src/landlock.rs does it for programs that are not forked."""
    # handled_access_fs, handled_access_net, scoped; a kernel that knows fewer takes a shorter structure.
    fields = [plan["handled_files"], 0, plan["scoped"]] if plan["scoped"] else [plan["handled_files"]]
    attributes = (ctypes.c_uint64 * len(fields))(*fields)
    ruleset = syscall("make a Landlock ruleset", SYS_LANDLOCK[0], ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    for path, access in plan["rules"]:
        directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = PathBeneath(access, directory)
        syscall("add a Landlock rule", SYS_LANDLOCK[1], ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        os.close(directory)
    syscall("apply Landlock", SYS_LANDLOCK[2], ruleset, 0)
    os.close(ruleset)


def settle(user, group, filter_program, landlock):
    """Becomes the inside user for good: no capability, the common system call filter."""
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # Beyond this kernel's last one.
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    syscall("drop the capabilities", SYS_CAPSET[os.uname().machine], header, (ctypes.c_uint32 * 6)())
    # A process that changed its user has no /proc/self to itself until it says it may be looked at, as exec would.
    must("become dumpable", libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
    if landlock:
        restrict_files(landlock)
    program = SockFprog(len(filter_program) // 8, filter_program)
    must("install the system call filter", libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))


def take_descriptors(frames, output):
    """The descriptors of a program that was started: 1 and 2 output, 3 frames, no other but 0, which was nothing before."""
    os.setsid()
    for descriptor, number in ((output, 1), (output, 2), (frames, CONTROL)):
        os.dup2(descriptor, number)
    os.closerange(CONTROL + 1, 1024)


def receive(control):
    """The next message and its descriptors; None when the platform closed the socket."""
    data, ancillary, _, _ = control.recvmsg(REQUEST_BYTES, _socket.CMSG_SPACE(4 * DESCRIPTORS))
    descriptors = []
    for level, kind, content in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors += [int.from_bytes(content[at : at + 4], sys.byteorder) for at in range(0, len(content) - 3, 4)]
    return data, descriptors


def tell_failure(descriptor, error):
    """Tells the platform why this program is no zygote, or why there is no egg or child."""
    message = _json.encode_basestring_ascii((str(error) or type(error).__name__)[:500])
    os.write(descriptor, b'{"Failed": {"message": ' + message.encode() + b"}}")


def lay(request, descriptors):
    """Puts an egg into a nest. Gives its process id there in the one that hatches, which has settled and has its descriptors;
    None here."""
    end, *rest = descriptors
    namespaces, members = rest[:NAMESPACES], rest[NAMESPACES:]
    # The interpreter is told of the fork that stays only: what it does then touches pages that it otherwise shares.
    helper = must("fork", libc.fork())
    if helper:
        os.waitpid(helper, 0)
        return None
    # Nothing below may return but in the one that hatches.
    control = None
    try:
        enter(namespaces)
        # A process that enters a pid namespace stays outside; its child is in.
        if must("fork", libc.fork()):
            os._exit(0)
        # Here and not before: an attach waits for the kernel, and the zygote for its helper.
        for member in members:
            os.write(member, b"0")
        settle(request["user"], request["group"], bytes.fromhex(request["filter"]), request["landlock"])
        # With that the zygote's own socket is closed, and the namespaces and members are.
        os.dup2(end, CONTROL)
        os.closerange(CONTROL + 1, 1024)
        control = _socket.socket(fileno=CONTROL)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.chdir("/var/task")
        control.send(b'"Ready"')
        data, given = receive(control)
        if not data:
            os._exit(0)
        frames, output = given
        # This one's child has the namespace's init for its parent, once it is an orphan.
        egg = os.getpid()
        child = os.fork()
        if child:
            control.send(b'{"Forked": {"pid": %d}}' % child)
            # Ending takes a third of a millisecond; the child has something to do for a caller.
            os.sched_yield()
            os._exit(0)
    except BaseException as error:
        try:
            tell_failure(CONTROL if control else end, error)
        finally:
            os._exit(1)
    try:
        control.detach()
        take_descriptors(frames, output)
    except BaseException as error:
        os.write(output, f"failed to settle: {error}\n".encode())
        os._exit(1)
    return egg


def stay_alone():
    """Waits until the egg has ended and is forgotten: a function is alone in its sandbox."""
    for _ in range(LOOKS):
        try:
            os.kill(EGG, 0)
        except ProcessLookupError:
            return
        select.select((), (), (), PAUSE)


def comes_late(descriptor):
    """Waits for something to be read, but not long."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(LATE_MILLISECONDS)


def hide():
    """Takes what was imported here out of sight. Not freed: taking it apart would write to the pages children share."""
    return [sys.modules.pop(name) for name in set(sys.modules) - BEFORE | {__name__}]


def serve(decode):
    """Lays eggs on request until the platform closes the socket. Returns in each that hatches."""
    global EGG
    control = _socket.socket(fileno=CONTROL)
    gc.collect()
    gc.freeze()
    control.send(b'"Ready"')
    while True:
        data, descriptors = receive(control)
        if not data:
            os._exit(0)
        try:
            EGG = lay(decode(data)["Lay"], descriptors)
            if EGG:
                break
        except OSError as error:
            tell_failure(descriptors[0], error)
        for descriptor in descriptors:
            os.close(descriptor)
    control.detach()
