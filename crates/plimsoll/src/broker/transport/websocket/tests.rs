//! Upgrades and frames by hand.

use proptest::prelude::*;

use super::*;

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            out.push(0xFE);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xFF);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    out
}

fn open() -> WebSocket {
    let mut socket = WebSocket::new(Arc::new([]));
    let mut answers = Vec::new();
    socket.decode(&mut REQUEST.as_bytes().to_vec(), &mut answers).unwrap();
    let answer = String::from_utf8(answers).unwrap();
    // RFC 6455, 1.3 has this key and its answer.
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
    assert!(socket.is_open());
    socket
}

fn decode(socket: &mut WebSocket, bytes: &[u8]) -> (Result<Vec<u8>, &'static str>, Vec<u8>) {
    let (mut bytes, mut answers) = (bytes.to_vec(), Vec::new());
    let decoded = socket.decode(&mut bytes, &mut answers);
    (decoded.map(|d| bytes[..d.count].to_vec()).map_err(|error| error.0), answers)
}

#[test]
fn what_is_no_upgrade_is_told_why() {
    for (from, to, status) in [
        ("GET", "POST", "405"),
        ("Upgrade: WebSocket\r\n", "", "426"),
        ("Version: 13", "Version: 8", "426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "AAAA", "400"),
        ("chat, mqtt", "chat", "400"),
        ("Host: x", "\0\0", "400"),
    ] {
        let mut socket = WebSocket::new(Arc::new([]));
        let (result, answers) = decode(&mut socket, REQUEST.replace(from, to).as_bytes());
        assert!(result.is_err());
        let answer = String::from_utf8(answers).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{from}: {answer}");
    }
    let mut socket = WebSocket::new(Arc::new([]));
    let (result, answers) = decode(&mut socket, &[b'a'; 10_000]);
    assert!(result.is_err() && answers.starts_with(b"HTTP/1.1 431"));
    assert_eq!(socket.heap_bytes(), 0);
}

#[test]
fn origins_are_looked_at_if_there_are_any() {
    let ask = |origin: &str| {
        let mut socket = WebSocket::new(Arc::new(["https://a.example".to_owned()]));
        let request = REQUEST.replace("Host: x", &format!("Host: x\r\nOrigin: {origin}"));
        decode(&mut socket, request.as_bytes()).0.is_ok()
    };
    assert!(ask("https://a.example") && !ask("https://b.example"));
}

#[test]
fn control_frames_come_between_fragments() {
    let mut socket = open();
    let mut bytes = frame(0x02, b"ab");
    bytes.extend(frame(0x89, b"hello"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x80, b"cd"));
    bytes.extend(frame(0x8A, b"unasked"));
    let (result, answers) = decode(&mut socket, &bytes);
    assert_eq!(result.unwrap(), b"abcd");
    assert_eq!(answers, b"\x8A\x05hello");
    let (result, answers) = decode(&mut socket, &frame(0x88, b"\x03\xE9bye"));
    assert_eq!((result.unwrap(), answers), (vec![], b"\x88\x02\x03\xE9".to_vec()));
    assert!(!socket.is_open());
}

#[test]
fn violations_end_it_with_their_code() {
    let mut unmasked = frame(0x82, b"");
    unmasked[1] &= 0x7F;
    for (bytes, code) in [
        (frame(0x81, b"text"), UNACCEPTABLE),
        (unmasked, PROTOCOL_ERROR),
        (frame(0xC2, b""), PROTOCOL_ERROR),
        (frame(0x80, b""), PROTOCOL_ERROR),
        (frame(0x83, b""), PROTOCOL_ERROR),
        (frame(0x09, b""), PROTOCOL_ERROR),
        (frame(0x89, &[0; 126]), PROTOCOL_ERROR),
        (b"\x82\xFE\x00\x05\x00\x00\x00\x00".to_vec(), PROTOCOL_ERROR),
        (b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(), PROTOCOL_ERROR),
        ([frame(0x02, b""), frame(0x82, b"")].concat(), PROTOCOL_ERROR),
        (frame(0x88, b"\x03"), PROTOCOL_ERROR),
        (frame(0x88, b"\x03\xED"), PROTOCOL_ERROR),
        (frame(0x88, b"\x03\xE8\xFF"), NOT_TEXT),
    ] {
        let mut socket = open();
        let (result, answers) = decode(&mut socket, &bytes);
        assert!(result.is_err(), "{bytes:02x?}");
        assert_eq!(answers, [&[0x88, 2][..], &code.to_be_bytes()].concat(), "{bytes:02x?}");
    }
}

#[test]
fn own_headers_have_the_shortest_form() {
    for (length, header) in [
        (0, &b"\x82\x00"[..]),
        (125, b"\x82\x7D"),
        (126, b"\x82\x7E\x00\x7E"),
        (0xFFFF, b"\x82\x7E\xFF\xFF"),
        (0x1_0000, b"\x82\x7F\0\0\0\0\0\x01\0\0"),
    ] {
        let mut room = [0; HEADER_BYTES];
        let start = binary_header(&mut room, length);
        assert_eq!(&room[start..], header);
    }
}

proptest! {
    /// However the bytes are cut, the same comes out; and an open connection holds nothing.
    #[test]
    fn cuts_do_not_matter(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        cuts in prop::collection::vec(1usize..200, 1..50),
    ) {
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(0x82, payload)).collect();
        let bytes = [REQUEST.as_bytes(), &stream].concat();
        let mut socket = WebSocket::new(Arc::new([]));
        let (mut rest, mut got, mut answers) = (&bytes[..], Vec::new(), Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            let mut piece = piece.to_vec();
            let decoded = socket.decode(&mut piece, &mut answers).unwrap();
            got.extend_from_slice(&piece[..decoded.count]);
            rest = behind;
        }
        prop_assert_eq!(got, payloads.concat());
        prop_assert_eq!(socket.heap_bytes(), 0);
    }

    #[test]
    fn any_bytes_are_an_answer(mut bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let mut answers = Vec::new();
        let _ = WebSocket::new(Arc::new([])).decode(&mut bytes.clone(), &mut answers);
        let length = bytes.len();
        if let Ok(decoded) = open().decode(&mut bytes, &mut answers) {
            prop_assert!(decoded.count <= length);
        }
    }
}
