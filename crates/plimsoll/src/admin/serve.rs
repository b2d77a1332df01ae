//! The HTTP thread: from listening sockets to requests, within bounds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle as Task;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::entry::Caller;
use super::routes::{self, Context};
use super::stall::{Impatient, Stream};
use super::{Order, books, jobs};
use crate::broker::events::Whence;
use crate::broker::listener::{Bound, Listening};
use crate::broker::shared::Shared;
use crate::broker::transport::certificate::Certificate;
use crate::broker::transport::tls_files::TlsSettings;

/// How long answers under way may take when the broker goes down.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long to leave off when a connection cannot be accepted.
const RECOVER: Duration = Duration::from_millis(100);

/// How often the books are brought up to date while nothing is asked.
const SETTLE: Duration = Duration::from_secs(1);

/// Headers of a request, at most.
const HEADERS_MAX: usize = 100;

/// Starts the thread.
pub(super) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, String> {
    let explain = |error: io::Error| format!("cannot start the HTTP thread: {error}");
    let shared = Arc::clone(shared);
    // A file descriptor may be wanting: that is known here.
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(jobs::THREADS)
        .thread_keep_alive(Duration::from_secs(1))
        .thread_name("http-work")
        .build()
        .map_err(explain)?;
    thread::Builder::new()
        .name("http".into())
        .spawn(move || {
            run(&runtime, &shared);
            // Dropping it would wait for jobs, however long they take.
            runtime.shutdown_timeout(FAREWELL);
        })
        .map_err(explain)
}

fn run(runtime: &Runtime, shared: &Arc<Shared>) {
    books::open(shared.ledger);
    let context = Context::new(Arc::clone(shared));
    runtime.block_on(async {
        let each_second = context.clone();
        tokio::spawn(async move {
            let mut ticks = interval(SETTLE);
            loop {
                ticks.tick().await;
                each_second.history.note(&each_second);
                each_second.tidy();
                books::settle();
            }
        });
        obey(&context).await;
    });
}

