//! Egress: the way from a sandbox to the public internet, and nowhere else.
//!
//! ```text
//! sandbox: eth0 (x.y.z.odd/31) ── veth ── host: ll<slot>-<number> (x.y.z.even/31), in the server's interface
//! group ── packet filter table of this server (policy, by group) ── masquerade ── uplink
//! ```
//!
//! A sandbox without egress has no interface but loopback. One with egress gets its pair while its wall is built:
//! two netlink sockets and five messages, a quarter of a millisecond. Closing the sandbox's network namespace
//! removes the pair.
//!
//! Refused are: every address of the host, other sandboxes, everything that is not public IPv4 (link-local with
//! its metadata services, private, shared, multicast, ...) unless listed, all IPv6, and port 25 as in AWS Lambda.
//! The host's name servers are reachable on port 53.
//!
//! The keeper calls [`Egress::prepare`], [`Egress::watch`], [`Egress::mend`] and [`Egress::remove`], a shell [`Egress::connect`]. Plain blocking calls.

mod address;
mod netlink;
mod resolver;
mod table;

pub use address::{Destination, Network, Slot};
pub use resolver::Resolver;

use netlink::Netlink;
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Prefix length of a pair's network (RFC 3021).
const PAIR_BITS: u8 = 31;
/// How long a sandbox waits for its link at most. It is there after a tenth of a millisecond on an idle host.
const CARRIER_PATIENCE: Duration = Duration::from_millis(500);
/// Name of the interface inside a sandbox.
const INSIDE_INTERFACE: &str = "eth0";
/// The calling thread's network namespace.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Any directory that exists and that nobody else locks; nothing is written there.
const LOCKED_DIRECTORY: &str = "/run";

/// How egress is configured.
#[derive(Debug, Clone, Default)]
pub struct EgressConfig {
    /// Unique per server on this host; ASCII letters and digits.
    pub name: String,
    /// What is allowed although it is not public, or is this host's.
    pub allowed: Vec<Destination>,
    /// Networks refused although they are public, for example the public address of a host behind translation.
    pub refused: Vec<Network>,
    /// Name servers the sandboxes may ask on port 53.
    pub resolver: Resolver,
}

/// A host that lets sandboxes out.
#[derive(Debug)]
pub struct Egress {
    table: String,
    slot: Slot,
    rules: String,
    host_namespace: OwnedFd,
    /// Whether forwarding was off before any server came.
    turned_on_forwarding: bool,
}

