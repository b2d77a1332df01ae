//! The PROXY protocol, versions 1 and 2: who a connection really comes from, as a proxy says it.
//!
//! Source: <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, with its line break.
const V1_BYTES_MAX: usize = 107;

/// What a header of version 2 begins with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before the addresses in version 2.
const V2_HEAD_BYTES: usize = 16;

/// Longest header of version 2 that is read; the protocol itself has 64 KiB.
const V2_BYTES_MAX: usize = 4096;

const TLV_CRC32C: u8 = 0x03;
const TLV_SSL: u8 = 0x20;

/// The connection to the proxy was encrypted.
const CLIENT_SSL: u8 = 0x01;

/// The version that a listener's connections begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    V1,
    V2 {
        /// Only what was encrypted before the proxy.
        require_tls: bool,
    },
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its length in bytes.
    pub(crate) length: usize,
    /// Where the client is; `None` if the proxy speaks for itself or does not know.
    pub(crate) source: Option<SocketAddr>,
}

impl Proxy {
    /// Reads the header at the front of what has come; `None` if it is not whole.
    pub(crate) fn read(self, bytes: &[u8]) -> Result<Option<Header>, &'static str> {
        match self {
            Self::V1 => read_v1(bytes),
            Self::V2 { require_tls } => read_v2(bytes, require_tls),
        }
    }
}

fn read_v1(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    const WRONG: &str = "this is not a header of PROXY version 1 (enable_proxy_protocol 1)";
    let known = bytes.len().min(6);
    if bytes.get(..known) != b"PROXY ".get(..known) {
        return Err(WRONG);
    }
    let line = bytes.get(..bytes.len().min(V1_BYTES_MAX)).unwrap_or_default();
    let Some(end) = line.windows(2).position(|window| window == b"\r\n") else {
        return if bytes.len() >= V1_BYTES_MAX { Err(WRONG) } else { Ok(None) };
    };
    let line = line.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(WRONG)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let address: IpAddr = source.parse().map_err(|_| WRONG)?;
            let other: IpAddr = destination.parse().map_err(|_| WRONG)?;
            let v4 = family == "TCP4";
            if address.is_ipv4() != v4 || other.is_ipv4() != v4 || to.parse::<u16>().is_err() {
                return Err(WRONG);
            }
            Some(SocketAddr::new(address, from.parse().map_err(|_| WRONG)?))
        }
        _ => return Err(WRONG),
    };
    Ok(Some(Header { length: end + 2, source }))
}

fn read_v2(bytes: &[u8], require_tls: bool) -> Result<Option<Header>, &'static str> {
    const WRONG: &str = "this is not a header of PROXY version 2 (enable_proxy_protocol 2)";
    let known = bytes.len().min(V2_SIGNATURE.len());
    if bytes.get(..known) != V2_SIGNATURE.get(..known) {
        return Err(WRONG);
    }
    let Some(&[command, family, high, low]) = bytes.get(12..V2_HEAD_BYTES) else {
        return Ok(None);
    };
    let length = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err("a header of PROXY version 2 is longer than 4 KiB");
    }
    if command >> 4 != 2 || command & 0x0F > 1 {
        return Err(WRONG);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let local = command == 0x20;
    let body = header.get(V2_HEAD_BYTES..).unwrap_or_default();
    let (source, addresses) = match family {
        _ if local => (None, body.len()),
        0x11 => (Some(ipv4(body).ok_or(WRONG)?), 12),
        0x21 => (Some(ipv6(body).ok_or(WRONG)?), 36),
        0x31 => (None, 216),
        _ => (None, body.len()),
    };
    let encrypted = tlvs(header, body.get(addresses..).ok_or(WRONG)?)?;
    if require_tls && !local && !encrypted {
        return Err(
            "the client's connection to the proxy is not encrypted (proxy_protocol_v2_require_tls)",
        );
    }
    Ok(Some(Header { length, source }))
}

fn port(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ipv4(body: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 4] = body.get(..4)?.try_into().ok()?;
    body.get(..12)?;
    Some(SocketAddr::new(Ipv4Addr::from(address).into(), port(body, 8)?))
}

fn ipv6(body: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 16] = body.get(..16)?.try_into().ok()?;
    body.get(..36)?;
    Some(SocketAddr::new(Ipv6Addr::from(address).into(), port(body, 32)?))
}

