//! The system call filter of everything that runs in a sandbox.
//!
//! An allow-list found by binary search: about seven comparisons per call, and short, because installing a
//! filter costs time per instruction (0.29 ms for 305 of them, measured). What the list does not name answers
//! ENOSYS, as an older kernel would, so that programs fall back; what is known and dangerous answers EPERM.
//! Source: seccomp(2), Documentation/userspace-api/seccomp_filter.rst.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;

mod calls;
mod capabilities;

pub use capabilities::without_use_of_capabilities;

/// One instruction of classic BPF, as the kernel takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    value: u32,
}

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<Instruction>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Allow,
    /// Known and dangerous.
    Forbid,
    /// As if this kernel did not have it.
    Unknown,
    /// `clone` without new namespaces only.
    Clone,
    /// `socket` of harmless families, types and protocols only.
    Socket,
    /// `socketpair` of the Unix family only.
    SocketPair,
    /// `personality` that changes nothing only.
    Personality,
    /// `ioctl` that cannot type into a terminal.
    Ioctl,
}

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
// The low halves of the arguments (both architectures are little-endian): all that is looked at is an int.
const OFFSET_FIRST_ARGUMENT: u32 = 16;
const OFFSET_SECOND_ARGUMENT: u32 = 24;
const OFFSET_THIRD_ARGUMENT: u32 = 32;

/// The type within the second argument of `socket`; the rest are flags. Source: linux/net.h, SOCK_TYPE_MASK.
const SOCKET_TYPE_MASK: u32 = 0xf;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// First number of the x32 calls on x86-64, which nobody uses and which would slip past the list.
const X32: u32 = 0x4000_0000;

/// Every `CLONE_NEW*` bit that `clone` takes in its flags (`CLONE_NEWTIME` is not one of them there).
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Compiles the filter for this architecture. Done once; installing it is cheap to repeat.
pub fn compile() -> Filter {
    Filter { program: assemble(&segments(&actions(&[]))) }
}

/// The filter of a zygote: its children enter namespaces prepared for them, then install [`closing`].
pub fn compile_for_zygote() -> Filter {
    Filter { program: assemble(&segments(&actions(&[libc::SYS_setns]))) }
}

/// The filter of a nest's init, which starts nothing: the calls it needs and no more. Everything else is unknown.
pub fn compile_for_init() -> Filter {
    let needed = calls::OF_AN_INIT.iter().filter_map(|number| u32::try_from(*number).ok());
    Filter { program: assemble(&segments(&needed.map(|number| (number, Action::Allow)).collect())) }
}

/// The program that makes of the zygote's filter the common one, as the kernel takes it: `sock_filter`s in native order.
///
/// Filters add up and the strictest wins, so this one needs to name only what the zygote may do and its child may not.
pub fn closing() -> Vec<u8> {
    let plain = |code, value| Instruction { code, jump_true: 0, jump_false: 0, value };
    let setns = u32::try_from(libc::SYS_setns).unwrap_or(0);
    let program = [
        plain(LOAD_WORD, OFFSET_NUMBER),
        Instruction { code: JUMP_EQUAL, jump_true: 0, jump_false: 1, value: setns },
        plain(RETURN, RETURN_ERRNO | libc::EPERM.unsigned_abs()),
        plain(RETURN, RETURN_ALLOW),
    ];
    program
        .iter()
        .flat_map(|one| {
            let [code_low, code_high] = one.code.to_ne_bytes();
            let [a, b, c, d] = one.value.to_ne_bytes();
            [code_low, code_high, one.jump_true, one.jump_false, a, b, c, d]
        })
        .collect()
}

/// Installs the filter for the calling process and all it starts, for good.
///
/// # Errors
/// When the kernel has no seccomp filters, or `no_new_privs` is not set.
pub fn install(filter: &Filter) -> io::Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    let length =
        u16::try_from(filter.program.len()).map_err(|_| io::Error::other("the filter is too long"))?;
    let program = Program { length, instructions: filter.program.as_ptr() };
    // SAFETY: the structure has the layout of sock_fprog and points to `length` instructions that live across
    // the call; the kernel copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What happens to each call that is not unknown, in what runs for functions.
fn actions(also_allowed: &[libc::c_long]) -> BTreeMap<u32, Action> {
    let mut actions = BTreeMap::new();
    let mut set = |numbers: &[libc::c_long], action: Action| {
        for number in numbers {
            if let Ok(number) = u32::try_from(*number) {
                actions.insert(number, action);
            }
        }
    };
    set(calls::ALLOWED, Action::Allow);
    set(calls::FORBIDDEN, Action::Forbid);
    set(also_allowed, Action::Allow);
    set(&[libc::SYS_clone], Action::Clone);
    set(&[libc::SYS_socket], Action::Socket);
    set(&[libc::SYS_socketpair], Action::SocketPair);
    set(&[libc::SYS_personality], Action::Personality);
    set(&[libc::SYS_ioctl], Action::Ioctl);
    // The C library falls back to clone, whose flags a filter can see.
    set(&[libc::SYS_clone3], Action::Unknown);
    actions
}

