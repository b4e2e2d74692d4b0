//! Egress between private network namespaces that stand for the host, the outside and two sandboxes.
//! Needs root, `ip` and `nft`. Each refusal is set against the same attempt without the rules.

#![allow(clippy::unwrap_used)] // The helpers of tests are outside the functions the lint exempts.

use lamplight_sandbox::network::{Egress, EgressConfig, Resolver};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What is dropped silently has not answered by then; a first packet lost under load is repeated after a second.
const SILENCE: Duration = Duration::from_millis(1_500);

fn privileged() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "the tests of egress need root");
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn shell(script: &str) {
    let output = Command::new("bash").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A named network namespace that ends with the value.
struct Place {
    name: String,
}

impl Place {
    fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = Self { name: format!("lamplight-{}-{number}-{what}", std::process::id()) };
        shell(&format!("ip netns add {0}; ip -n {0} link set lo up", place.name));
        place
    }

    /// Runs something on a thread that lives in the namespace.
    fn within<Value: Send>(&self, run: impl FnOnce() -> Value + Send) -> Value {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                run()
            });
            inside.join().unwrap()
        })
    }

    fn ip(&self, arguments: &str) {
        shell(&format!("ip -n {} {arguments}", self.name));
    }

    /// Tries a TCP connection; says what came of it.
    fn attempt(&self, address: &str, port: u16) -> &'static str {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        self.within(|| outcome(TcpStream::connect_timeout(&address, SILENCE)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        shell(&format!("ip netns del {}", self.name));
    }
}

fn outcome<Value>(result: io::Result<Value>) -> &'static str {
    match result {
        Ok(_) => "connected",
        Err(error) => match error.kind() {
            ErrorKind::HostUnreachable => "refused",
            ErrorKind::NetworkUnreachable => "no route",
            ErrorKind::ConnectionRefused => "closed",
            ErrorKind::TimedOut | ErrorKind::WouldBlock => "silence",
            other => panic!("{other:?}: {error}"),
        },
    }
}

/// Serves TCP ports of every address of a namespace with the peer's address, and UDP ports of single addresses
/// (an answer must come from the address that was asked) with what they got.
/// The threads end with the process.
fn serve(place: &Place, tcp: &[u16], udp: &[(&str, u16)]) {
    place.within(|| {
        for port in tcp {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).unwrap();
            std::thread::spawn(move || {
                while let Ok((mut connection, peer)) = listener.accept() {
                    let _ = connection.write_all(peer.ip().to_string().as_bytes());
                }
            });
        }
        for (address, port) in udp {
            let socket = UdpSocket::bind((*address, *port)).unwrap();
            std::thread::spawn(move || {
                let mut packet = [0; 1500];
                while let Ok((length, peer)) = socket.recv_from(&mut packet) {
                    let _ = socket.send_to(&packet[..length], peer);
                }
            });
        }
    });
}

const UPLINK: &str = "1.1.1.2";
const OTHER_HOST_ADDRESS: &str = "5.5.5.5";
const PUBLIC: &str = "9.9.9.9";
const NAMESERVER: &str = "10.1.2.53";
const LISTED: &str = "192.168.7.8";
const DENIED: &str = "8.8.4.4";
const NOT_PUBLIC: [&str; 6] =
    ["10.1.2.3", "169.254.169.254", "192.168.7.7", "172.16.1.1", "100.100.0.1", "203.0.113.7"];

/// A host with one uplink to an outside that answers on many addresses.
struct World {
    host: Place,
    outside: Place,
}

impl World {
    fn new() -> Self {
        let (host, outside) = (Place::new("host"), Place::new("outside"));
        host.ip(&format!("link add up0 type veth peer name out0 netns {}", outside.name));
        host.ip(&format!("addr add {UPLINK}/24 dev up0"));
        host.ip(&format!("addr add {OTHER_HOST_ADDRESS}/32 dev lo"));
        host.ip("link set up0 up");
        outside.ip("addr add 1.1.1.1/24 dev out0");
        outside.ip("link set out0 up");
        host.ip("route add default via 1.1.1.1");
        for address in NOT_PUBLIC.into_iter().chain([PUBLIC, NAMESERVER, LISTED, DENIED]) {
            outside.ip(&format!("addr add {address}/32 dev lo"));
        }
        // So that what leaves the host without translation would be answered: the control needs it.
        outside.ip(&format!("route add 198.18.0.0/15 via {UPLINK}"));
        let udp = [(NAMESERVER, 53), (PUBLIC, 123), ("10.1.2.3", 53), (NAMESERVER, 123)];
        serve(&outside, &[25, 53, 80], &udp);
        serve(&host, &[22, 23, 53], &[(UPLINK, 53)]);
        Self { host, outside }
    }

