//! Who asks, and whether they may.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll_engine::{Action, Admission, Decision, Who};
use plimsoll_mqtt::{QoS, ReasonCode};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::books;
use super::problem::Problem;
use super::routes::Context;
use crate::broker::gate::{GUEST, Guest};

/// How long somebody who has shown a password is not asked for it again: checking one may take a tenth
/// of a second and 46 MiB.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Callers that are remembered at once.
const REMEMBERED_MAX: usize = 64;

/// How long a rule that has to ask somebody may take.
const ASKED: Duration = Duration::from_secs(5);

/// The header that says that a request is meant: no page of somebody else's can send it.
pub(super) const MEANT: &str = "x-requested-with";

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) listener: u16,
    /// The listener can be reached from this machine only.
    pub(super) local: bool,
    pub(super) peer: Option<SocketAddr>,
    /// Who its certificate says that it is.
    pub(super) identity: Option<Arc<str>>,
}

/// As whom somebody was let in; `None` is anonymous.
#[derive(Clone, Debug)]
pub(super) struct User(pub(super) Option<String>);

/// Who has shown a password a moment ago.
pub(super) struct Remembered {
    key: hmac::Key,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

struct Known {
    until: Instant,
    /// Of the gate when it was asked.
    generation: u64,
    user: User,
}

impl Remembered {
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { key, known: Mutex::new(HashMap::new()) })
    }

    /// What stands for a caller's credentials: nothing that is of use to anybody.
    fn tag(&self, listener: u16, username: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&listener.to_be_bytes());
        context.update(&(username.len() as u64).to_be_bytes());
        context.update(username.as_bytes());
        context.update(password);
        let mut tag = [0; 32];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }

    fn find(&self, tag: &[u8; 32], generation: u64) -> Option<User> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(tag)?;
        (found.generation == generation && found.until > Instant::now()).then(|| found.user.clone())
    }

    fn keep(&self, tag: [u8; 32], generation: u64, user: User) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.until > now);
        if known.len() < REMEMBERED_MAX {
            known.insert(tag, Known { until: now + REMEMBERED, generation, user });
        }
    }
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// Something that anybody may know.
    Health,
    Read,
    Change,
}

fn want(request: &Request) -> Want {
    match request.method() {
        &Method::GET | &Method::HEAD => match request.uri().path() {
            "/healthz" | "/readyz" => Want::Health,
            _ => Want::Read,
        },
        _ => Want::Change,
    }
}

/// Lets a request pass, or answers it.
pub(super) async fn guard(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    match pass(&context, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn pass(context: &Context, mut request: Request) -> Result<Request, Problem> {
    let want = want(&request);
    if want == Want::Health {
        return Ok(request);
    }
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody knows who asks"));
    };
    if want == Want::Change {
        check_meant(request.headers())?;
    }
    let user = identify(context, &caller, request.headers()).await?;
    if user.0.is_none() {
        if caller.local && !is_local(request.headers()) {
            // A page whose name was made to point here (DNS rebinding).
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "without a user name this listener is for this machine only: ask for it by `localhost` or its address, not by another Host",
            ));
        }
        if want == Want::Change && !caller.local {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "changes need a user name and a password, or a listener that is bound to this machine (listener PORT 127.0.0.1)",
            ));
        }
    }
    let topic = topic(&request);
    authorize(context, &caller, &user, want, &topic).await?;
    if want == Want::Change {
        request = read_body(context, request).await?;
    }
    request.extensions_mut().insert(user);
    Ok(request)
}

/// A browser sends the user's password with the requests of any page. Only ours can set headers like
/// these, or has our origin.
fn check_meant(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let forbidden = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    if text(header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| site != "same-origin" && site != "none")
    {
        return forbidden("a page of another site may not change anything here");
    }
    if let Some(origin) = text(header::ORIGIN) {
        let host = text(header::HOST).unwrap_or_default();
        let own = origin.split_once("://").map_or("", |(_, authority)| authority);
        if !own.eq_ignore_ascii_case(host) {
            return forbidden("a page of another origin may not change anything here");
        }
    }
    let json = text(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    });
    if json || headers.contains_key(MEANT) {
        return Ok(());
    }
    forbidden(
        "to change something, send `Content-Type: application/json` or the header `X-Requested-With`",
    )
}

/// Whether the request was addressed to this machine by a name or number that means just that.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true }; // HTTP/1.0: no browser
    let authority = Authority::try_from(host.as_bytes());
    let Ok(authority) = authority else { return host.is_empty() };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// User name and password of a request; a bearer token is a password without a name.
