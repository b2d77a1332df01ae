//! WebSocket (RFC 6455), the server's side: the upgrade, then frames, decoded in place.
//!
//! MQTT's packets may begin and end anywhere in frames (MQTT-6.0.0-1, MQTT-6.0.0-2), so what comes out is a
//! stream of bytes, and an open connection holds nothing but where it is in a frame.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest request that asks for the upgrade.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Headers of that request at most.
const HEADERS_MAX: usize = 64;

/// What the key is hashed with (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Longest header of a frame that this side sends.
pub(crate) const HEADER_BYTES: usize = 10;

/// Subprotocols (MQTT-6.0.0-3, MQTT-6.0.0-4); the second is Mosquitto's older name.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Status codes of a close frame (RFC 6455, 7.4.1).
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNACCEPTABLE: u16 = 1003;
const NOT_TEXT: u16 = 1007;

/// One connection.
#[derive(Debug)]
pub(crate) struct WebSocket {
    state: State,
    /// Where pages that connect may come from; empty is anywhere.
    origins: Arc<[String]>,
    /// A close frame has been sent.
    closed: bool,
}

#[derive(Debug)]
enum State {
    /// What has come of the request.
    Upgrading(Vec<u8>),
    Open(Frames),
    Ended,
}

/// Where a connection is in its frames.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 14],
    header_len: u8,
    /// Bytes of the payload that are still to come.
    left: u64,
    mask: [u8; 4],
    /// How far the mask has turned.
    turn: u8,
    opcode: u8,
    /// A message has begun and not ended.
    fragmented: bool,
    /// Payload of a control frame.
    control: Vec<u8>,
}

/// What came of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Bytes of MQTT, at the front of the buffer.
    pub(crate) count: usize,
    /// The peer is done.
    pub(crate) ended: bool,
}

/// Why the connection cannot go on; the answer that is owed to the peer lies among the answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WebSocketError(pub(crate) &'static str);

impl WebSocket {
    pub(crate) fn new(origins: Arc<[String]>) -> Self {
        Self { state: State::Upgrading(Vec::new()), origins, closed: false }
    }

    /// Whether MQTT can be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Bytes that it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.state {
            State::Upgrading(request) => request.capacity(),
            State::Open(frames) => frames.control.capacity(),
            State::Ended => 0,
        }
    }

    /// Decodes what has come, in place. What has to be answered goes behind `answers`.
    pub(crate) fn decode(
        &mut self,
        bytes: &mut [u8],
        answers: &mut Vec<u8>,
    ) -> Result<Decoded, WebSocketError> {
        let mut from = 0;
        if let State::Upgrading(request) = &mut self.state {
            // The end of the head may lie across two reads.
            let before = request.len();
            let room = REQUEST_BYTES_MAX.saturating_sub(before).min(bytes.len());
            request.extend_from_slice(bytes.get(..room).unwrap_or_default());
            let Some(head) = end_of_head(request, before) else {
                if request.len() >= REQUEST_BYTES_MAX {
                    return self.reject(
                        answers,
                        "431 Request Header Fields Too Large",
                        "the request is longer than 8 KiB",
                    );
                }
                return Ok(Decoded::default());
            };
            from = head - before;
            let request = std::mem::take(request);
            let head = request.get(..head).unwrap_or_default();
            match upgrade(head, &self.origins) {
                Ok(accepted) => answers.extend_from_slice(accepted.as_bytes()),
                Err((status, why)) => return self.reject(answers, status, why),
            }
            self.state = State::Open(Frames::default());
        }
        let State::Open(frames) = &mut self.state else {
            return Ok(Decoded { count: 0, ended: true });
        };
        match frames.decode(bytes, from, answers) {
            Ok(decoded) => {
                if decoded.ended {
                    self.closed = true;
                    self.state = State::Ended;
                }
                Ok(decoded)
            }
            Err((code, why)) => {
                close_frame(answers, code);
                self.closed = true;
                self.state = State::Ended;
                Err(WebSocketError(why))
            }
        }
    }

    fn reject(
        &mut self,
        answers: &mut Vec<u8>,
        status: &str,
        why: &'static str,
    ) -> Result<Decoded, WebSocketError> {
        self.state = State::Ended;
        self.closed = true;
        let version = if status.starts_with("426") {
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        } else {
            ""
        };
        let length = why.len() + 1;
        let answer = format!(
            "HTTP/1.1 {status}\r\n{version}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{why}\n"
        );
        answers.extend_from_slice(answer.as_bytes());
        Err(WebSocketError(why))
    }

    /// Says that this side is done, if the other has not been told.
    pub(crate) fn close(&mut self, answers: &mut Vec<u8>) {
        if self.is_open() && !self.closed {
            self.closed = true;
            close_frame(answers, NORMAL);
        }
    }
}