    fn config() -> EgressConfig {
        EgressConfig {
            name: "test".to_owned(),
            allowed: ["192.168.7.8/32", "5.5.5.5:23"].map(|text| text.parse().unwrap()).to_vec(),
            refused: vec!["8.8.4.0/24".parse().unwrap()],
            resolver: Resolver { nameservers: vec![NAMESERVER.parse().unwrap()], ..Resolver::default() },
        }
    }

    fn egress(&self) -> Egress {
        self.host.within(|| Egress::prepare(&Self::config())).unwrap()
    }

    /// A sandbox's network namespace, linked.
    fn sandbox(&self, egress: &Egress, number: u16) -> Place {
        let place = Place::new("sandbox");
        place.within(|| egress.connect(number)).unwrap();
        place
    }
}

#[track_caller]
fn check(from: &Place, attempts: &[(&str, u16, &str)]) {
    let found: Vec<_> =
        attempts.iter().map(|(address, port, _)| (*address, *port, from.attempt(address, *port))).collect();
    assert_eq!(found, attempts);
}

#[test]
fn a_sandbox_reaches_the_public_internet_and_nothing_else() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let egress = world.egress();
    let (one, two) = (world.sandbox(&egress, 0), world.sandbox(&egress, 65_535));
    serve(&two, &[80], &[]);

    // Seen from outside it is the host.
    let peer = one.within(|| {
        let mut text = String::new();
        TcpStream::connect((PUBLIC, 80)).and_then(|mut stream| stream.read_to_string(&mut text)).map(|_| text)
    });
    assert_eq!(peer.unwrap(), UPLINK);

    let mut refused = vec![
        (UPLINK, 22, "closed"),
        (OTHER_HOST_ADDRESS, 22, "closed"),
        (UPLINK, 23, "closed"),
        ("198.18.0.0", 22, "closed"),
        ("198.19.255.254", 22, "closed"),
        ("198.19.255.255", 80, "closed"),
        (DENIED, 80, "closed"),
        (PUBLIC, 25, "closed"),
        (NAMESERVER, 80, "closed"),
    ];
    refused.extend(NOT_PUBLIC.map(|address| (address, 80, "closed")));
    check(&one, &refused);
    check(
        &one,
        &[
            (PUBLIC, 80, "connected"),
            (LISTED, 80, "connected"),
            (OTHER_HOST_ADDRESS, 23, "connected"),
            (NAMESERVER, 53, "connected"),
            ("127.0.0.1", 22, "closed"),
            ("2606:4700::1111", 80, "no route"),
        ],
    );
    let udp = |address: &str, port: u16| {
        one.within(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_read_timeout(Some(SILENCE))?;
            socket.connect((address, port))?;
            socket.send(b"ask")?;
            socket.recv(&mut [0; 8])
        })
    };
    let ask = || {
        [(NAMESERVER, 53), (PUBLIC, 123), ("10.1.2.3", 53), (UPLINK, 53), (NAMESERVER, 123)]
            .map(|(address, port)| outcome(udp(address, port)))
    };
    assert_eq!(ask(), ["connected", "connected", "refused", "refused", "refused"]);
    // Nobody comes in, although the outside has a route.
    check(&world.outside, &[("198.19.255.255", 80, "silence")]);

    // The control: without the rules and with forwarding, what was refused is there.
    shell(&format!("ip netns exec {} nft delete table inet lamplight_0_test", world.host.name));
    let open: Vec<_> = refused.iter().map(|(address, port, _)| (*address, *port, "connected")).collect();
    check(&one, &open);
    check(&world.outside, &[("198.19.255.255", 80, "connected")]);
    assert_eq!(ask(), ["connected"; 5]);
}

#[test]
fn a_borrowed_source_address_is_dropped() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let egress = world.egress();
    let (one, _two) = (world.sandbox(&egress, 1), world.sandbox(&egress, 2));
    // Two has 198.18.0.5. The rules' own counter proves the drop: the answer would go elsewhere anyway.
    one.ip("addr add 198.18.0.5/32 dev eth0");
    one.ip("route replace default via 198.18.0.2 src 198.18.0.5");
    let nft = |command: &str| {
        let output = Command::new("ip")
            .args(["netns", "exec", &world.host.name, "nft"])
            .args(command.split(' '))
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    nft("insert rule inet lamplight_0_test prerouting ip saddr 198.18.0.5 counter");
    nft("add rule inet lamplight_0_test prerouting ip saddr 198.18.0.5 counter");
    check(&one, &[(PUBLIC, 80, "silence")]);
    let rules = nft("list chain inet lamplight_0_test prerouting");
    let counters: Vec<bool> = rules
        .lines()
        .filter(|line| line.contains("counter"))
        .map(|line| !line.contains("packets 0 "))
        .collect();
    assert_eq!(counters, [true, false], "packets must come in and end before the last rule: {rules}");
}

