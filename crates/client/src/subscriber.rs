//! A client that only listens: blocking, for a thread of its own.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_mqtt::{
    Connect, DecodeLimits, Decoded, Packet, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version, decode, encode,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Where a broker is, and who asks.
#[derive(Clone)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, if the port wants it.
    pub tls: Option<Arc<ClientConfig>>,
    /// Client identifier; 3.1.1 lets it be empty.
    pub client_identifier: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// How long connecting may take, and each answer after that.
    pub timeout: Duration,
}

/// A connected client of MQTT 3.1.1 that subscribes and listens.
pub struct Subscriber {
    stream: Stream,
    /// Bytes that are not a whole packet yet.
    incomplete: Vec<u8>,
    timeout: Duration,
    heard: Instant,
    /// When something was sent last: the broker counts from there.
    sent: Instant,
    pinged: Option<Instant>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// Largest packet that is taken; `$SYS` has nothing near it.
const PACKET_BYTES_MAX: u32 = 256 * 1024;

/// With so much silence it is asked whether the broker is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// Seconds of silence from this side after which the broker may take it for dead (MQTT3-3.1.2-24 has half of that more).
const KEEP_ALIVE_S: u16 = 60;

/// So long this side is silent at most, however much the broker says.
const OWN_SILENCE: Duration = Duration::from_secs(KEEP_ALIVE_S as u64 / 2);

impl Subscriber {
    /// Connects and subscribes to `filters`.
    ///
    /// # Errors
    ///
    /// The text says what failed, without the address.
    pub fn connect(endpoint: &Endpoint, filters: &[&str]) -> Result<Self, String> {
        let stream = Stream::open(endpoint)?;
        let now = Instant::now();
        let timeout = endpoint.timeout;
        let mut subscriber =
            Self { stream, incomplete: Vec::new(), timeout, heard: now, sent: now, pinged: None };
        subscriber.greet(endpoint)?;
        subscriber.subscribe(filters)?;
        Ok(subscriber)
    }

    fn greet(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        let connect = Connect {
            keep_alive: KEEP_ALIVE_S,
            username: endpoint.user.as_deref(),
            password: endpoint.password.as_deref().map(str::as_bytes),
            ..Connect::new(Version::V311, &endpoint.client_identifier, true)
        };
        self.send(&Packet::Connect(Box::new(connect)))?;
        let reason = self.answer(|packet| match packet {
            Packet::Connack(connack) => Some(connack.reason),
            _ => None,
        })?;
        match reason {
            ReasonCode::SUCCESS => Ok(()),
            refused => Err(format!("the broker does not let us in: {refused}")),
        }
    }

    fn subscribe(&mut self, filters: &[&str]) -> Result<(), String> {
        let options =
            SubscriptionOptions { qos: QoS::AtMostOnce, ..SubscriptionOptions::default() };
        let wanted: Vec<SubscribeFilter<'_>> =
            filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        self.send(&Packet::Subscribe(Subscribe::new(1, &wanted)))?;
        let refused = self.answer(|packet| match packet {
            Packet::Suback(suback) => {
                Some(suback.reasons.iter().position(|reason| reason.byte() >= 0x80))
            }
            _ => None,
        })?;
        match refused.and_then(|index| filters.get(index)) {
            Some(filter) => Err(format!("the broker refuses the subscription to {filter}")),
            None => Ok(()),
        }
    }

    /// Waits at most `wait` for messages and hands out those that come: topic and payload.
    ///
    /// # Errors
    ///
    /// The connection has ended, or the broker is silent for too long; nothing more will come.
    pub fn listen(
        &mut self,
        wait: Duration,
        mut each: impl FnMut(&str, &[u8]),
    ) -> Result<(), String> {
        let mut each = |packet: &Packet<'_>| {
            if let Packet::Publish(publish) = packet {
                each(publish.topic, publish.payload);
            }
            Next::More
        };
        // What came with the answer to the subscription.
        if self.hand_out(&mut each)? == 0 {
            self.receive(wait)?;
            self.hand_out(&mut each)?;
        }
        match self.pinged {
            Some(at) if at.elapsed() > self.timeout => Err("the broker is silent".into()),
            None if self.heard.elapsed() > SILENCE || self.sent.elapsed() > OWN_SILENCE => {
                self.pinged = Some(Instant::now());
                self.send(&Packet::Pingreq)
            }
            _ => Ok(()),
        }
    }