/// Writes the header of a binary frame of `length` bytes to the end of `room`. Answers where it begins.
pub(crate) fn binary_header(room: &mut [u8; HEADER_BYTES], length: usize) -> usize {
    let first = 0x80 | BINARY;
    let mut header = [0; HEADER_BYTES];
    let used = match length {
        0..=125 => {
            header[..2].copy_from_slice(&[first, length as u8]);
            2
        }
        126..=0xFFFF => {
            header[..2].copy_from_slice(&[first, 126]);
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            header[..2].copy_from_slice(&[first, 127]);
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
            HEADER_BYTES
        }
    };
    let start = HEADER_BYTES - used;
    room[start..].copy_from_slice(&header[..used]);
    start
}

fn close_frame(answers: &mut Vec<u8>, code: u16) {
    answers.extend_from_slice(&[0x80 | CLOSE, 2]);
    answers.extend_from_slice(&code.to_be_bytes());
}

/// Where the head of a request ends, if it does; `before` was looked at already.
fn end_of_head(request: &[u8], before: usize) -> Option<usize> {
    let from = before.saturating_sub(3);
    let rest = request.get(from..)?;
    let at = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(from + at + 4)
}

/// The answer to a request for an upgrade, or the status and reason with which it is refused.
fn upgrade(head: &[u8], origins: &[String]) -> Result<String, (&'static str, &'static str)> {
    const BAD: &str = "400 Bad Request";
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err((
                "431 Request Header Fields Too Large",
                "the request has more than 64 headers",
            ));
        }
        _ => return Err((BAD, "this is not HTTP")),
    }
    let values = |name: &'static str| {
        let headers = request.headers.iter();
        let found = headers.filter(move |header| header.name.eq_ignore_ascii_case(name));
        found.filter_map(|header| std::str::from_utf8(header.value).ok())
    };
    let words = |name: &'static str| values(name).flat_map(|value| value.split(',')).map(str::trim);
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(("405 Method Not Allowed", "a WebSocket begins with GET and HTTP/1.1"));
    }
    let asked = words("upgrade").any(|word| word.eq_ignore_ascii_case("websocket"))
        && words("connection").any(|word| word.eq_ignore_ascii_case("upgrade"));
    if !asked {
        return Err(("426 Upgrade Required", "this port speaks MQTT over WebSocket"));
    }
    if values("sec-websocket-version").map(str::trim).ne(["13"]) {
        return Err(("426 Upgrade Required", "only version 13 of WebSocket is spoken here"));
    }
    let key = values("sec-websocket-key").next().map(str::trim).unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|key| key.len() == 16) {
        return Err((BAD, "Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    let from = values("origin").next().map(str::trim);
    if !origins.is_empty() && !from.is_some_and(|from| origins.iter().any(|origin| origin == from))
    {
        return Err(("403 Forbidden", "this origin is not one of websockets_origin"));
    }
    let protocol = words("sec-websocket-protocol").find(|word| PROTOCOLS.contains(word));
    let Some(protocol) = protocol else {
        return Err((BAD, "Sec-WebSocket-Protocol has to offer mqtt"));
    };
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    let accept = STANDARD.encode(hash);
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    ))
}

