//! Which name servers a sandbox asks: the host's, as far as they can be reached from another network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Most name servers the C library asks. Source: resolv.conf(5), MAXNS.
const MOST_NAMESERVERS: usize = 3;
/// Where systemd-resolved lists what is behind its stub on 127.0.0.53.
const UPSTREAM_FILE: &str = "/run/systemd/resolve/resolv.conf";

/// What a sandbox is told about name resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// IPv4 name servers, not loopback.
    pub nameservers: Vec<Ipv4Addr>,
    /// `search`, `domain` and `options` lines, as on the host.
    pub settings: Vec<String>,
}

impl Resolver {
    /// Reads the host's configuration: `/etc/resolv.conf`, or systemd-resolved's own where that only names a
    /// stub on the loopback interface.
    pub fn of_host() -> io::Result<Self> {
        Self::from_files(Path::new("/etc/resolv.conf"), Path::new(UPSTREAM_FILE))
    }

    fn from_files(host: &Path, upstream: &Path) -> io::Result<Self> {
        let read = |path: &Path| match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            content => content,
        };
        let found = Self::parse(&read(host)?);
        if found.nameservers.is_empty() {
            return Ok(Self::parse(&read(upstream)?));
        }
        Ok(found)
    }

    fn parse(content: &str) -> Self {
        let mut resolver = Self::default();
        for line in content.lines().map(str::trim) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // Loopback is another one inside; IPv6 is off inside.
                    if let Some(Ok(IpAddr::V4(address))) = words.next().map(str::parse)
                        && !address.is_loopback()
                        && !address.is_unspecified()
                        && resolver.nameservers.len() < MOST_NAMESERVERS
                    {
                        resolver.nameservers.push(address);
                    }
                }
                Some("search" | "domain" | "options") => resolver.settings.push(line.to_owned()),
                _ => {}
            }
        }
        resolver
    }

    /// `/etc/resolv.conf` inside.
    pub fn content(&self) -> String {
        let nameservers = self.nameservers.iter().map(|address| format!("nameserver {address}\n"));
        let settings = self.settings.iter().map(|line| format!("{line}\n"));
        nameservers.chain(settings).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, upstream: &str, expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let (host_file, upstream_file) = (directory.path().join("host"), directory.path().join("upstream"));
        std::fs::write(&host_file, host).unwrap();
        std::fs::write(&upstream_file, upstream).unwrap();
        assert_eq!(Resolver::from_files(&host_file, &upstream_file).unwrap().content(), expected);
    }

    #[test]
    fn the_hosts_servers_are_told_and_stubs_replaced() {
        check("# made\nnameserver 10.0.0.53\nsearch a b\n", "", "nameserver 10.0.0.53\nsearch a b\n");
        check(
            "nameserver 127.0.0.53\noptions edns0\n",
            "nameserver 192.0.2.1\nnameserver fe80::1\nnameserver 192.0.2.2\nsearch lan\n",
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch lan\n",
        );
        check("nameserver 127.0.0.1\n", "", "");
        check("nameserver ::1\nnameserver nonsense\nnameserver\n", "", "");
        check(
            "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n",
            "",
            "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n",
        );
        let absent = Path::new("/nonexistent");
        assert_eq!(Resolver::from_files(absent, absent).unwrap(), Resolver::default());
    }
}
