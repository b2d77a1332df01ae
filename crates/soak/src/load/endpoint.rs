//! Where the broker is, and as whom to connect.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use plimsoll_client::TlsFiles;
use plimsoll_mqtt::{Connect, Properties, Version};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// Default ports (IANA: `mqtt`, `secure-mqtt`).
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// Where the broker is, and as whom to connect, as flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The broker
    #[arg(long, default_value = "mqtt://127.0.0.1:1883", value_name = "[mqtt[s]://]HOST[:PORT]")]
    pub(crate) connect: String,
    /// User name of every client
    #[arg(long, short = 'u')]
    pub(crate) username: Option<String>,
    /// Password of every client
    #[arg(long, env = "PLIMSOLL_PASSWORD", hide_env_values = true, requires = "username")]
    pub(crate) password: Option<String>,
    /// Certificates of the authorities that the broker's certificate is checked against; else the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,
    /// Certificate of every client (PEM)
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "cert_dir")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// A certificate for each client: CLIENT-ID.crt and CLIENT-ID.key (PEM) in this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// Does not check the broker's certificate
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// A broker's address and what every client says in its CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) version: Version,
    tls: Option<Tls>,
    username: Option<String>,
    password: Option<String>,
}

/// How to speak TLS.
#[derive(Clone, Debug)]
struct Tls {
    server: ServerName<'static>,
    files: TlsFiles,
    /// What all clients use, unless each has a certificate of its own.
    shared: Arc<ClientConfig>,
    cert_dir: Option<PathBuf>,
}

impl Place {
    /// The broker's address, and as whom. Reads certificates.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, String> {
        let (secure, host, port) = parse(&self.connect)?;
        let text = &self.connect;
        let mut addresses = (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .map_err(|error| format!("`{text}`: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("`{text}` has no address"))?;
        Ok(Endpoint {
            address,
            version: Version::V311,
            tls: if secure { Some(self.tls(host)?) } else { None },
            username: self.username.clone(),
            password: self.password.clone(),
        })
    }

    fn tls(&self, host: &str) -> Result<Tls, String> {
        let server = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| format!("`{host}` is not a name that a certificate could have"))?;
        let files = self.tls_files();
        let shared = files.config()?;
        Ok(Tls { server, files, shared, cert_dir: self.cert_dir.clone() })
    }

    /// Whom to trust, and who all clients are.
    pub(crate) fn tls_files(&self) -> TlsFiles {
        TlsFiles {
            cafile: self.cafile.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            insecure: self.insecure,
        }
    }

    /// The same flags for another address.
    pub(crate) fn elsewhere(&self, connect: &str) -> Self {
        Self { connect: connect.to_owned(), ..self.clone() }
    }
}

/// Reads `mqtt://HOST:PORT`, `mqtts://HOST`, `HOST:PORT` or `HOST`: whether TLS is on, the host, and the port.
fn parse(text: &str) -> Result<(bool, &str, u16), String> {
    let (secure, place) = match text.split_once("://") {
        None | Some(("mqtt", _)) => (false, text.trim_start_matches("mqtt://")),
        Some(("mqtts", place)) => (true, place),
        Some(_) => return Err(format!("`{text}`: only mqtt:// and mqtts:// are understood")),
    };
    let place = place.trim_end_matches('/');
    let default = if secure { TLS_PORT } else { PORT };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| format!("`{text}`: `{port}` is not a port"))?)
        }
        _ => (place, default),
    };
    if host.is_empty() {
        return Err(format!("`{text}` names no host: mqtt://HOST:PORT is wanted"));
    }
    Ok((secure, host, port))
}

impl Endpoint {
    /// What TLS is made with for a client, and the name that the broker's certificate must have; `None` without TLS.
    pub(crate) fn tls(
        &self,
        client_identifier: &str,
    ) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, String> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let config = match &tls.cert_dir {
            None => Arc::clone(&tls.shared),
            Some(directory) => TlsFiles {
                cert: Some(directory.join(format!("{client_identifier}.crt"))),
                key: Some(directory.join(format!("{client_identifier}.key"))),
                ..tls.files.clone()
            }
            .config()?,
        };
        Ok(Some((config, tls.server.clone())))
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
        assert_eq!(parse("mqtt://broker:1884/"), Ok((false, "broker", 1884)));
        assert_eq!(parse("broker"), Ok((false, "broker", 1883)));
        assert_eq!(parse("mqtts://broker"), Ok((true, "broker", 8883)));
        assert_eq!(parse("[::1]:1884"), Ok((false, "[::1]", 1884)));
        for text in ["http://127.0.0.1", "", "127.0.0.1:port", "mqtt://"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
