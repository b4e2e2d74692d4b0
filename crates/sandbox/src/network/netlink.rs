//! The few rtnetlink messages that link a sandbox to the host: requests in, acknowledgements out.
//!
//! A process of its own per line would cost milliseconds; these are microseconds. Blocking, single-threaded.
//! Source: netlink(7), rtnetlink(7), linux/if_link.h, linux/veth.h.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Bytes of the header of every message (`struct nlmsghdr`).
const HEADER_BYTES: usize = 16;
/// What is looked at stands at the beginning of an answer; the rest of a long one is cut off.
const ANSWER_BYTES: usize = 4096;
/// Pause between two looks at a link that is coming up.
const CARRIER_POLL: Duration = Duration::from_micros(50);
/// Peer of a veth pair, within its `IFLA_INFO_DATA`.
const VETH_INFO_PEER: u16 = 1;

/// Messages to the packet filter are of its subsystem (`NFNL_SUBSYS_NFTABLES`).
const NFTABLES: u16 = 10 << 8;
const NFTA_TABLE_NAME: u16 = 1;
/// Notices of changed rules.
const NFNLGRP_NFTABLES: u32 = 7;
/// Notices taken at once; more make the socket readable again.
const MOST_NOTICES: u32 = 4096;

/// A socket that speaks rtnetlink in the network namespace it was opened in.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A request under construction.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(0_u32.to_ne_bytes()); // The length, once it is known.
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16).to_ne_bytes());
        bytes.extend([0; 8]); // Sequence number, set on sending; our port, which the kernel knows.
        bytes.extend(body);
        Self { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, kind: u16, value: &str) {
        let mut terminated = value.as_bytes().to_vec();
        terminated.push(0);
        self.attribute(kind, &terminated);
    }

    /// An attribute that holds attributes (and whatever else `fill` puts first).
    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
    }
}

/// The first message of an answer.
struct Answer {
    bytes: [u8; ANSWER_BYTES],
    length: usize,
}

impl Answer {
    fn word(&self, at: usize) -> io::Result<i32> {
        let received = &self.bytes[..self.length.min(ANSWER_BYTES)];
        let bytes = received.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(i32::from_ne_bytes).ok_or_else(|| io::Error::other("a netlink answer is cut short"))
    }

    fn kind(&self) -> Option<u16> {
        (self.length >= HEADER_BYTES).then(|| u16::from_ne_bytes([self.bytes[4], self.bytes[5]]))
    }
}