#[test]
fn one_sandbox_cannot_fill_the_hosts_connection_table() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let egress = world.egress();
    let (one, two) = (world.sandbox(&egress, 1), world.sandbox(&egress, 2));
    // Each destination is a connection to the host's table.
    one.within(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        for port in 2_000..3_300_u16 {
            let _ = socket.send_to(b"x", (PUBLIC, port));
        }
    });
    check(&one, &[(PUBLIC, 80, "closed")]);
    check(&two, &[(PUBLIC, 80, "connected")]);
}

#[test]
fn forwarding_is_ours_alone_and_ends_with_us() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let forwarding = || {
        world
            .host
            .within(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap())
            .trim()
            .to_owned()
    };
    let tables = || {
        let output =
            Command::new("ip").args(["netns", "exec", &world.host.name, "nft", "list", "tables"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    world.host.within(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0")).unwrap();
    // A machine behind the host that has nothing to do with us.
    let neighbour = Place::new("neighbour");
    world.host.ip(&format!("link add lan0 type veth peer name lan1 netns {}", neighbour.name));
    world.host.ip("addr add 7.7.7.1/24 dev lan0");
    world.host.ip("link set lan0 up");
    neighbour.ip("addr add 7.7.7.2/24 dev lan1");
    neighbour.ip("link set lan1 up");
    neighbour.ip("route add default via 7.7.7.1");
    world.outside.ip(&format!("route add 7.7.7.0/24 via {UPLINK}"));
    check(&neighbour, &[(PUBLIC, 80, "silence")]);

    let egress = world.egress();
    assert_eq!(forwarding(), "1");
    let sandbox = world.sandbox(&egress, 0);
    check(&sandbox, &[(PUBLIC, 80, "connected")]);
    check(&neighbour, &[(PUBLIC, 80, "silence")]);

    // A successor after a kill takes over the slot, the rules and the duty to turn forwarding off.
    drop(egress);
    let successor = world.egress();
    assert_eq!(tables(), "table inet lamplight_0_test\n");
    check(&sandbox, &[(PUBLIC, 80, "connected")]);
    let other = EgressConfig { name: "other".to_owned(), ..World::config() };
    let other = world.host.within(|| Egress::prepare(&other)).unwrap();
    assert_eq!(other.range().to_string(), "100.64.0.0/15");
    world.host.within(|| other.remove()).unwrap();
    assert_eq!(forwarding(), "1", "another server's forwarding must stay");

    world.host.within(|| successor.remove()).unwrap();
    assert_eq!((forwarding().as_str(), tables().as_str()), ("0", ""));
}

#[test]
fn a_link_ends_with_its_namespace() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let egress = world.egress();
    let links = || {
        let output = Command::new("ip").args(["-n", &world.host.name, "-o", "link"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).matches("ll0-").count()
    };
    let places: Vec<_> = (0..20_u16).map(|number| (number, Place::new("link"))).collect();
    for (number, place) in &places {
        place.within(|| egress.connect(*number)).unwrap();
    }
    assert_eq!(links(), 20);
    drop(places);
    let deadline = Instant::now() + Duration::from_secs(10);
    while links() > 0 {
        assert!(Instant::now() < deadline, "links stay");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The number is free again.
    let again = world.sandbox(&egress, 0);
    check(&again, &[(PUBLIC, 80, "connected")]);
}

#[test]
fn rules_that_somebody_flushed_are_back_at_once() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let egress = world.egress();
    let one = world.sandbox(&egress, 1);
    let watch = world.host.within(|| egress.watch()).unwrap();
    let readable = |patience: Duration| {
        let timeout = rustix::event::Timespec::try_from(patience).unwrap();
        let mut watched = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut watched, Some(&timeout)).unwrap() > 0
    };
    let mend = || world.host.within(|| egress.mend(watch.as_fd())).unwrap();
    assert!(!readable(Duration::ZERO) && !mend());

    shell(&format!("ip netns exec {} nft flush ruleset", world.host.name));
    assert!(readable(Duration::from_secs(5)));
    // What happens meanwhile: the host is open to what is linked, so nothing more is linked.
    check(&one, &[(UPLINK, 22, "connected")]);
    let late = Place::new("late");
    let error = late.within(|| egress.connect(2)).unwrap_err();
    assert!(error.to_string().contains("lamplight_0_test is gone"), "{error}");

    assert!(mend() && !mend(), "once is enough");
    check(&one, &[(UPLINK, 22, "closed"), (PUBLIC, 80, "connected")]);
    assert!(!readable(Duration::ZERO), "the notices of our own change were taken");
}

#[test]
fn a_name_that_is_none_is_refused() {
    for name in ["", "a b", "x; flush ruleset", "a_b"] {
        let config = EgressConfig { name: name.to_owned(), ..EgressConfig::default() };
        assert_eq!(Egress::prepare(&config).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
    }
}