    /// Waits for a packet that `wanted` makes something of. What comes before it is passed over, what comes
    /// behind it is kept.
    fn answer<T>(&mut self, mut wanted: impl FnMut(&Packet<'_>) -> Option<T>) -> Result<T, String> {
        let began = Instant::now();
        loop {
            let mut found = None;
            self.hand_out(&mut |packet| {
                found = wanted(packet);
                if found.is_some() { Next::Enough } else { Next::More }
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
            let left = self.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err("the broker does not answer".into());
            }
            self.receive(left)?;
        }
    }

    fn send(&mut self, packet: &Packet<'_>) -> Result<(), String> {
        let mut bytes = Vec::new();
        encode::packet(packet, Version::V311, &mut bytes);
        self.sent = Instant::now();
        let sent = self.stream.write_all(&bytes);
        sent.map_err(|error| format!("sending failed: {error}"))
    }

    /// Reads once.
    fn receive(&mut self, wait: Duration) -> Result<(), String> {
        let socket = self.stream.socket();
        // A timeout of nothing would be none.
        let wait = wait.max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait)).map_err(|error| error.to_string())?;
        let mut arena = [0; READ_BYTES];
        match self.stream.read(&mut arena) {
            Ok(0) => return Err("the broker has closed the connection".into()),
            Ok(count) => self.incomplete.extend_from_slice(arena.get(..count).unwrap_or_default()),
            Err(error) if is_timeout(&error) => return Ok(()),
            Err(error) => return Err(format!("the connection has broken: {error}")),
        }
        (self.heard, self.pinged) = (Instant::now(), None);
        Ok(())
    }