impl Egress {
    /// Loads the rules, then lets the host forward. Replaces what a predecessor of the same name left.
    ///
    /// Where the host did not forward before, it forwards nothing but the sandboxes' packets from now on, until
    /// [`remove`](Self::remove). A host that shall forward more must have `net.ipv4.ip_forward=1` beforehand.
    ///
    /// # Errors
    /// When `nft` is missing, the kernel lacks a part of the rules, or no range of addresses is free.
    pub fn prepare(config: &EgressConfig) -> io::Result<Self> {
        if config.name.is_empty() || !config.name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{:?} is no name for a packet filter table", config.name),
            ));
        }
        let open = |path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let host_namespace = open(OWN_NAMESPACE)?;
        let _lock = lock()?;
        let tables = server_tables()?;
        let predecessor = format!("_{}", config.name);
        let own = tables.iter().find(|name| name.ends_with(&predecessor));
        let slot = match own.and_then(|name| Slot::of_table(name)) {
            Some(slot) => slot,
            None => {
                let taken: Vec<Slot> = tables.iter().filter_map(|name| Slot::of_table(name)).collect();
                Slot::first_free(&taken, &fs::read_to_string("/proc/thread-self/net/route")?)?
            }
        };
        let was_forwarding = fs::read_to_string(FORWARDING)?.trim() == "1";
        // A killed predecessor, or another server, turned it on: their tables say so.
        let by_servers = tables.iter().map(|name| table::guards(name)).collect::<io::Result<Vec<_>>>()?;
        let turned_on_forwarding = !was_forwarding || by_servers.contains(&true);
        let table = slot.table(&config.name);
        let rules = table::Rules {
            table: &table,
            slot,
            nameservers: &config.resolver.nameservers,
            allowed: &config.allowed,
            refused: &config.refused,
            only_ours: turned_on_forwarding,
        }
        .text();
        table::load(&rules)?;
        if !was_forwarding {
            // Only now: without the rules every wall would be open.
            fs::write(FORWARDING, "1").map_err(|error| {
                io::Error::new(error.kind(), format!("failed to turn on {FORWARDING}: {error}"))
            })?;
        }
        Ok(Self { table, slot, rules, host_namespace, turned_on_forwarding })
    }

    /// A descriptor that becomes readable when somebody changes the host's packet filter; then call
    /// [`mend`](Self::mend). Must be called in the host's network namespace.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        netlink::watch_filter()
    }

    /// Loads the rules again when they are gone: a restart of the host's firewall service removes all tables, and
    /// every wall of the network with them. Gives whether it had to. Takes microseconds when they are there.
    pub fn mend(&self, watch: BorrowedFd<'_>) -> io::Result<bool> {
        netlink::drain(watch)?;
        if netlink::filter_table_exists(&self.table)? {
            return Ok(false);
        }
        if let Err(error) = table::load(&self.rules) {
            // No way out is better than an open one.
            if self.turned_on_forwarding {
                let _ = fs::write(FORWARDING, "0");
            }
            return Err(error);
        }
        Ok(true)
    }

    /// Links the calling thread's network namespace to the host. `number` is unique among the live sandboxes of
    /// this server, below 65,536.
    ///
    /// Needs root in the host's user namespace. Nothing of it is left when the namespace goes.
    pub fn connect(&self, number: u16) -> io::Result<()> {
        // New interfaces shall have no IPv6 (absent where the kernel has none).
        match fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let own_namespace = rustix::fs::open(OWN_NAMESPACE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let (outside, inside) = self.slot.pair(number);
        let enter = |namespace: &OwnedFd| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        };
        enter(&self.host_namespace)?;
        let made = match netlink::filter_table_exists(&self.table) {
            Ok(true) => self.create_outside(number, outside, &own_namespace),
            // Without the rules every wall would be open.
            Ok(false) => Err(io::Error::other(format!("the packet filter table {} is gone", self.table))),
            Err(error) => Err(error),
        };
        enter(&own_namespace)?;
        let (mut outside_link, outside_index) = made?;
        let index = netlink::interface_index(INSIDE_INTERFACE)?;
        let mut inside_link = Netlink::open()?;
        inside_link.bring_up(index)?;
        inside_link.add_address(index, inside, PAIR_BITS)?;
        inside_link.add_default_route(index, outside)?;
        outside_link.await_carrier(outside_index, CARRIER_PATIENCE)
    }

    /// In the host's network namespace: makes the pair and addresses its end here. Gives a socket that stays in
    /// that namespace, and the end's index.
    fn create_outside(&self, number: u16, address: Ipv4Addr, inside: &OwnedFd) -> io::Result<(Netlink, u32)> {
        let name = self.slot.interface(number);
        let mut netlink = Netlink::open()?;
        netlink.create_pair(&name, self.slot.group(), INSIDE_INTERFACE, inside.as_raw_fd())?;
        let index = netlink::interface_index(&name)?;
        netlink.add_address(index, address, PAIR_BITS)?;
        Ok((netlink, index))
    }

    /// The descriptor that must stay open in every process that calls [`connect`](Self::connect).
    pub fn host_namespace(&self) -> std::os::fd::RawFd {
        self.host_namespace.as_raw_fd()
    }

    /// The range of this server's sandboxes.
    pub fn range(&self) -> Network {
        self.slot.range()
    }

    /// Removes the rules and turns forwarding off again when it was off before, unless another server uses it.
    ///
    /// Must be called in the host's network namespace, when no sandbox is left.
    pub fn remove(&self) -> io::Result<()> {
        let _lock = lock()?;
        // Forwarding first, for the same reason as in `prepare`.
        let alone = server_tables()?.iter().all(|name| *name == self.table);
        if self.turned_on_forwarding && alone {
            fs::write(FORWARDING, "0")?;
        }
        table::remove(&self.table)
    }
}

/// Held while a server looks for a free slot or goes, so that two do not decide on the same facts.
fn lock() -> io::Result<OwnedFd> {
    let directory = rustix::fs::open(
        LOCKED_DIRECTORY,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory)
}

/// Tables of all servers on this host.
fn server_tables() -> io::Result<Vec<String>> {
    Ok(table::names()?.into_iter().filter(|name| Slot::of_table(name).is_some()).collect())
}
