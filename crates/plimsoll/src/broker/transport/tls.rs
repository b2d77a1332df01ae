//! One TLS session (RFC 8446, RFC 5246) by rustls, without buffers of its own.

use std::io;
use std::sync::Arc;

use plimsoll_ledger::{Account, Charge, Ledger, usable_size};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ProtocolVersion, pki_types::CertificateDer};

use super::certificate::Certificate;
use super::tls_files::TlsSettings;

/// Bytes that rustls and aws-lc hold for a session of TLS 1.3 at rest, beside the client's certificates. They can
/// only be measured from outside: a test compares this with what jemalloc counts.
const SESSION_BYTES: usize = 2_592;

/// The same of a session of TLS 1.2.
const SESSION_BYTES_1_2: usize = 2_400;

/// The most that they hold while a handshake waits for the client.
const HANDSHAKE_BYTES: usize = 5_680;

/// A session.
pub(crate) struct Tls {
    connection: UnbufferedServerConnection,
    settings: Arc<TlsSettings>,
    /// What became of the handshake, until somebody asks.
    handshake: Option<Handshake>,
    established: bool,
    closed: bool,
    /// What came cannot be understood: rustls is not to be asked any more.
    failed: bool,
    /// When the client's certificate ends, seconds since 1970; 0 without one.
    not_after: u64,
    charge: Charge,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("established", &self.established).finish_non_exhaustive()
    }
}

/// A completed handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) version: &'static str,
    pub(crate) cipher: String,
    pub(crate) certificate: Option<Certificate>,
}

/// What came of some bytes from the network.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// How many of them were taken.
    pub(crate) used: usize,
    /// Plain bytes that came of them.
    pub(crate) count: usize,
    /// The peer says that nothing more comes.
    pub(crate) closed: bool,
}

/// What [`Tls::step`] found to do.
enum Step {
    /// Go on.
    Again,
    /// Nothing can be done before more comes.
    Rest,
}