    /// Hands out the packets that are whole; answers how many.
    fn hand_out(&mut self, each: &mut dyn FnMut(&Packet<'_>) -> Next) -> Result<usize, String> {
        let limits = DecodeLimits { packet_size_max: PACKET_BYTES_MAX, ..DecodeLimits::default() };
        let (mut used, mut count) = (0, 0);
        while let Some(rest) = self.incomplete.get(used..).filter(|rest| !rest.is_empty()) {
            match decode(rest, Version::V311, &limits) {
                Ok(Decoded::Packet { packet, length }) => {
                    used += length;
                    count += 1;
                    if let Next::Enough = each(&packet) {
                        break;
                    }
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => return Err(format!("the broker sends what is not MQTT: {error}")),
            }
        }
        self.incomplete.drain(..used);
        Ok(count)
    }
}

/// Whether further packets are wanted.
enum Next {
    More,
    Enough,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // So that the broker's log has no lost client; if it cannot be said, it is lost.
        let _ = self.stream.write_all(&[0xE0, 0]);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl Stream {
    fn open(endpoint: &Endpoint) -> Result<Self, String> {
        let addresses = (endpoint.host.as_str(), endpoint.port)
            .to_socket_addrs()
            .map_err(|error| format!("{}: {error}", endpoint.host))?;
        let mut failure = format!("{} has no address", endpoint.host);
        for address in addresses {
            match TcpStream::connect_timeout(&address, endpoint.timeout) {
                Ok(socket) => return Self::over(socket, endpoint),
                Err(error) => failure = error.to_string(),
            }
        }
        Err(failure)
    }

    fn over(socket: TcpStream, endpoint: &Endpoint) -> Result<Self, String> {
        let bounded = socket
            .set_write_timeout(Some(endpoint.timeout))
            .and_then(|()| socket.set_read_timeout(Some(endpoint.timeout)));
        bounded.map_err(|error| error.to_string())?;
        let Some(config) = &endpoint.tls else { return Ok(Self::Plain(socket)) };
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| {
            format!("`{}` is not a name that a certificate can have", endpoint.host)
        })?;
        let session = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| format!("TLS: {error}"))?;
        let mut stream = StreamOwned::new(session, socket);
        let until = Instant::now() + endpoint.timeout;
        while stream.conn.is_handshaking() {
            shake_hands(&mut stream, until).map_err(|error| format!("TLS: {error}"))?;
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

/// A step of the handshake. All of it ends in time, however slowly the server drips.
fn shake_hands(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    until: Instant,
) -> io::Result<()> {
    let StreamOwned { conn, sock } = stream;
    while conn.wants_write() {
        conn.write_tls(sock)?;
    }
    if !conn.is_handshaking() {
        return Ok(());
    }
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake takes too long"));
    }
    sock.set_read_timeout(Some(left))?;
    if conn.read_tls(sock)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    conn.process_new_packets().map(drop).map_err(|error| {
        // It is told what is wrong, if it still listens.
        let _ = conn.write_tls(sock);
        io::Error::new(io::ErrorKind::InvalidData, error)
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A broker that says `answers`, each after it has heard something.
    fn broker(answers: &'static [&'static [u8]]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            for answer in answers {
                let count = socket.read(&mut buffer).unwrap();
                assert!(count > 0);
                socket.write_all(answer).unwrap();
            }
            // Stays until the client goes.
            while socket.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        Endpoint {
            host: "127.0.0.1".into(),
            port,
            tls: None,
            client_identifier: "watch".into(),
            user: Some("ops".into()),
            password: Some("hush".into()),
            timeout: Duration::from_millis(500),
        }
    }

    const CONNACK: &[u8] = b"\x20\x02\0\0";

    #[test]
    fn a_handshake_that_drips_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            // The beginning of a record of 16 KiB.
            socket.write_all(&[0x16, 3, 3, 0x40, 0]).unwrap();
            while socket.write_all(&[0]).is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let tls = crate::TlsFiles { insecure: true, ..crate::TlsFiles::default() };
        let endpoint = Endpoint { tls: Some(tls.config().unwrap()), port, ..broker(&[]) };
        let refused = Subscriber::connect(&endpoint, &["#"]).err();
        assert!(refused.is_some_and(|error| error.starts_with("TLS: ")));
    }

    #[test]
    fn messages_are_heard_whole_even_with_the_answer_to_the_subscription() {
        let said: &[&[u8]] = &[CONNACK, b"\x90\x03\0\x01\0\x30\x06\0\x01a42!\x30\x04\0\x01b7\x30"];
        let mut subscriber = Subscriber::connect(&broker(said), &["$SYS/#"]).unwrap();
        let mut heard = Vec::new();
        let wait = Duration::from_millis(50);
        let each = |topic: &str, payload: &[u8]| heard.push((topic.to_owned(), payload.to_vec()));
        assert_eq!(subscriber.listen(wait, each), Ok(()));
        let said = [("a".to_owned(), b"42!".to_vec()), ("b".to_owned(), b"7".to_vec())];
        assert_eq!(heard, said);
        assert_eq!(subscriber.incomplete, b"\x30", "the beginning of a packet");
    }

    #[test]
    fn refusals_say_what_is_refused() {
        let refused = Subscriber::connect(&broker(&[b"\x20\x02\0\x05"]), &["x"]).err().unwrap();
        assert!(refused.starts_with("the broker does not let us in: "), "{refused}");
        let said: &[&[u8]] = &[CONNACK, b"\x90\x04\0\x01\0\x80"];
        let refused = Subscriber::connect(&broker(said), &["a", "b"]).err().unwrap();
        assert_eq!(refused, "the broker refuses the subscription to b");
        let silent = Subscriber::connect(&broker(&[]), &["x"]).err().unwrap();
        assert_eq!(silent, "the broker does not answer");
        let other = Subscriber::connect(&broker(&[b"HTTP/1.1 400 Bad Request\r\n"]), &["x"]);
        assert!(other.err().unwrap().starts_with("the broker sends what is not MQTT"));
    }
}