/// The number line cut where the action changes: `(first number, action)`, ascending from 0.
fn segments(actions: &BTreeMap<u32, Action>) -> Vec<(u32, Action)> {
    let mut segments = vec![(0, actions.get(&0).copied().unwrap_or(Action::Unknown))];
    let mut last = 0;
    for (&number, &action) in actions {
        if number > last + 1 {
            segments.push((last + 1, Action::Unknown));
        }
        segments.push((number, action));
        last = number;
    }
    segments.push((last + 1, Action::Unknown));
    segments.dedup_by_key(|segment| segment.1);
    segments
}

/// Where a comparison goes.
#[derive(Debug, Clone, Copy)]
enum Target {
    Node(usize),
    Action(Action),
}

struct Node {
    at_least: u32,
    yes: Target,
    no: Target,
}

/// Builds the search tree in preorder; gives its root.
fn plant(segments: &[(u32, Action)], nodes: &mut Vec<Node>) -> Target {
    if let [only] = segments {
        return Target::Action(only.1);
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let index = nodes.len();
    nodes.push(Node { at_least: high[0].0, yes: Target::Node(index), no: Target::Node(index) });
    nodes[index].no = plant(low, nodes);
    nodes[index].yes = plant(high, nodes);
    Target::Node(index)
}

/// The code that decides an action once the number is known. Jumps inside are relative, so it stands anywhere.
fn code_of(action: Action) -> Vec<Instruction> {
    let plain = |code, value| Instruction { code, jump_true: 0, jump_false: 0, value };
    let jump = |code, value, jump_true, jump_false| Instruction { code, jump_true, jump_false, value };
    let allow = plain(RETURN, RETURN_ALLOW);
    let fail = |errno: i32| plain(RETURN, RETURN_ERRNO | errno.unsigned_abs());
    match action {
        Action::Allow => vec![allow],
        Action::Forbid => vec![fail(libc::EPERM)],
        Action::Unknown => vec![fail(libc::ENOSYS)],
        Action::Clone => vec![
            plain(LOAD_WORD, OFFSET_FIRST_ARGUMENT),
            jump(JUMP_ANY_BIT, NEW_NAMESPACES, 0, 1),
            fail(libc::EPERM),
            allow,
        ],
        // SCTP, DCCP, multipath TCP, raw and the other families are attack surface (and modules loaded on demand)
        // without a use here. EPROTONOSUPPORT is what a kernel without them says: Go falls back to plain TCP.
        Action::Socket => vec![
            /*  0 */ plain(LOAD_WORD, OFFSET_FIRST_ARGUMENT),
            /*  1 */ jump(JUMP_EQUAL, libc::AF_UNIX.unsigned_abs(), 15, 0),
            /*  2 */ jump(JUMP_EQUAL, libc::AF_INET.unsigned_abs(), 4, 0),
            /*  3 */ jump(JUMP_EQUAL, libc::AF_INET6.unsigned_abs(), 3, 0),
            /*  4 */ jump(JUMP_EQUAL, libc::AF_NETLINK.unsigned_abs(), 0, 15),
            /*  5 */ plain(LOAD_WORD, OFFSET_THIRD_ARGUMENT),
            /*  6 */ jump(JUMP_EQUAL, libc::NETLINK_ROUTE.unsigned_abs(), 10, 13),
            /*  7 */ plain(LOAD_WORD, OFFSET_SECOND_ARGUMENT),
            /*  8 */ plain(AND, SOCKET_TYPE_MASK),
            /*  9 */ jump(JUMP_EQUAL, libc::SOCK_STREAM.unsigned_abs(), 1, 0),
            /* 10 */ jump(JUMP_EQUAL, libc::SOCK_DGRAM.unsigned_abs(), 0, 7),
            /* 11 */ plain(LOAD_WORD, OFFSET_THIRD_ARGUMENT),
            /* 12 */ jump(JUMP_EQUAL, 0, 4, 0),
            /* 13 */ jump(JUMP_EQUAL, libc::IPPROTO_TCP.unsigned_abs(), 3, 0),
            /* 14 */ jump(JUMP_EQUAL, libc::IPPROTO_UDP.unsigned_abs(), 2, 0),
            /* 15 */ jump(JUMP_EQUAL, libc::IPPROTO_ICMP.unsigned_abs(), 1, 0),
            /* 16 */ jump(JUMP_EQUAL, libc::IPPROTO_ICMPV6.unsigned_abs(), 0, 2),
            /* 17 */ allow,
            /* 18 */ fail(libc::EPERM),
            /* 19 */ fail(libc::EPROTONOSUPPORT),
            /* 20 */ fail(libc::EAFNOSUPPORT),
        ],
        Action::SocketPair => vec![
            plain(LOAD_WORD, OFFSET_FIRST_ARGUMENT),
            jump(JUMP_EQUAL, libc::AF_UNIX.unsigned_abs(), 0, 1),
            allow,
            fail(libc::EAFNOSUPPORT),
        ],
        Action::Personality => vec![
            plain(LOAD_WORD, OFFSET_FIRST_ARGUMENT),
            jump(JUMP_EQUAL, 0, 1, 0),
            jump(JUMP_EQUAL, u32::MAX, 0, 1),
            allow,
            fail(libc::EPERM),
        ],
        Action::Ioctl => vec![
            plain(LOAD_WORD, OFFSET_SECOND_ARGUMENT),
            jump(JUMP_EQUAL, libc::TIOCSTI as u32, 1, 0),
            jump(JUMP_EQUAL, libc::TIOCLINUX as u32, 0, 1),
            fail(libc::EPERM),
            allow,
        ],
    }
}

/// Lays the tree and the actions out. The lists are constant, so a jump that does not fit is a mistake in them
/// that the tests find; such a jump fails closed.
fn assemble(segments: &[(u32, Action)]) -> Vec<Instruction> {
    let plain = |code, value| Instruction { code, jump_true: 0, jump_false: 0, value };
    let mut program = vec![
        plain(LOAD_WORD, OFFSET_ARCHITECTURE),
        Instruction { code: JUMP_EQUAL, jump_true: 1, jump_false: 0, value: ARCHITECTURE },
        plain(RETURN, RETURN_ERRNO | libc::ENOSYS.unsigned_abs()),
        plain(LOAD_WORD, OFFSET_NUMBER),
        Instruction { code: JUMP_GREATER_EQUAL, jump_true: 0, jump_false: 1, value: X32 },
        plain(RETURN, RETURN_ERRNO | libc::ENOSYS.unsigned_abs()),
    ];
    let mut nodes = Vec::new();
    plant(segments, &mut nodes);
    let first_node = program.len();
    let mut places = BTreeMap::new();
    let mut tail = Vec::new();
    for action in [
        Action::Allow,
        Action::Forbid,
        Action::Unknown,
        Action::Clone,
        Action::Socket,
        Action::SocketPair,
        Action::Personality,
        Action::Ioctl,
    ]
    .into_iter()
    .filter(|action| segments.iter().any(|(_, used)| used == action))
    {
        places.insert(action, first_node + nodes.len() + tail.len());
        tail.extend(code_of(action));
    }
    for (index, node) in nodes.iter().enumerate() {
        let here = first_node + index;
        let offset = |target: Target| {
            let place = match target {
                Target::Node(index) => first_node + index,
                Target::Action(action) => places[&action],
            };
            u8::try_from(place - here - 1).unwrap_or(u8::MAX)
        };
        program.push(Instruction {
            code: JUMP_GREATER_EQUAL,
            jump_true: offset(node.yes),
            jump_false: offset(node.no),
            value: node.at_least,
        });
    }
    program.extend(tail);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the program for one call.
    pub(super) fn decide(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        arguments: [u32; 3],
    ) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let condition = match instruction.code {
                LOAD_WORD => {
                    accumulator = match instruction.value {
                        OFFSET_NUMBER => number,
                        OFFSET_ARCHITECTURE => architecture,
                        offset => arguments[((offset - OFFSET_FIRST_ARGUMENT) / 8) as usize],
                    };
                    continue;
                }
                AND => {
                    accumulator &= instruction.value;
                    continue;
                }
                RETURN => return instruction.value,
                JUMP_EQUAL => accumulator == instruction.value,
                JUMP_GREATER_EQUAL => accumulator >= instruction.value,
                JUMP_ANY_BIT => accumulator & instruction.value != 0,
                other => panic!("unknown instruction {other:#x}"),
            };
            at += usize::from(if condition { instruction.jump_true } else { instruction.jump_false });
        }
    }

    #[test]
    fn every_number_gets_exactly_its_action() {
        let program = compile().program;
        assert!(program.len() < 250, "{} instructions: jumps of one byte must reach", program.len());
        let errno = |number: i32| RETURN_ERRNO | number.unsigned_abs();
        for number in 0..1000_u32 {
            let call = libc::c_long::from(number as i32);
            let special = [
                libc::SYS_clone,
                libc::SYS_socket,
                libc::SYS_socketpair,
                libc::SYS_personality,
                libc::SYS_ioctl,
            ];
            let expected = if special.contains(&call) {
                continue;
            } else if calls::FORBIDDEN.contains(&call) {
                errno(libc::EPERM)
            } else if calls::ALLOWED.contains(&call) {
                RETURN_ALLOW
            } else {
                errno(libc::ENOSYS)
            };
            assert_eq!(decide(&program, ARCHITECTURE, number, [0; 3]), expected, "call {number}");
        }
        assert_eq!(decide(&program, 0x4000_0003, 1, [0; 3]), errno(libc::ENOSYS));
        assert_eq!(decide(&program, ARCHITECTURE, X32 + 1, [0; 3]), errno(libc::ENOSYS));
    }

    #[test]
    fn an_init_has_the_calls_it_needs_and_no_more() {
        let program = compile_for_init().program;
        assert!(program.len() < 60, "{} instructions: what is long takes long to install", program.len());
        let common = compile().program;
        for number in 0..1000_u32 {
            let allowed = calls::OF_AN_INIT.contains(&libc::c_long::from(number as i32));
            let expected = if allowed { RETURN_ALLOW } else { RETURN_ERRNO | libc::ENOSYS.unsigned_abs() };
            assert_eq!(decide(&program, ARCHITECTURE, number, [0; 3]), expected, "call {number}");
            // Nothing that functions have not.
            assert!(!allowed || decide(&common, ARCHITECTURE, number, [0; 3]) == RETURN_ALLOW, "{number}");
        }
        assert_eq!(
            decide(&program, 0x4000_0003, 1, [0; 3]),
            RETURN_ERRNO | libc::ENOSYS.unsigned_abs(),
            "another architecture"
        );
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let program = compile().program;
        let check = |call: libc::c_long, arguments: [u32; 3], expected: u32| {
            let number = u32::try_from(call).unwrap();
            assert_eq!(decide(&program, ARCHITECTURE, number, arguments), expected, "{call} {arguments:?}");
        };
        let errno = |number: i32| RETURN_ERRNO | number.unsigned_abs();
        check(libc::SYS_clone, [0x003d_0f00, 0, 0], RETURN_ALLOW);
        check(libc::SYS_clone, [libc::CLONE_NEWUSER as u32 | 17, 0, 0], errno(libc::EPERM));
        let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32;
        for (family, kind, protocol, expected) in [
            (libc::AF_UNIX, libc::SOCK_STREAM, 0, RETURN_ALLOW),
            (libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, RETURN_ALLOW),
            (libc::AF_INET, libc::SOCK_STREAM, 0, RETURN_ALLOW),
            (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP, RETURN_ALLOW),
            (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP, RETURN_ALLOW),
            (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP, RETURN_ALLOW),
            (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6, RETURN_ALLOW),
            (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP, errno(libc::EPROTONOSUPPORT)),
            (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP, errno(libc::EPROTONOSUPPORT)),
            (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE, errno(libc::EPROTONOSUPPORT)),
            (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP, errno(libc::EPERM)),
            (libc::AF_INET, libc::SOCK_SEQPACKET, 0, errno(libc::EPERM)),
            (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE, RETURN_ALLOW),
            (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER, errno(libc::EAFNOSUPPORT)),
            (libc::AF_VSOCK, libc::SOCK_STREAM, 0, errno(libc::EAFNOSUPPORT)),
            (libc::AF_ALG, libc::SOCK_SEQPACKET, 0, errno(libc::EAFNOSUPPORT)),
            (libc::AF_PACKET, libc::SOCK_RAW, 0, errno(libc::EAFNOSUPPORT)),
            (libc::AF_TIPC, libc::SOCK_STREAM, 0, errno(libc::EAFNOSUPPORT)),
        ] {
            let (family, kind, protocol) = (family as u32, kind as u32, protocol as u32);
            check(libc::SYS_socket, [family, kind, protocol], expected);
            check(libc::SYS_socket, [family, kind | flags, protocol], expected);
        }
        check(libc::SYS_socketpair, [libc::AF_UNIX as u32, 1, 0], RETURN_ALLOW);
        check(libc::SYS_socketpair, [libc::AF_TIPC as u32, 1, 0], errno(libc::EAFNOSUPPORT));
        check(libc::SYS_personality, [0, 0, 0], RETURN_ALLOW);
        check(libc::SYS_personality, [u32::MAX, 0, 0], RETURN_ALLOW);
        check(libc::SYS_personality, [0x0040_0000, 0, 0], errno(libc::EPERM));
        check(libc::SYS_ioctl, [0, libc::TIOCSTI as u32, 0], errno(libc::EPERM));
        check(libc::SYS_ioctl, [0, 0x5401, 0], RETURN_ALLOW);
    }
}