/// `struct ifinfomsg`.
fn link_body(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        // No protocol number is NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one request and gives its answer.
    fn exchange(&mut self, mut message: Message) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(message.bytes.len()).map_err(io::Error::other)?;
        message.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        message.bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        rustix::net::send(&self.socket, &message.bytes, SendFlags::empty())?;
        let mut answer = Answer { bytes: [0; ANSWER_BYTES], length: 0 };
        loop {
            (answer.length, _) = rustix::net::recv(&self.socket, &mut answer.bytes[..], RecvFlags::empty())?;
            // Anything else would be the answer to a request that was given up.
            if answer.word(8)?.cast_unsigned() == self.sequence {
                return Ok(answer);
            }
        }
    }

    /// Sends one request and waits for its acknowledgement.
    fn ask(&mut self, message: Message) -> io::Result<()> {
        match self.exchange(message)?.word(HEADER_BYTES)? {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }

    /// Makes a veth pair: `name` here, up and in interface group `group`; `peer_name` in the network namespace
    /// `peer_namespace` (a descriptor of this process), down.
    pub fn create_pair(
        &mut self,
        name: &str,
        group: u32,
        peer_name: &str,
        peer_namespace: i32,
    ) -> io::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWLINK, flags, &link_body(0, up, up));
        message.text(libc::IFLA_IFNAME, name);
        message.attribute(libc::IFLA_GROUP, &group.to_ne_bytes());
        message.nested(libc::IFLA_LINKINFO, |information| {
            information.text(libc::IFLA_INFO_KIND, "veth");
            information.nested(libc::IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    // The peer can only be brought up from within its namespace (ENOTCONN otherwise).
                    peer.bytes.extend(link_body(0, 0, 0));
                    peer.text(libc::IFLA_IFNAME, peer_name);
                    peer.attribute(libc::IFLA_NET_NS_FD, &peer_namespace.to_ne_bytes());
                });
            });
        });
        self.ask(message)
    }

    /// Brings an interface up.
    pub fn bring_up(&mut self, index: u32) -> io::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        self.ask(Message::new(libc::RTM_NEWLINK, 0, &link_body(index, up, up)))
    }

    /// Waits until an interface that is up transmits, at most `patience`.
    ///
    /// The kernel notices an end's new carrier in the background; until then it drops what is sent, and a TCP
    /// connection would begin with a second of silence.
    pub fn await_carrier(&mut self, index: u32, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let mut message = Message::new(libc::RTM_GETLINK, 0, &link_body(index, 0, 0));
            // The answer is the link itself; no acknowledgement beside it.
            message.bytes[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
            let answer = self.exchange(message)?;
            // In struct ifinfomsg: family, type, index, flags.
            let flags = answer.word(HEADER_BYTES + 8)?;
            if answer.kind() == Some(libc::RTM_NEWLINK) && flags & libc::IFF_RUNNING != 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Ok(()); // Not worth a failure: the first packet is sent again.
            }
            std::thread::sleep(CARRIER_POLL);
        }
    }

    /// Gives an interface an address and the network around it.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix_bits: u8) -> io::Result<()> {
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let mut body = [libc::AF_INET as u8, prefix_bits, 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut message = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body);
        message.attribute(libc::IFA_LOCAL, &address.octets());
        message.attribute(libc::IFA_ADDRESS, &address.octets());
        self.ask(message)
    }

    /// Sends everything without a route of its own to `gateway`.
    pub fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        // struct rtmsg: family, destination and source bits, service, table, protocol, scope, type, flags.
        let body = [
            libc::AF_INET as u8,
            0,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE, &body);
        message.attribute(libc::RTA_GATEWAY, &gateway.octets());
        message.attribute(libc::RTA_OIF, &index.to_ne_bytes());
        self.ask(message)
    }
}

/// Whether the packet filter has a table `name` for both IP versions, asked in microseconds (`nft` takes
/// milliseconds). Source: linux/netfilter/nf_tables.h.
pub fn filter_table_exists(name: &str) -> io::Result<bool> {
    let kind = NFTABLES | libc::NFT_MSG_GETTABLE as u16;
    // struct nfgenmsg: family, version, resource.
    let mut message = Message::new(kind, 0, &[libc::NFPROTO_INET as u8, 0, 0, 0]);
    message.bytes[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.text(NFTA_TABLE_NAME, name);
    let mut netlink = Netlink { socket: filter_socket()?, sequence: 0 };
    let answer = netlink.exchange(message)?;
    if answer.kind() == Some(NFTABLES | libc::NFT_MSG_NEWTABLE as u16) {
        return Ok(true);
    }
    match -answer.word(HEADER_BYTES)? {
        libc::ENOENT => Ok(false),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A socket that becomes readable when somebody changes the packet filter's rules.
pub fn watch_filter() -> io::Result<OwnedFd> {
    let socket = filter_socket()?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1 << (NFNLGRP_NFTABLES - 1)))?;
    Ok(socket)
}

/// Takes all notices off a socket made by [`watch_filter`].
pub fn drain(watch: BorrowedFd<'_>) -> io::Result<()> {
    let mut notice = [0_u8; ANSWER_BYTES];
    for _ in 0..MOST_NOTICES {
        match rustix::net::recv(watch, &mut notice[..], RecvFlags::DONTWAIT) {
            // Too many to keep: there were some, which is all that matters.
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn filter_socket() -> io::Result<OwnedFd> {
    let protocol = Some(netlink::NETFILTER);
    let kind = SocketType::RAW;
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, protocol)?)
}

/// Index of an interface of the calling thread's network namespace.
pub fn interface_index(name: &str) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(Netlink::open()?.socket, name)?)
}