/// Goes through the extensions: whether the client's connection was encrypted. A checksum has to fit.
fn tlvs(header: &[u8], mut rest: &[u8]) -> Result<bool, &'static str> {
    const WRONG: &str = "an extension of a header of PROXY version 2 is cut short";
    let mut encrypted = false;
    while let Some((&kind, behind)) = rest.split_first() {
        let length = usize::from(port(behind, 0).ok_or(WRONG)?);
        let value = behind.get(2..2 + length).ok_or(WRONG)?;
        match kind {
            TLV_SSL => encrypted |= value.first().is_some_and(|client| client & CLIENT_SSL != 0),
            TLV_CRC32C => {
                let stated = value.try_into().map(u32::from_be_bytes).map_err(|_| WRONG)?;
                let at = header.len() - behind.len() + 2;
                if crc32c(header, at..at + 4) != stated {
                    return Err("the checksum of a header of PROXY version 2 does not fit");
                }
            }
            _ => {}
        }
        rest = behind.get(2 + length..).unwrap_or_default();
    }
    Ok(encrypted)
}

/// `CRC32c` (RFC 3720, B.4) of bytes of which some count as zero.
fn crc32c(bytes: &[u8], zero: std::ops::Range<usize>) -> u32 {
    let mut crc = u32::MAX;
    for (at, &byte) in bytes.iter().enumerate() {
        crc ^= u32::from(if zero.contains(&at) { 0 } else { byte });
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2: Proxy = Proxy::V2 { require_tls: false };

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn ipv4_body(tlvs: &[u8]) -> Vec<u8> {
        [&[192, 0, 2, 1, 10, 0, 0, 1, 0x1F, 0x90, 0x07, 0x5B][..], tlvs].concat()
    }

    #[test]
    fn version_1_says_where_a_client_is() {
        let read = |text: &str| Proxy::V1.read(text.as_bytes());
        let header = read("PROXY TCP4 192.0.2.1 10.0.0.1 8080 1883\r\n\x10").unwrap().unwrap();
        assert_eq!(header.source, Some("192.0.2.1:8080".parse().unwrap()));
        assert_eq!(header.length, 41);
        let header = read("PROXY TCP6 2001:db8::1 ::1 8080 1883\r\n").unwrap().unwrap();
        assert_eq!(header.source, Some("[2001:db8::1]:8080".parse().unwrap()));
        assert_eq!(read("PROXY UNKNOWN\r\n").unwrap().unwrap().source, None);
        assert_eq!(read("PROXY TCP4 192.0.2.1").unwrap(), None);
        for wrong in [
            "\x10\x10\0\x04MQTT",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 99999 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            "PROXY \r\n",
            &"PROXY TCP4 ".repeat(12),
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn version_2_says_where_a_client_is() {
        let header = V2.read(&v2(0x21, 0x11, &ipv4_body(b""))).unwrap().unwrap();
        assert_eq!(header, Header { length: 28, source: Some("192.0.2.1:8080".parse().unwrap()) });
        let mut body = [0; 36];
        body[15] = 1;
        body[32..34].copy_from_slice(&[0x1F, 0x90]);
        let header = V2.read(&v2(0x21, 0x21, &body)).unwrap().unwrap();
        assert_eq!(header.source, Some("[::1]:8080".parse().unwrap()));
        assert_eq!(V2.read(&v2(0x20, 0, b"")).unwrap().unwrap().source, None, "LOCAL");
        assert_eq!(V2.read(&v2(0x21, 0x11, &ipv4_body(b""))[..20]).unwrap(), None);
        for wrong in [
            b"PROXY TCP4 ".to_vec(),
            v2(0x11, 0x11, &ipv4_body(b"")),
            v2(0x22, 0x11, &ipv4_body(b"")),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x11, &ipv4_body(b"\x20\x00\x09\x01")),
            v2(0x21, 0x11, &[0; 5000]),
        ] {
            assert!(V2.read(&wrong).is_err(), "{wrong:02x?}");
        }
    }

    #[test]
    fn a_checksum_has_to_fit_and_encryption_can_be_asked_for() {
        let mut whole = v2(0x21, 0x11, &ipv4_body(b"\x03\x00\x04\0\0\0\0"));
        let at = whole.len() - 4;
        let crc = crc32c(&whole, at..at + 4).to_be_bytes();
        whole[at..].copy_from_slice(&crc);
        assert!(V2.read(&whole).unwrap().is_some());
        whole[at] ^= 1;
        assert!(V2.read(&whole).is_err());
        assert_eq!(crc32c(b"123456789", 0..0), 0xE306_9283);
        let strict = Proxy::V2 { require_tls: true };
        let encrypted = v2(0x21, 0x11, &ipv4_body(b"\x20\x00\x05\x01\0\0\0\0"));
        assert!(strict.read(&encrypted).is_ok());
        assert!(strict.read(&v2(0x21, 0x11, &ipv4_body(b""))).is_err());
        assert!(
            strict.read(&v2(0x20, 0, b"")).is_ok(),
            "the proxy itself looks whether we are there"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for proxy in [Proxy::V1, V2] {
                for start in [&b""[..], b"PROXY ", V2_SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x20"] {
                    let whole = [start, &bytes].concat();
                    if let Ok(Some(header)) = proxy.read(&whole) {
                        prop_assert!(header.length <= whole.len());
                    }
                }
            }
        }
    }
}
