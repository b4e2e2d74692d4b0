//! Requests that the gateway makes itself: to the issuers of tokens, and to back ends of APIs.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lamplight_listener::Share;
use lamplight_listener::body::{self, BodyError};
use lamplight_model::ErrorChain;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a connection is kept that nothing is sent over.
const IDLE: Duration = Duration::from_secs(60);
/// How many such connections are kept to one server.
const IDLE_CONNECTIONS: usize = 64;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientError {
    /// It took too long.
    TimedOut,
    /// The answer is longer than the bound.
    TooLarge,
    /// Other bodies have taken all the memory there is for them.
    NoRoom,
    /// No connection, or no HTTP.
    Failed(String),
}

type Pool = HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes requests over HTTP and HTTPS. The connection pool is made with the first one.
#[derive(Default)]
pub struct Client {
    http: OnceLock<Pool>,
}

impl Client {
    /// Sends a request and reads at most `limit_bytes` of the answer's body, into `memory` where that is given: the body keeps its room
    /// there until it is dropped.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        limit_bytes: usize,
        memory: Option<&Share>,
    ) -> Result<Response<Bytes>, ClientError> {
        let failed = |error: &dyn std::fmt::Display| ClientError::Failed(error.to_string());
        let http = self.pool()?;
        let whole = async {
            let response =
                http.request(request).await.map_err(|error| failed(&ErrorChain(&error).to_string()))?;
            let (head, body) = response.into_parts();
            let body = body::read_answer(body, limit_bytes, memory).await.map_err(|error| match error {
                BodyError::TooLarge { .. } => ClientError::TooLarge,
                BodyError::NoRoom => ClientError::NoRoom,
                BodyError::Slow => ClientError::TimedOut,
                BodyError::Broken => failed(&error),
            })?;
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(timeout, whole).await.unwrap_or(Err(ClientError::TimedOut))
    }

    /// The pool. What keeps it from being made now may be gone when the next request comes.
    fn pool(&self) -> Result<&Pool, ClientError> {
        if let Some(pool) = self.http.get() {
            return Ok(pool);
        }
        let made = connect(IDLE).map_err(ClientError::Failed)?;
        Ok(self.http.get_or_init(|| made))
    }

    /// The document at a URL. Fails in words for the log.
    pub async fn get(&self, url: &str, timeout: Duration, limit_bytes: usize) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url} is no URL"))?;
        let request = Request::get(uri)
            .header(http::header::ACCEPT, "application/json")
            .body(Full::default())
            .map_err(|error| format!("{url}: {error}"))?;
        match self.send(request, timeout, limit_bytes, None).await {
            Ok(response) if response.status() == StatusCode::OK => Ok(response.into_body()),
            Ok(response) => Err(format!("{url} answered {}", response.status())),
            Err(ClientError::TimedOut) => Err(format!("{url} did not answer within {timeout:?}")),
            Err(ClientError::TooLarge) => Err(format!("{url} answered more than {limit_bytes} bytes")),
            Err(ClientError::NoRoom) => Err(format!("there is no room for what {url} answered")),
            Err(ClientError::Failed(error)) => Err(format!("{url}: {error}")),
        }
    }
}

fn connect(idle: Duration) -> Result<Pool, String> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| format!("failed to read this host's certificates: {error}"))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let mut builder = HttpClient::builder(TokioExecutor::new());
    // Without a timer idle connections are closed when the next one is wanted, which may be never.
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(idle).pool_max_idle_per_host(IDLE_CONNECTIONS);
    Ok(builder.build(connector))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_listener::Memory;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    const KIB: usize = 1024;

    /// A server's address, and its connection once it has answered one request with a body of so many bytes.
    async fn answering(bytes: usize) -> (Uri, tokio::task::JoinHandle<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let answer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // Who does not want it closes the connection.
            let _ = stream.write_all(&vec![b'x'; bytes]).await;
            stream
        });
        (uri, answer)
    }

    fn get(uri: Uri) -> Request<Full<Bytes>> {
        Request::get(uri).body(Full::default()).unwrap()
    }

    #[tokio::test]
    async fn answers_share_the_memory_of_bodies() {
        let client = Client::default();
        let memory = Arc::new(Memory::new(1_000 * KIB));
        let send = async |bytes: usize| {
            let (uri, _server) = answering(bytes).await;
            let share = memory.of([192, 0, 2, 1].into());
            client.send(get(uri), Duration::from_secs(60), 800 * KIB, Some(&share)).await
        };
        let first = send(600 * KIB).await.unwrap();
        assert_eq!(first.body().len(), 600 * KIB);
        assert_eq!(send(600 * KIB).await.unwrap_err(), ClientError::NoRoom);
        assert_eq!(send(801 * KIB).await.unwrap_err(), ClientError::TooLarge);
        drop(first);
        assert!(send(600 * KIB).await.is_ok());
    }

    #[tokio::test]
    async fn idle_connections_are_closed() {
        let client = Client { http: OnceLock::from(connect(Duration::from_millis(1)).unwrap()) };
        let (uri, server) = answering(10).await;
        client.send(get(uri), Duration::from_secs(60), KIB, None).await.unwrap();
        let mut connection = server.await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(60), connection.read(&mut [0])).await;
        assert_eq!(closed.unwrap().unwrap(), 0);
    }
}
