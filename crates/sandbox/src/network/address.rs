//! Which addresses and interface group a server uses, and networks as they are written in the configuration.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network: address and prefix length, host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: Ipv4Addr,
    prefix_bits: u8,
}

impl Network {
    /// Whether any address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = Self { address: self.address, prefix_bits: self.prefix_bits.min(other.prefix_bits) };
        (u32::from(self.address) ^ u32::from(other.address)) & shorter.mask() == 0
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_bits)
    }
}

impl FromStr for Network {
    type Err = String;

    /// `192.168.1.0/24`, or one address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not an IPv4 network such as 192.168.1.0/24");
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix_bits: u8 = bits.parse().map_err(|_| wrong())?;
        let network = Self { address, prefix_bits };
        if prefix_bits > 32 || u32::from(address) & !network.mask() != 0 {
            return Err(wrong());
        }
        Ok(network)
    }
}

/// What an operator opens: a network, or one TCP port of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Where.
    pub network: Network,
    /// TCP port; `None` for everything.
    pub port: Option<u16>,
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(formatter, "{}:{port}", self.network),
            None => self.network.fmt(formatter),
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    /// `192.168.1.0/24`, `192.168.1.7`, or with a TCP port: `192.168.1.7:5432`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((network, port)) = text.split_once(':') else {
            return Ok(Self { network: text.parse()?, port: None });
        };
        let wrong =
            || format!("{text:?} is not an IPv4 network or address with a TCP port such as 192.168.1.7:5432");
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if port == 0 {
            return Err(wrong());
        }
        Ok(Self { network: network.parse().map_err(|_| wrong())?, port: Some(port) })
    }
}

/// One server's share of the host: a range of 65,536 pairs of addresses and an interface group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u8);

/// 198.18.0.0/15 (benchmarks, the least likely to be in use), 32 of 100.64.0.0/10, 128 of 10.0.0.0/8.
const SLOTS: u8 = 1 + 32 + 128;
const RANGE_BITS: u8 = 15;
/// First interface group; chosen to be unlikely to be somebody else's.
const FIRST_GROUP: u32 = 0x1a76_0000;

impl Slot {
    #[cfg(test)]
    pub(super) fn new(index: u8) -> Self {
        Self(index)
    }

    /// All addresses of the slot.
    pub fn range(self) -> Network {
        let address = match self.0 {
            0 => Ipv4Addr::new(198, 18, 0, 0),
            index @ 1..=32 => Ipv4Addr::new(100, 64 + (index - 1) * 2, 0, 0),
            // From the far end: people begin at 10.0.0.0.
            index => Ipv4Addr::new(10, 254 - (index - 33) * 2, 0, 0),
        };
        Network { address, prefix_bits: RANGE_BITS }
    }

    /// Host's and sandbox's address of pair `number`, a /31 network (RFC 3021).
    pub fn pair(self, number: u16) -> (Ipv4Addr, Ipv4Addr) {
        let outside = u32::from(self.range().address) + u32::from(number) * 2;
        (Ipv4Addr::from(outside), Ipv4Addr::from(outside + 1))
    }

    /// Interface group of the host's ends.
    pub fn group(self) -> u32 {
        FIRST_GROUP + u32::from(self.0)
    }

    /// First and last group of all servers.
    pub fn all_groups() -> (u32, u32) {
        (FIRST_GROUP, FIRST_GROUP + u32::from(SLOTS) - 1)
    }

    /// Name of the host's end of pair `number`; at most 15 bytes.
    pub fn interface(self, number: u16) -> String {
        format!("ll{}-{number}", self.0)
    }

    /// Name of the packet filter table of the server `name`.
    pub fn table(self, name: &str) -> String {
        format!("lamplight_{}_{name}", self.0)
    }

    /// The slot a table's name tells.
    pub fn of_table(table: &str) -> Option<Self> {
        let index = table.strip_prefix("lamplight_")?.split('_').next()?.parse().ok()?;
        (index < SLOTS).then_some(Self(index))
    }

    /// The first slot that no other server has and no route of the host leads to. `routes` is `/proc/net/route`.
    pub fn first_free(taken: &[Self], routes: &str) -> io::Result<Self> {
        let routes: Vec<Network> = parse_routes(routes).collect();
        (0..SLOTS)
            .map(Self)
            .filter(|slot| !taken.contains(slot))
            .find(|slot| !routes.iter().any(|route| route.overlaps(slot.range())))
            .ok_or_else(|| io::Error::other("no range of addresses is free for sandboxes"))
    }
}

/// Destinations of all routes but the default one. Source: proc_pid_net(5): little-endian hexadecimal.
fn parse_routes(routes: &str) -> impl Iterator<Item = Network> {
    routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hexadecimal =
            |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok().map(u32::swap_bytes);
        let (destination, mask) = (hexadecimal(1)?, hexadecimal(7)?);
        let prefix_bits = u8::try_from(mask.count_ones()).ok()?;
        (prefix_bits > 0).then_some(Network { address: destination.into(), prefix_bits })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "1.2.3.4/32"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("1.2.3.4").to_string(), "1.2.3.4/32");
        for wrong in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "::1/128", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn destinations_may_name_a_port() {
        let destination = |text: &str| text.parse::<Destination>();
        assert_eq!(destination("10.0.0.7:5432").unwrap().to_string(), "10.0.0.7/32:5432");
        assert_eq!(
            destination("10.0.0.0/8").unwrap(),
            Destination { network: network("10.0.0.0/8"), port: None }
        );
        for wrong in ["10.0.0.7:", "10.0.0.7:0", "10.0.0.7:65536", ":80", "::1", "10.0.0.7:80:90"] {
            assert!(destination(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "1.2.3.4/32", true),
            ("1.2.3.4/32", "1.2.3.5/32", false),
        ] {
            let (one, other) = (network(one), network(other));
            assert_eq!((one.overlaps(other), other.overlaps(one)), (expected, expected));
        }
    }

    #[test]
    fn slots_never_overlap_and_names_come_back() {
        let slots: Vec<Slot> = (0..SLOTS).map(Slot).collect();
        for (index, slot) in slots.iter().enumerate() {
            assert!(slots[index + 1..].iter().all(|other| !slot.range().overlaps(other.range())), "{slot:?}");
            assert_eq!(Slot::of_table(&slot.table("a1")), Some(*slot));
            assert!(slot.interface(u16::MAX).len() <= 15);
        }
        assert_eq!(slots[0].pair(65_535).1, Ipv4Addr::new(198, 19, 255, 255));
        assert_eq!(Slot::of_table("lamplight_200_a"), None);
        assert_eq!(Slot::of_table("other_1_a"), None);
    }

    #[test]
    fn a_slot_in_use_is_passed_over() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
        let default = "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\n";
        assert_eq!(Slot::first_free(&[], &format!("{head}{default}")).unwrap(), Slot(0));
        assert_eq!(Slot::first_free(&[Slot(0), Slot(1)], head).unwrap(), Slot(2));
        // 198.18.7.0/24 and 100.64.0.0/10.
        let routes =
            format!("{head}a\t000712C6\t0\t1\t0\t0\t0\t00FFFFFF\nb\t00004064\t0\t1\t0\t0\t0\t0000C0FF\n");
        assert_eq!(Slot::first_free(&[], &routes).unwrap().range(), network("10.254.0.0/15"));
        let everything =
            format!("{head}a\t00000000\t0\t1\t0\t0\t0\t00000080\nb\t00000080\t0\t1\t0\t0\t0\t00000080\n");
        assert!(Slot::first_free(&[], &everything).is_err());
    }
}