/// Opens and closes sockets as it is told, until the broker goes down.
async fn obey(context: &Context) {
    let shared = &context.shared;
    let router = routes::router(context);
    let mut open: HashMap<u16, Vec<Task<()>>> = HashMap::new();
    while !shared.stopping() {
        for Order { close, open: new, done } in shared.admin.take_orders() {
            for task in close.iter().filter_map(|number| open.remove(number)).flatten() {
                task.abort();
                // The socket is closed when the task is gone.
                let _ = task.await;
            }
            for bound in new {
                let number = bound.listener;
                match Door::open(bound) {
                    Ok(door) => {
                        books::aside(|| {
                            shared
                                .log
                                .information(&format!("HTTP API on {}.", door.address(context)));
                        });
                        let task = tokio::spawn(door.serve(context.clone(), router.clone()));
                        open.entry(number).or_default().push(task);
                    }
                    Err(error) => books::aside(|| shared.log.error(&error)),
                }
            }
            if let Some(done) = done {
                books::settle();
                // Whoever asked may have given up.
                let _ = done.send(());
            }
        }
        shared.admin.wake.notified().await;
    }
    for task in open.into_values().flatten() {
        task.abort();
        let _ = task.await;
    }
    shared.admin.generation.send_modify(|generation| *generation += 1);
    let _ = timeout(FAREWELL, async {
        while shared.admin.connections.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A listening socket of the runtime's.
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening socket and what is known of it.
struct Door {
    socket: Socket,
    bound: Bound,
    /// Only this machine can connect.
    local: bool,
}

impl Door {
    fn open(bound: Bound) -> Result<Self, String> {
        let explain = |error: io::Error| bound.explain(&error);
        let (socket, local) = match &bound.socket {
            Listening::Tcp(socket, address) => {
                let socket = socket.as_fd().try_clone_to_owned().map_err(explain)?;
                let socket = TcpListener::from_std(socket.into()).map_err(explain)?;
                (Socket::Tcp(socket), address.ip().to_canonical().is_loopback())
            }
            Listening::Unix(socket, _) => {
                let socket = socket.as_fd().try_clone_to_owned().map_err(explain)?;
                (Socket::Unix(UnixListener::from_std(socket.into()).map_err(explain)?), true)
            }
        };
        Ok(Self { socket, bound, local })
    }

    /// Where to look, for the log.
    fn address(&self, context: &Context) -> String {
        let tls = tls(context, self.bound.listener).is_some();
        match &self.bound.socket {
            Listening::Tcp(_, address) => {
                format!("http{}://{address}/", if tls { "s" } else { "" })
            }
            Listening::Unix(_, path) => path.display().to_string(),
        }
    }

    async fn serve(self, context: Context, router: Router) {
        loop {
            let accepted: io::Result<(Box<dyn Stream>, Option<SocketAddr>)> = match &self.socket {
                Socket::Tcp(socket) => socket.accept().await.map(|(stream, peer)| {
                    // It goes without, only slower.
                    let _ = stream.set_nodelay(true);
                    (Box::new(stream) as Box<dyn Stream>, Some(peer))
                }),
                Socket::Unix(socket) => socket
                    .accept()
                    .await
                    .map(|(stream, _)| (Box::new(stream) as Box<dyn Stream>, None)),
            };
            let Ok((stream, peer)) = accepted else {
                // The peer was gone before it was accepted, or there are too many open files.
                sleep(RECOVER).await;
                continue;
            };
            let shared = &context.shared;
            let settings = shared.admin.settings();
            let listener = self.bound.listener;
            let own = settings.listeners.get(usize::from(listener));
            let most = own.and_then(|own| own.max_connections);
            if most.is_some_and(|most| shared.listener_connections(listener.into()) >= most) {
                let whence = Whence { peer, listener: Some(listener) };
                books::aside(|| shared.log.denied(whence, "max_connections exceeded"));
                continue;
            }
            let place = Place::take(&context, listener, settings.http.max_connections).await;
            let caller = Caller { listener, local: self.local, peer, identity: None };
            let (context, router) = (context.clone(), router.clone());
            let keeper = context.clone();
            keeper.keep(tokio::spawn(async move {
                let patience = Duration::from_secs(settings.http.timeout.into());
                let header_bytes = settings.http.max_header_bytes;
                drop(settings);
                if let Some((stream, caller)) = secure(&context, stream, caller, patience).await {
                    converse(&context, stream, caller, router, patience, header_bytes).await;
                }
                drop(place);
                books::settle();
            }));
        }
    }
}

/// A place among the connections, until it is dropped.
struct Place {
    context: Context,
    listener: u16,
}

impl Place {
    /// Waits until there is one.
    async fn take(context: &Context, listener: u16, most: usize) -> Self {
        // Each listener has its own bound: one that is open to everybody keeps nobody from another.
        while context.shared.listener_connections(listener.into()) >= most {
            context.left.notified().await;
        }
        context.shared.admin.connections.fetch_add(1, Ordering::Relaxed);
        context.shared.enter_listener(listener);
        Self { context: context.clone(), listener }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.context.shared.admin.connections.fetch_sub(1, Ordering::Relaxed);
        self.context.shared.leave_listener(self.listener);
        // Who waits may wait for a place at another listener, so all look.
        self.context.left.notify_waiters();
    }
}

fn tls(context: &Context, listener: u16) -> Option<Arc<TlsSettings>> {
    let limits = context.shared.limits();
    limits.transports.get(usize::from(listener)).and_then(|transport| transport.tls.clone())
}

/// TLS, if the listener has it, and who the client's certificate says that it is.
async fn secure(
    context: &Context,
    stream: Box<dyn Stream>,
    mut caller: Caller,
    patience: Duration,
) -> Option<(Box<dyn Stream>, Caller)> {
    let Some(settings) = tls(context, caller.listener) else { return Some((stream, caller)) };
    let acceptor = TlsAcceptor::from(Arc::clone(&settings.server));
    let stream = timeout(patience, acceptor.accept(stream)).await.ok()?.ok()?;
    let certificates = stream.get_ref().1.peer_certificates();
    if let Some(leaf) = certificates.and_then(<[_]>::first) {
        let certificate = Certificate::read(leaf).ok()?;
        if let Err(why) = settings.check_dates(&certificate) {
            let whence = Whence { peer: caller.peer, listener: Some(caller.listener) };
            books::aside(|| context.shared.log.denied(whence, &why));
            return None;
        }
        caller.identity = settings.username(&certificate).map(Arc::from);
    }
    Some((Box::new(stream), caller))
}

/// Answers one request after another.
async fn converse(
    context: &Context,
    stream: Box<dyn Stream>,
    caller: Caller,
    router: Router,
    patience: Duration,
    header_bytes: usize,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        let answer = tower_call(router.clone(), request.map(Body::new));
        async move {
            let response = answer.await;
            books::settle();
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(Impatient::new(stream, patience));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(header_bytes)
            .max_headers(HEADERS_MAX)
            .serve_connection(stream, service)
    );
    let mut generation = context.shared.admin.generation.subscribe();
    let mut changed = pin!(generation.changed());
    let mut ending = false;
    // What a peer does wrong is its own affair.
    let _ = poll_fn(|task| {
        if !ending && changed.as_mut().poll(task).is_ready() {
            ending = true;
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(task) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// Gives a request to the router, which is always ready and never fails.
async fn tower_call(router: Router, request: Request<Body>) -> axum::response::Response {
    use hyper_util::service::TowerToHyperService;
    let service = TowerToHyperService::new(router);
    match hyper::service::Service::call(&service, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