fn credentials(headers: &HeaderMap) -> Result<Option<(String, Vec<u8>)>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let bad = || {
        Problem::bad_request(
            "Authorization has to be `Basic` with a user name and a password, or `Bearer` with a token",
        )
    };
    let (scheme, rest) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(bad)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some((String::new(), rest.as_bytes().to_vec())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(bad());
    }
    let decoded = STANDARD.decode(rest).map_err(|_| bad())?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or_else(bad)?;
    let (name, password) = decoded.split_at(colon);
    let name = String::from_utf8(name.to_vec()).map_err(|_| bad())?;
    Ok(Some((name, password.get(1..).unwrap_or_default().to_vec())))
}

/// Finds out who asks.
async fn identify(
    context: &Context,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<User, Problem> {
    let shared = &context.shared;
    let given = credentials(headers)?;
    let generation = shared.gate.generation();
    let tag = match (&given, &context.remembered) {
        (Some((name, password)), Some(remembered)) => {
            Some((remembered, remembered.tag(caller.listener, name, password)))
        }
        _ => None,
    };
    if let Some(user) = tag.as_ref().and_then(|(remembered, tag)| remembered.find(tag, generation))
    {
        return Ok(user);
    }
    let answer = books::aside(|| {
        // Whoever checks it keeps it, and drops it on a thread of its own.
        let guest = Guest {
            listener: caller.listener,
            peer: caller.peer,
            identity: caller.identity.as_deref().map(str::to_owned),
            username: given.as_ref().map(|(name, _)| name.clone()),
            password: given.as_ref().map(|(_, password)| password.clone()),
        };
        let (hears, answer) = oneshot::channel();
        let hears = Box::new(move |admission| {
            // The caller may be gone.
            let _ = hears.send(admission);
        });
        shared.gate.ask_for(shared, guest, hears);
        answer
    });
    let patience = Duration::from_secs(shared.admin.settings().http.timeout.into());
    let mut answer = books::aside(|| Box::pin(timeout(patience, answer)));
    let answered = answer.as_mut().await;
    books::give_back(answer);
    match answered {
        Ok(Ok(Admission::As { username, .. })) => {
            let user = User(username.as_deref().map(str::to_owned));
            books::give_back(username);
            if let (Some((remembered, tag)), Some(_)) = (tag, &user.0) {
                remembered.keep(tag, generation, user.clone());
            }
            Ok(user)
        }
        Ok(Ok(Admission::AsAsked)) => Ok(User(None)),
        Ok(Ok(Admission::Refused(ReasonCode::CONNECTION_RATE_EXCEEDED))) => Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong passwords from this address (auth_failures_per_minute)",
        )),
        Ok(Ok(Admission::Refused(
            ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ))) => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "a user name and password that this listener's MQTT clients could use are needed",
        )),
        _ => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "whoever checks passwords does not answer",
        )),
    }
}

/// What stands for a request in the rules: its path, without what a client chose of it.
fn topic(request: &Request) -> String {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let path = path.unwrap_or_else(|| request.uri().path());
    path.split("/{").next().unwrap_or_default().to_owned()
}

/// Asks the rules whether the path, as a topic, may be read or written, as Mosquitto does.
async fn authorize(
    context: &Context,
    caller: &Caller,
    user: &User,
    want: Want,
    topic: &str,
) -> Result<(), Problem> {
    let Some(access) = context.shared.admin.settings().access.clone() else { return Ok(()) };
    let who =
        Who { client_identifier: GUEST, username: user.0.as_deref(), listener: caller.listener };
    let action = match want {
        Want::Change => Action::Publish { qos: QoS::AtMostOnce, retain: false },
        Want::Health | Want::Read => Action::Receive,
    };
    let begun = Instant::now();
    loop {
        match books::aside(|| access.decide(&who, action, topic)) {
            Decision::Allow => return Ok(()),
            Decision::Pending if begun.elapsed() < ASKED => {
                sleep(Duration::from_millis(20)).await;
            }
            Decision::Deny | Decision::Pending => break,
        }
    }
    let (status, verb) = match (&user.0, want) {
        (None, Want::Change) => (StatusCode::UNAUTHORIZED, "write"),
        (None, _) => (StatusCode::UNAUTHORIZED, "read"),
        (Some(_), Want::Change) => (StatusCode::FORBIDDEN, "write"),
        (Some(_), _) => (StatusCode::FORBIDDEN, "read"),
    };
    Err(Problem::new(status, format!("the rules do not allow this: `topic {verb} {topic}`")))
}

/// Takes the body in, which nothing here has much use for, within its bounds.
async fn read_body(context: &Context, request: Request) -> Result<Request, Problem> {
    let http = context.shared.admin.settings().http;
    let (parts, body) = request.into_parts();
    let patience = Duration::from_secs(http.timeout.into());
    match timeout(patience, to_bytes(body, http.max_body_bytes)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body may have {} bytes (http_max_body_bytes)", http.max_body_bytes),
        )),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}
