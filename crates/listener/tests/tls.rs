//! TLS as clients see it: versions, protocols, names, and certificates that change under load.

#![allow(clippy::unwrap_used)]

mod support;

use lamplight_listener::Limits;
use lamplight_listener::tls::{Certificate, Certificates, Tls};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Server, limits, read_to_end, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A self-signed certificate for one name, in files.
fn made(directory: &Path, name: &str) -> (Certificate, CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let (chain_file, key_file) = (directory.join("chain.pem"), directory.join("key.pem"));
    std::fs::write(&chain_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    (Certificate::read(&chain_file, &key_file).unwrap(), certificate.der().clone())
}

async fn secured(certificates: &Arc<Certificates>, limits: Limits) -> Server {
    start(limits, Some(Tls::new(Arc::clone(certificates)).unwrap())).await
}

fn connector(roots: &[CertificateDer<'static>], protocols: &[&str], newest: bool) -> TlsConnector {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).unwrap();
    }
    let versions: &[_] = if newest { rustls::ALL_VERSIONS } else { &[&rustls::version::TLS12] };
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    server: &Server,
    connector: &TlsConnector,
    name: &str,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    connector.connect(ServerName::try_from(name.to_owned()).unwrap(), server.connect().await).await
}

async fn ask(stream: &mut TlsStream<tokio::net::TcpStream>) -> String {
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn versions_and_protocols() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, root) = made(directory.path(), "a.example");
    let certificates = Arc::new(Certificates::default());
    certificates.set_files(vec![certificate]);
    let server = secured(&certificates, limits()).await;
    for (newest, version) in [(true, "TLSv1.3"), (false, "TLSv1.2")] {
        let connector = connector(std::slice::from_ref(&root), &["http/1.1"], newest);
        let mut stream = connect(&server, &connector, "a.example").await.unwrap();
        let answer = ask(&mut stream).await;
        assert!(answer.ends_with(&format!("GET /x a {version} ")), "{answer}");
    }
    let stream =
        connect(&server, &connector(std::slice::from_ref(&root), &["h2", "http/1.1"], true), "a.example")
            .await
            .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://a.example/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    // A challenge nobody ordered.
    assert!(connect(&server, &connector(&[root], &["acme-tls/1"], true), "a.example").await.is_err());
}

#[tokio::test]
async fn what_is_no_handshake_costs_little() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Arc::new(Certificates::default());
    certificates.set_files(vec![made(directory.path(), "a.example").0]);
    let server = secured(&certificates, limits()).await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1"), "clear text is not answered: {answer:?}");
    let began = Instant::now();
    let mut silent = server.connect().await;
    // The first bytes of a handshake, and no more.
    silent.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    // And none that has not begun holds up the end.
    let mut waiting = server.connect().await;
    server.stop.cancel();
    assert_eq!(read_to_end(&mut waiting).await, "");
    server.serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_and_no_request_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (first, first_root) = made(directory.path(), "a.example");
    let (second, second_root) = made(directory.path(), "a.example");
    let certificates = Arc::new(Certificates::default());
    certificates.set_files(vec![first.clone()]);
    let server = Arc::new(secured(&certificates, limits()).await);
    let (done, answered, seen_second) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (server, done) = (Arc::clone(&server), Arc::clone(&done));
            let (answered, seen_second) = (Arc::clone(&answered), Arc::clone(&seen_second));
            let roots = [first_root.clone(), second_root.clone()];
            let second_root = second_root.clone();
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let connector = connector(&roots, &["http/1.1"], true);
                    let mut stream = connect(&server, &connector, "a.example").await.unwrap();
                    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                    seen_second.fetch_add(usize::from(shown == second_root), Ordering::Relaxed);
                    let answer = ask(&mut stream).await;
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = Instant::now();
    let mut turn = 0;
    // Each side is seen, and changed often, however slow this machine is now.
    while (answered.load(Ordering::Relaxed) < 200 || seen_second.load(Ordering::Relaxed) == 0)
        && began.elapsed() < Duration::from_secs(20)
    {
        turn += 1;
        let shown = if turn % 2 == 0 { first.clone() } else { second.clone() };
        certificates.set_files(vec![shown]);
        server.limits.set(Limits { headers: 100 + turn % 7, ..limits() });
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let (answered, seen) = (answered.load(Ordering::Relaxed), seen_second.load(Ordering::Relaxed));
    assert!(answered >= 200 && seen > 0 && seen < answered, "{seen} of {answered}");
}
