//! A small HTTP server: a thread of its own, and bounds.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Connections at once; who comes when there are so many waits.
const CONNECTIONS_MAX: usize = 32;

/// How long a request's head may take to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may last; a scraper connects again.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// How long to leave off when a connection cannot be accepted.
const RECOVER: Duration = Duration::from_millis(100);

/// Bytes of a request's head, and how many headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Listens, and answers from a thread of its own until the process ends. Answers the address, whose port
/// is a free one if 0 was asked for.
///
/// # Errors
///
/// The address cannot be listened on; the text names it.
pub(super) fn start(address: SocketAddr, router: Router) -> Result<SocketAddr, String> {
    let explain = |error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).map_err(explain)?;
    listener.set_nonblocking(true).map_err(explain)?;
    let bound = listener.local_addr().map_err(explain)?;
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build().map_err(explain)?;
    let body = move || {
        runtime.block_on(async {
            // It has been bound, and the runtime is there: nothing is left that could fail.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                serve(listener, router).await;
            }
        });
    };
    thread::Builder::new().name("http".into()).spawn(body).map_err(explain)?;
    Ok(bound)
}

async fn serve(listener: tokio::net::TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, router.clone(), place))),
            // The peer was gone before it was accepted, or there are too many open files.
            Err(_) => sleep(RECOVER).await,
        }
    }
}

/// Answers one request after another.
async fn converse(stream: TcpStream, router: Router, place: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = TowerToHyperService::new(router.clone()).call(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // What a peer does wrong is its own affair.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
    drop(place);
}
