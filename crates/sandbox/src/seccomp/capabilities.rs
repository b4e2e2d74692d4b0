//! A filter on top of the common one that takes from capabilities what they would be good for.
//!
//! A function's imports in a zygote may enter the nests of that function, and whoever enters a user namespace has every
//! capability in it until it gives them up. The common filter allows none of the calls that make much of that (`mount`,
//! `unshare`, `bpf`, raw and packet sockets); what is left is the network of a nest. Refused here is what a process without
//! capabilities is refused by the kernel, with the same error, so that instances see no difference; but for netlink, which is
//! refused whole: what a message asks for cannot be seen. Source: capabilities(7), CAP_NET_ADMIN and CAP_NET_RAW.

use super::{
    Filter, Instruction, JUMP_EQUAL, JUMP_GREATER_EQUAL, LOAD_WORD, OFFSET_FIRST_ARGUMENT, OFFSET_NUMBER,
    OFFSET_SECOND_ARGUMENT, OFFSET_THIRD_ARGUMENT, RETURN, RETURN_ALLOW, RETURN_ERRNO,
};

/// Options of `setsockopt` by level, and the first of those that belong to packet filters. Names: linux/in.h, linux/in6.h,
/// asm-generic/socket.h, linux/tcp.h.
const OPTIONS: &[(i32, &[i32], Option<i32>)] = &[
    // IP_IPSEC_POLICY, IP_XFRM_POLICY, IP_TRANSPARENT; IPT_BASE_CTL, ARPT_BASE_CTL, EBT_BASE_CTL, MRT_BASE.
    (libc::SOL_IP, &[16, 17, libc::IP_TRANSPARENT], Some(64)),
    // IPV6_IPSEC_POLICY, IPV6_XFRM_POLICY, extension headers of packets, IP6T_BASE_CTL and the next, IPV6_TRANSPARENT; MRT6_BASE.
    (libc::SOL_IPV6, &[34, 35, 54, 55, 57, 59, 64, 65, libc::IPV6_TRANSPARENT], Some(200)),
    // SO_DEBUG, SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_MARK.
    (libc::SOL_SOCKET, &[1, 32, 33, libc::SO_MARK], None),
    // TCP_REPAIR.
    (libc::SOL_TCP, &[19], None),
];
/// Calls of `ioctl` that concern interfaces, addresses, routes and bridges: from, to (exclusive).
const INTERFACE_CALLS: (u32, u32) = (0x8908, 0x8a00);
/// Those of them that only tell: SIOCGIFNAME, -CONF, -FLAGS, -ADDR, -DSTADDR, -BRDADDR, -NETMASK, -METRIC, -MTU, -HWADDR,
/// -INDEX, -COUNT, -TXQLEN, -MAP. Source: linux/sockios.h.
const TELLING_CALLS: &[u32] = &[
    0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8938, 0x8942,
    0x8970,
];

fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

fn fail(errno: i32) -> Instruction {
    plain(RETURN, RETURN_ERRNO | errno.unsigned_abs())
}

/// `then` when the loaded word compares so, otherwise what comes after it. A block that is too long fails closed.
fn when(code: u16, value: u32, then: Vec<Instruction>) -> Vec<Instruction> {
    let past = u8::try_from(then.len()).unwrap_or(u8::MAX);
    let mut block = vec![Instruction { code, jump_true: 0, jump_false: past, value }];
    block.extend(then);
    block
}

fn sockets() -> Vec<Instruction> {
    let mut block = vec![plain(LOAD_WORD, OFFSET_FIRST_ARGUMENT)];
    block.extend(when(JUMP_EQUAL, libc::AF_NETLINK.unsigned_abs(), vec![fail(libc::EAFNOSUPPORT)]));
    block.push(plain(RETURN, RETURN_ALLOW));
    block
}