type Violation = (u16, &'static str);

impl Frames {
    /// Decodes from `from` on; what is data moves to the front.
    fn decode(
        &mut self,
        bytes: &mut [u8],
        from: usize,
        answers: &mut Vec<u8>,
    ) -> Result<Decoded, Violation> {
        let (mut at, mut count) = (from, 0);
        while at < bytes.len() {
            if self.left == 0 {
                let Some(&byte) = bytes.get(at) else { break };
                at += 1;
                if !self.header_byte(byte)? {
                    continue;
                }
            } else {
                let length = self.left.min((bytes.len() - at) as u64) as usize;
                self.payload(bytes, at, &mut count, length);
                at += length;
                self.left -= length as u64;
            }
            if self.left == 0 && self.frame_ends(answers)? {
                return Ok(Decoded { count, ended: true });
            }
        }
        Ok(Decoded { count, ended: false })
    }

    /// Unmasks a piece of a payload.
    fn payload(&mut self, bytes: &mut [u8], at: usize, count: &mut usize, length: usize) {
        let mut mask = self.mask;
        mask.rotate_left(usize::from(self.turn & 3));
        self.turn = self.turn.wrapping_add(length as u8);
        let control = self.opcode >= CLOSE;
        let to = if control { at } else { *count };
        // Data moves to the front, over what headers have left.
        bytes.copy_within(at..at + length, to);
        let Some(payload) = bytes.get_mut(to..to + length) else { return };
        for piece in payload.chunks_mut(mask.len()) {
            for (byte, mask) in piece.iter_mut().zip(mask) {
                *byte ^= mask;
            }
        }
        match control {
            true => self.control.extend_from_slice(payload),
            false => *count += length,
        }
    }

    /// Takes a byte of a header. Answers whether the header is whole.
    fn header_byte(&mut self, byte: u8) -> Result<bool, Violation> {
        if let Some(place) = self.header.get_mut(usize::from(self.header_len)) {
            *place = byte;
        }
        self.header_len += 1;
        if self.header_len == 1 {
            self.first_byte(byte)?;
            return Ok(false);
        }
        let second = self.header[1];
        if second & 0x80 == 0 {
            return Err((PROTOCOL_ERROR, "a frame of a client is not masked"));
        }
        let extended: u8 = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_len < 2 + extended + 4 {
            return Ok(false);
        }
        let mut length = u64::from(second & 0x7F);
        if extended > 0 {
            let digits = self.header.iter().skip(2).take(usize::from(extended));
            length = digits.fold(0, |length, &digit| length << 8 | u64::from(digit));
            let least = if extended == 2 { 126 } else { 0x1_0000 };
            if length < least || length >> 63 != 0 {
                return Err((PROTOCOL_ERROR, "the length of a frame is not in its shortest form"));
            }
        }
        if self.opcode >= CLOSE && length > CONTROL_BYTES_MAX {
            return Err((PROTOCOL_ERROR, "a control frame is longer than 125 bytes"));
        }
        let mask = self.header.iter().skip(2 + usize::from(extended));
        for (place, byte) in self.mask.iter_mut().zip(mask) {
            *place = *byte;
        }
        (self.left, self.turn, self.header_len) = (length, 0, 0);
        Ok(true)
    }

    fn first_byte(&mut self, byte: u8) -> Result<(), Violation> {
        let (ends, opcode) = (byte & 0x80 != 0, byte & 0x0F);
        if byte & 0x70 != 0 {
            return Err((
                PROTOCOL_ERROR,
                "a frame has bits of an extension that was not agreed on",
            ));
        }
        match opcode {
            CONTINUATION if !self.fragmented => {
                return Err((PROTOCOL_ERROR, "a continuation of nothing"));
            }
            BINARY if self.fragmented => {
                return Err((PROTOCOL_ERROR, "a message begins within another"));
            }
            CONTINUATION | BINARY => self.fragmented = !ends,
            TEXT => return Err((UNACCEPTABLE, "MQTT comes in binary frames (MQTT-6.0.0-1)")),
            CLOSE | PING | PONG if !ends => {
                return Err((PROTOCOL_ERROR, "a control frame is fragmented"));
            }
            CLOSE | PING | PONG => {}
            _ => return Err((PROTOCOL_ERROR, "a frame of an unknown kind")),
        }
        self.opcode = opcode;
        Ok(())
    }

    /// A frame is whole. Answers whether it was the last.
    fn frame_ends(&mut self, answers: &mut Vec<u8>) -> Result<bool, Violation> {
        let payload = std::mem::take(&mut self.control);
        match self.opcode {
            PING => {
                answers.extend_from_slice(&[0x80 | PONG, payload.len() as u8]);
                answers.extend_from_slice(&payload);
                Ok(false)
            }
            CLOSE => {
                // The same code back (RFC 6455, 5.5.1).
                close_frame(answers, code_of(&payload)?);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// The code of a close frame, behind which a reason may stand (RFC 6455, 7.4).
fn code_of(payload: &[u8]) -> Result<u16, Violation> {
    if payload.is_empty() {
        return Ok(NORMAL);
    }
    let (code, reason) =
        payload.split_first_chunk().ok_or((PROTOCOL_ERROR, "half a code in a close frame"))?;
    if std::str::from_utf8(reason).is_err() {
        return Err((NOT_TEXT, "the reason of a close frame is not UTF-8"));
    }
    match u16::from_be_bytes(*code) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(code),
        _ => Err((PROTOCOL_ERROR, "a close frame has a code that is never sent")),
    }
}

#[cfg(test)]
mod tests;
