//! What lies between a socket and MQTT: nothing, or TLS.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use rustls::ClientConnection;

/// A socket that does not block, perhaps with TLS on it.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Layer {
    pub(crate) fn new(socket: TcpStream, tls: Option<Box<ClientConnection>>) -> Self {
        Self { socket, tls }
    }

    /// Writes what is taken of `bytes`: with TLS that is what its buffer has room for, and not all of it may have
    /// left yet.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => {
                let count = tls.writer().write(bytes)?;
                self.push()?;
                if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
            }
        }
    }

    /// Sends what TLS has to say, as far as the network takes it.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether TLS holds bytes that have not left yet.
    pub(crate) fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads what is there; `WouldBlock` only if the network has no more.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let processed = tls.process_new_packets();
            // An alert of ours, or the next step of the handshake.
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(count) if count > 0 => {}
                    _ => break,
                }
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Whether a read that does not fill its buffer has read all that is there.
    pub(crate) fn short_is_all(&self) -> bool {
        self.tls.is_none()
    }
}