fn socket_options() -> Vec<Instruction> {
    let mut block = vec![plain(LOAD_WORD, OFFSET_SECOND_ARGUMENT)];
    for (level, options, from) in OPTIONS {
        let mut of_level = vec![plain(LOAD_WORD, OFFSET_THIRD_ARGUMENT)];
        for option in *options {
            of_level.extend(when(JUMP_EQUAL, option.unsigned_abs(), vec![fail(libc::EPERM)]));
        }
        if let Some(from) = from {
            of_level.extend(when(JUMP_GREATER_EQUAL, from.unsigned_abs(), vec![fail(libc::EPERM)]));
        }
        of_level.push(plain(RETURN, RETURN_ALLOW));
        block.extend(when(JUMP_EQUAL, level.unsigned_abs(), of_level));
    }
    block.push(plain(RETURN, RETURN_ALLOW));
    block
}

fn device_calls() -> Vec<Instruction> {
    let mut block = vec![plain(LOAD_WORD, OFFSET_SECOND_ARGUMENT)];
    for call in TELLING_CALLS {
        block.extend(when(JUMP_EQUAL, *call, vec![plain(RETURN, RETURN_ALLOW)]));
    }
    block.extend(when(JUMP_GREATER_EQUAL, INTERFACE_CALLS.1, vec![plain(RETURN, RETURN_ALLOW)]));
    block.extend(when(JUMP_GREATER_EQUAL, INTERFACE_CALLS.0, vec![fail(libc::EPERM)]));
    block.push(plain(RETURN, RETURN_ALLOW));
    block
}

/// The filter. To be installed beside the common one, which looks at the architecture.
pub fn without_use_of_capabilities() -> Filter {
    let mut program = vec![plain(LOAD_WORD, OFFSET_NUMBER)];
    for (call, block) in [
        (libc::SYS_socket, sockets()),
        (libc::SYS_setsockopt, socket_options()),
        (libc::SYS_ioctl, device_calls()),
    ] {
        program.extend(when(JUMP_EQUAL, u32::try_from(call).unwrap_or(u32::MAX), block));
    }
    program.push(plain(RETURN, RETURN_ALLOW));
    Filter { program }
}

#[cfg(test)]
mod tests {
    use super::super::tests::decide;
    use super::super::{ARCHITECTURE, RETURN_ALLOW, RETURN_ERRNO};
    use super::*;

    #[test]
    fn what_only_the_privileged_may_is_refused() {
        let program = without_use_of_capabilities().program;
        let check = |call: libc::c_long, arguments: [i32; 3], expected: Option<i32>| {
            let number = u32::try_from(call).unwrap();
            let expected = expected.map_or(RETURN_ALLOW, |errno| RETURN_ERRNO | errno.unsigned_abs());
            let arguments = arguments.map(|argument| argument as u32);
            assert_eq!(decide(&program, ARCHITECTURE, number, arguments), expected, "{call} {arguments:?}");
        };
        let (no, yes) = (Some(libc::EPERM), None);
        check(libc::SYS_read, [0, 0, 0], yes);
        check(libc::SYS_socket, [libc::AF_INET, libc::SOCK_STREAM, 0], yes);
        check(libc::SYS_socket, [libc::AF_UNIX, libc::SOCK_STREAM, 0], yes);
        check(libc::SYS_socket, [libc::AF_NETLINK, libc::SOCK_RAW, 0], Some(libc::EAFNOSUPPORT));
        for (level, option, expected) in [
            (libc::SOL_SOCKET, libc::SO_REUSEADDR, yes),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, yes),
            (libc::SOL_SOCKET, libc::SO_MARK, no),
            (libc::SOL_IP, libc::IP_TTL, yes),
            (libc::SOL_IP, libc::IP_ADD_MEMBERSHIP, yes),
            (libc::SOL_IP, libc::IP_TRANSPARENT, no),
            (libc::SOL_IP, 64, no),
            (libc::SOL_IPV6, libc::IPV6_V6ONLY, yes),
            (libc::SOL_IPV6, libc::IPV6_TCLASS, yes),
            (libc::SOL_IPV6, 64, no),
            (libc::SOL_TCP, libc::TCP_NODELAY, yes),
            (libc::SOL_TCP, 19, no),
        ] {
            check(libc::SYS_setsockopt, [3, level, option], expected);
        }
        for (request, expected) in [
            (0x5401, yes),
            (0x8906, yes),
            (0x8933, yes),
            (0x8914, no),
            (0x8946, no),
            (0x89f0, no),
            (0x8a00, yes),
        ] {
            check(libc::SYS_ioctl, [3, request, 0], expected);
        }
    }
}
