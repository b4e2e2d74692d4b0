//! The packet filter table of one server: what a sandbox with egress may reach.
//!
//! Text for `nft -f -`, loaded in one transaction. It decides by interface group, so it never changes while
//! sandboxes come and go. Source: nft(8).

use super::{Destination, Network, Slot};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// What is not the public internet. Source: IANA IPv4 Special-Purpose Address Registry (globally reachable:
/// false), multicast and reserved space.
const NOT_PUBLIC: [&str; 16] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
];
/// Simultaneous connections of one sandbox through the host. Each takes an entry of the host's connection table,
/// which all share (AWS Lambda's comparable bound is 1,024 open files).
const CONNECTIONS_PER_SANDBOX: u32 = 1_024;

/// What the rules are made from.
#[derive(Debug)]
pub struct Rules<'a> {
    /// Name of the table.
    pub table: &'a str,
    /// Addresses and interface group of this server.
    pub slot: Slot,
    /// Name servers the sandboxes may ask, also where their address would be refused.
    pub nameservers: &'a [Ipv4Addr],
    /// What is allowed although it is not public, or is this host's.
    pub allowed: &'a [Destination],
    /// Networks refused although they are public.
    pub refused: &'a [Network],
    /// Whether this host forwarded nothing before: then it still forwards nothing but sandboxes' packets.
    pub only_ours: bool,
}

impl Rules<'_> {
    /// The transaction that replaces the table of a predecessor by this one.
    pub fn text(&self) -> String {
        let Rules { table, slot, .. } = self;
        let group = slot.group();
        let list =
            |networks: &[Network]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let reject = "goto refuse";
        let nameservers = self.nameservers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut exceptions = String::new();
        if !nameservers.is_empty() {
            for protocol in ["udp", "tcp"] {
                let _ = writeln!(
                    exceptions,
                    "    iifgroup {group} ip daddr {{ {nameservers} }} {protocol} dport 53 accept"
                );
            }
        }
        for Destination { network, port } in self.allowed {
            let port = port.map(|port| format!("tcp dport {port} ")).unwrap_or_default();
            let _ = writeln!(exceptions, "    iifgroup {group} ip daddr {network} {port}accept");
        }
        let mut refusals =
            format!("    iifgroup {group} ip daddr {{ {} }} {reject}\n", NOT_PUBLIC.join(", "));
        if !self.refused.is_empty() {
            let _ = writeln!(refusals, "    iifgroup {group} ip daddr {{ {} }} {reject}", list(self.refused));
        }
        let others = if self.only_ours {
            // Another server's sandboxes are for its own rules to judge.
            let (first, last) = Slot::all_groups();
            format!("    iifgroup != {first}-{last} oifgroup != {first}-{last} drop\n")
        } else {
            String::new()
        };
        format!(
            "table inet {table}
delete table inet {table}
table inet {table} {{
  set connections {{ type ipv4_addr; size 65535; flags dynamic; }}
  chain refuse {{
    # The kernel limits the rate of ICMP errors, not of resets: nobody shall wait for a timeout.
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }}
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iifgroup {group} meta nfproto ipv6 drop
    iifgroup {group} fib saddr . iif oif missing drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifgroup {group} ct state established,related accept
{exceptions}    iifgroup {group} {reject}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifgroup {group} oifgroup {group} {reject}
    iifgroup {group} ct state new add @connections {{ ip saddr ct count over {CONNECTIONS_PER_SANDBOX} }} {reject}
{exceptions}{refusals}    iifgroup {group} tcp dport 25 {reject}
    iifgroup {group} accept
    oifgroup {group} ct state established,related accept
    oifgroup {group} drop
{others}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {range} oifgroup != {group} masquerade
  }}
}}
",
            range = slot.range(),
        )
    }
}

/// Runs `nft`, giving it `input`; gives its output.
fn nft(arguments: &[&str], input: &str) -> io::Result<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("failed to run nft (apt-get install nftables): {error}"))
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("nft failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Loads rules made by [`Rules::text`]: all of them or none.
pub fn load(rules: &str) -> io::Result<()> {
    nft(&["-f", "-"], rules).map(drop)
}

/// Names of all `inet` tables.
pub fn names() -> io::Result<Vec<String>> {
    let list = nft(&["list", "tables"], "")?;
    Ok(list.lines().filter_map(|line| line.strip_prefix("table inet ")).map(str::to_owned).collect())
}

/// Whether a table holds the rule of [`Rules::only_ours`]: its server had turned forwarding on.
pub fn guards(table: &str) -> io::Result<bool> {
    let rules = nft(&["list", "chain", "inet", table, "forward"], "")?;
    Ok(rules.lines().any(|line| line.trim_start().starts_with("iifgroup !=")))
}

/// Removes a table. Existing connections of sandboxes end with it.
pub fn remove(table: &str) -> io::Result<()> {
    nft(&["delete", "table", "inet", table], "").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(only_ours: bool) -> String {
        Rules {
            table: "lamplight_0_test",
            slot: Slot::new(0),
            nameservers: &[Ipv4Addr::new(10, 0, 0, 53)],
            allowed: &["10.9.0.0/16".parse().unwrap(), "10.8.0.1:80".parse().unwrap()],
            refused: &["5.6.7.8/32".parse().unwrap()],
            only_ours,
        }
        .text()
    }

    /// Position of the only line that holds `part`, among the lines of the forward chain.
    #[track_caller]
    fn place(text: &str, part: &str) -> usize {
        let forward = text.split("chain forward").nth(1).unwrap().split("chain postrouting").next().unwrap();
        let found: Vec<_> = forward.lines().enumerate().filter(|(_, line)| line.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part}: {found:?}");
        found[0].0
    }

    #[test]
    fn exceptions_come_before_refusals_and_those_before_the_internet() {
        let text = rules(false);
        let order = [
            place(&text, "oifgroup 443940864 goto refuse"),
            place(&text, "{ 10.0.0.53 } udp dport 53 accept"),
            place(&text, "ip daddr 10.9.0.0/16 accept"),
            place(&text, "ip daddr 10.8.0.1/32 tcp dport 80 accept"),
            place(&text, "169.254.0.0/16"),
            place(&text, "5.6.7.8/32"),
            place(&text, "tcp dport 25 goto refuse"),
            place(&text, "iifgroup 443940864 accept"),
        ];
        assert!(order.is_sorted(), "{order:?}\n{text}");
        assert!(!text.contains("oifgroup != 443940864-"));
        let guarded = rules(true);
        assert!(
            place(&guarded, "iifgroup != 443940864-443941024 oifgroup != 443940864-443941024 drop")
                > order[7]
        );
    }

    #[test]
    fn nothing_listed_leaves_no_empty_set() {
        let text = Rules {
            table: "t",
            slot: Slot::new(1),
            nameservers: &[],
            allowed: &[],
            refused: &[],
            only_ours: false,
        }
        .text();
        assert!(!text.contains("{  }"), "{text}");
        assert!(text.contains("ip saddr 100.64.0.0/15 "), "{text}");
    }
}
