//! What `doctor` says about the gateway's own listener: may its port be opened, are its certificates good and for how long?

use super::Row;
use crate::config::Config;
use crate::server;
use lamplight_listener::tls::Certificate;
use lamplight_model::Timestamp;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A certificate that ends within so many days should have been renewed: authorities issue for 90, tools renew at 30.
const SOON_DAYS: i64 = 14;
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// Rows of what the configuration asks for; none when it asks for nothing.
pub fn rows(config: &Config, now: Timestamp) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Ok(Some(address)) = config.gateway.address()
        && (1..1_024).contains(&address.port())
    {
        let may =
            rustix::thread::capability_is_in_bounding_set(rustix::thread::CapabilitySet::NET_BIND_SERVICE);
        rows.push(port(address.port(), may.unwrap_or(false)));
    }
    if !config.gateway.tls.certificates.is_empty() {
        let user = server::planned_first_uid(&config.data_dir, config.first_uid);
        let unreadable = config.gateway.tls.keys.iter().find(|key| !is_readable(Path::new(key), user));
        let read = server::read_certificates(&config.gateway).map_err(|failure| failure.what);
        let read = match unreadable {
            Some(key) if read.is_ok() => Err(format!("{key} cannot be read by the server's user {user}")),
            _ => read,
        };
        rows.push(certificates(read.as_deref().map_err(String::as_str), now));
    }
    rows
}

fn port(port: u16, may: bool) -> Row {
    Row {
        name: "port",
        purpose: "the gateway's listener",
        ok: may,
        required: true,
        found: format!("{port}, CAP_NET_BIND_SERVICE {}", if may { "there" } else { "taken away" }),
        mend: if may {
            ""
        } else {
            "allow CAP_NET_BIND_SERVICE (the unit of lamplight install has it), or a port from 1024 up"
        },
    }
}

fn certificates(read: Result<&[Certificate], &str>, now: Timestamp) -> Row {
    let row = |ok: bool, found: String, mend| Row {
        name: "certificates",
        purpose: "TLS of the gateway",
        ok,
        required: false,
        found,
        mend: if ok { "" } else { mend },
    };
    let certificates = match read {
        Ok(certificates) => certificates,
        Err(error) => {
            return row(
                false,
                error.to_owned(),
                "put the files right: gateway.tls.certificates and gateway.tls.keys",
            );
        }
    };
    let found: Vec<String> = certificates.iter().map(|certificate| life(certificate, now)).collect();
    let good = certificates
        .iter()
        .all(|certificate| certificate.not_before <= now && days_left(certificate, now) >= SOON_DAYS);
    row(good, found.join("; "), "renew them, then: systemctl reload lamplight")
}

fn days_left(certificate: &Certificate, now: Timestamp) -> i64 {
    certificate.not_after.as_millis().saturating_sub(now.as_millis()).div_euclid(DAY_MS)
}

fn life(certificate: &Certificate, now: Timestamp) -> String {
    let names = certificate.names.join(", ");
    match days_left(certificate, now) {
        _ if certificate.not_before > now => format!("{names}: not valid yet"),
        ..0 => format!("{names}: has ended"),
        days @ 0..SOON_DAYS => format!("{names}: ends in {days} days"),
        days => format!("{names}: {days} days"),
    }
}

/// Whether a user whose group has the same number may read a file, by its mode. One that is not there is told elsewhere.
fn is_readable(file: &Path, user: u32) -> bool {
    let Ok(metadata) = std::fs::metadata(file) else { return true };
    let mode = metadata.mode();
    (metadata.uid() == user && mode & 0o400 != 0)
        || (metadata.gid() == user && mode & 0o040 != 0)
        || mode & 0o004 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_opened_is_told() {
        assert!(port(443, true).ok);
        let row = port(443, false);
        assert!(row.required && !row.ok && row.mend.contains("CAP_NET_BIND_SERVICE"));
    }

    #[test]
    fn wrong_files_are_told_with_their_sentence() {
        let row = certificates(Err("failed to read a.pem"), Timestamp(0));
        assert_eq!((row.ok, row.found.as_str()), (false, "failed to read a.pem"));
        assert!(row.mend.contains("gateway.tls"));
        assert!(certificates(Ok(&[]), Timestamp(0)).ok);
    }

    #[test]
    fn who_may_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.pem");
        std::fs::write(&file, "").unwrap();
        let set = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let owner = std::fs::metadata(&file).unwrap().uid();
        let other = owner.wrapping_add(7);
        set(0o600);
        assert!(is_readable(&file, owner) && !is_readable(&file, other));
        set(0o644);
        assert!(is_readable(&file, other));
        assert!(is_readable(&directory.path().join("none"), other));
    }
}