impl Tls {
    /// A session that begins.
    pub(crate) fn new(
        settings: &Arc<TlsSettings>,
        ledger: &'static Ledger,
    ) -> Result<Self, String> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&settings.server))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            connection,
            settings: Arc::clone(settings),
            handshake: None,
            established: false,
            closed: false,
            failed: false,
            not_after: 0,
            charge: ledger.charge(Account::Tls, HANDSHAKE_BYTES),
        })
    }

    pub(crate) fn is_established(&self) -> bool {
        self.established
    }

    pub(crate) fn take_handshake(&mut self) -> Option<Handshake> {
        self.handshake.take()
    }

    /// The settings that it was made with.
    pub(crate) fn settings(&self) -> &Arc<TlsSettings> {
        &self.settings
    }

    /// When the client's certificate ends, seconds since 1970; 0 without one.
    pub(crate) fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The client's certificates, its own first.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    /// Takes bytes from the network. Plain bytes go to the front of `room`, which has room for as many
    /// as came; what has to be sent goes behind `outgoing`, also where the answer is an error.
    pub(crate) fn open(
        &mut self,
        raw: &mut [u8],
        room: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> io::Result<Opened> {
        let mut opened = Opened::default();
        while let Some(rest) = raw.get_mut(opened.used..) {
            let step = match Self::step(&mut self.connection, rest, room, outgoing, &mut opened) {
                Ok(step) => step,
                Err(error) => {
                    self.failed = true;
                    self.say_why(outgoing);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            if !self.established && !self.connection.is_handshaking() {
                self.establish()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            if matches!(step, Step::Rest) {
                break;
            }
        }
        self.closed |= opened.closed;
        Ok(opened)
    }

    fn step(
        connection: &mut UnbufferedServerConnection,
        rest: &mut [u8],
        room: &mut [u8],
        outgoing: &mut Vec<u8>,
        opened: &mut Opened,
    ) -> Result<Step, rustls::Error> {
        let UnbufferedStatus { discard, state } = connection.process_tls_records(rest);
        opened.used += discard;
        let step = match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    let free = room.get_mut(opened.count..).unwrap_or_default();
                    let Some(place) = free.get_mut(..record.payload.len()) else {
                        return Err(rustls::Error::General("more came out than went in".into()));
                    };
                    place.copy_from_slice(record.payload);
                    opened.count += record.payload.len();
                    opened.used += record.discard;
                }
                Step::Again
            }
            ConnectionState::EncodeTlsData(mut data) => {
                grow(outgoing, |room| data.encode(room))?;
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Again
            }
            ConnectionState::PeerClosed => {
                opened.closed = true;
                Step::Again
            }
            ConnectionState::Closed => {
                opened.closed = true;
                Step::Rest
            }
            // Early data is not accepted, so none comes.
            _ => Step::Rest,
        };
        Ok(step)
    }

    /// The alert that an error leaves behind. Only what waits is fetched: what has come is not looked at
    /// again.
    fn say_why(&mut self, outgoing: &mut Vec<u8>) {
        let mut opened = Opened::default();
        while self.connection.wants_write()
            && let Ok(Step::Again) =
                Self::step(&mut self.connection, &mut [], &mut [], outgoing, &mut opened)
        {}
    }

    /// What rustls and aws-lc hold for it.
    pub(crate) fn held_bytes(&self) -> usize {
        if !self.established {
            return HANDSHAKE_BYTES;
        }
        let session = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => SESSION_BYTES_1_2,
            _ => SESSION_BYTES,
        };
        let chain = self.certificates();
        let certificates = chain.iter().map(|der| usable_size(der.len(), 1)).sum::<usize>();
        let list = usable_size(size_of_val(chain), align_of::<CertificateDer<'static>>());
        session + certificates + list
    }

    /// The handshake is over.
    fn establish(&mut self) -> Result<(), String> {
        self.established = true;
        let chain = self.certificates();
        let certificate = chain.first().map(|leaf| Certificate::read(leaf)).transpose()?;
        if let Some(certificate) = &certificate {
            // A session that is taken up again brings a certificate that was verified when it began.
            self.settings.check_dates(certificate)?;
            self.not_after = certificate.not_after;
        }
        self.charge.set(self.held_bytes());
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLS",
        };
        let suite = self.connection.negotiated_cipher_suite();
        let cipher = suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite()));
        self.handshake = Some(Handshake { version, cipher, certificate });
        Ok(())
    }

    /// Encrypts. Possible once it is established. `kept` is what [`Tls::open`] has not taken yet: rustls
    /// knows where in it a message begins whose rest has not come, and has to find it there.
    pub(crate) fn seal(
        &mut self,
        plain: &[u8],
        kept: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.writing(kept, outgoing, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Says that nothing more comes from this side (RFC 8446, 6.1).
    pub(crate) fn close(&mut self, kept: &mut [u8], outgoing: &mut Vec<u8>) {
        if self.established && !self.closed {
            self.closed = true;
            // Without it the peer sees the connection end all the same.
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method itself is not general enough in its lifetimes"
            )]
            let _ = self.writing(kept, outgoing, |traffic, room| traffic.queue_close_notify(room));
        }
    }

    /// Does something with the half that writes.
    fn writing(
        &mut self,
        kept: &mut [u8],
        outgoing: &mut Vec<u8>,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let failed = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        if self.failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        loop {
            // All whole records were taken when it was read, so there is nothing to discard.
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(kept);
            match state.map_err(failed)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let sealed = grow(outgoing, |room| write(&mut traffic, room));
                    return sealed.map_err(failed);
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    grow(outgoing, |room| data.encode(room)).map_err(failed)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }
}

/// An error of rustls that may be about too little room.
trait Cramped {
    /// The room that is needed, if that is what is wrong.
    fn required(&self) -> Option<usize>;
}

impl Cramped for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Cramped for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Lets `write` write behind what is in a buffer, giving it the room that it asks for.
fn grow<E: Cramped>(
    outgoing: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), rustls::Error> {
    let before = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(before + room, 0);
        match write(outgoing.get_mut(before..).unwrap_or_default()) {
            Ok(count) => {
                outgoing.truncate(before + count);
                return Ok(());
            }
            Err(error) => match error.required().filter(|required| *required > room) {
                Some(required) => room = required,
                None => {
                    outgoing.truncate(before);
                    return Err(rustls::Error::EncryptError);
                }
            },
        }
    }
}

#[cfg(test)]
mod tests;
