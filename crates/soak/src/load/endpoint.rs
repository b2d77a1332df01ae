//! Where the broker is, and as whom to connect.

use std::net::{SocketAddr, ToSocketAddrs};

use plimsoll_mqtt::{Connect, Properties, Version};

/// Default port of MQTT (IANA: `mqtt`).
const PORT: &str = ":1883";

/// A broker's address and what every client says in its CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) version: Version,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Endpoint {
    /// Reads `mqtt://HOST:PORT`, `HOST:PORT` or `HOST`.
    pub(crate) fn resolve(text: &str) -> Result<Self, String> {
        let place = text.strip_prefix("mqtt://").unwrap_or(text).trim_end_matches('/');
        if place.contains("://") {
            return Err(format!("`{text}`: only mqtt://HOST:PORT is understood"));
        }
        let with_port = if has_port(place) { place.to_owned() } else { format!("{place}{PORT}") };
        let mut addresses = with_port
            .to_socket_addrs()
            .map_err(|error| format!("`{text}` is not mqtt://HOST:PORT: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("`{text}` has no address"))?;
        Ok(Self { address, version: Version::V311, username: None, password: None })
    }

    /// CONNECT of a client. `clean` ends its session with the connection.
    pub(crate) fn greeting<'a>(
        &'a self,
        client_identifier: &'a str,
        clean: bool,
        keep_alive: u16,
    ) -> Connect<'a> {
        Connect {
            version: self.version,
            bridge: false,
            clean_start: clean,
            keep_alive,
            client_identifier,
            username: self.username.as_deref(),
            password: self.password.as_deref().map(str::as_bytes),
            will: None,
            properties: Properties::default(),
        }
    }
}

fn has_port(place: &str) -> bool {
    place.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    })
}

/// Lets the process open `wanted` files, as far as the system allows it. Answers how many it may open.
pub(crate) fn raise_file_limit(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // If it is refused, what is answered says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_or_hosts() {
        for text in ["mqtt://127.0.0.1:1883", "127.0.0.1:1883", "127.0.0.1", "mqtt://127.0.0.1/"] {
            assert_eq!(
                Endpoint::resolve(text).expect(text).address,
                SocketAddr::from(([127, 0, 0, 1], 1883))
            );
        }
        assert!(Endpoint::resolve("[::1]:1884").is_ok_and(|place| place.address.port() == 1884));
        for text in ["http://127.0.0.1", "", "127.0.0.1:port"] {
            assert!(Endpoint::resolve(text).is_err(), "{text}");
        }
    }
}
