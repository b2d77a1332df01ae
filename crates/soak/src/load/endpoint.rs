//! Where the broker is, and as whom to connect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use plimsoll_client::TlsFiles;
use plimsoll_mqtt::{Connect, Properties, Version};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

/// Default ports (IANA: `mqtt`, `secure-mqtt`).
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// Connections from one address of 127.0.0.0/8: fewer than it has ports.
const LINKS_PER_SOURCE: usize = 20_000;

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
    /// A certificate for each client: CLIENT-ID.crt and CLIENT-ID.key (PEM) in this directory, plant-control's too (fleet only)
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// Address of this machine to connect from (again for more): each has some 28,000 ports. Of 127.0.0.0/8 they are
    /// taken by themselves
    #[arg(long, value_name = "IP")]
    pub(crate) source: Vec<IpAddr>,
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
    sources: Vec<IpAddr>,
}

/// How to speak TLS.
#[derive(Clone, Debug)]
struct Tls {
    server: ServerName<'static>,
    files: TlsFiles,
    /// What all clients use, unless each has a certificate of its own.
    shared: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
    cert_dir: Option<PathBuf>,
}

impl Place {
    /// The same for clients that come and go under ever new names.
    ///
    /// # Errors
    ///
    /// As for [`Place::endpoint`]; and a directory of certificates by name, of which there cannot be enough.
    pub(crate) fn endpoint_of_many(&self) -> Result<Endpoint, String> {
        match self.cert_dir {
            None => self.endpoint(),
            Some(_) => Err("--cert-dir is for `plimsoll fleet`, whose devices have names; here clients come and go under ever new ones: give them one certificate with --cert and --key".into()),
        }
    }

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
            sources: self.source.clone(),
        })
    }

    fn tls(&self, host: &str) -> Result<Tls, String> {
        let server = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| format!("`{host}` is not a name that a certificate could have"))?;
        let files = self.tls_files();
        let roots = if self.insecure { RootCertStore::empty() } else { files.roots()? };
        let roots = Arc::new(roots);
        let shared = Arc::new(files.trusting(Arc::clone(&roots))?);
        Ok(Tls { server, files, shared, roots, cert_dir: self.cert_dir.clone() })
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
            Some(directory) => {
                let files = TlsFiles {
                    cert: Some(directory.join(format!("{client_identifier}.crt"))),
                    key: Some(directory.join(format!("{client_identifier}.key"))),
                    ..tls.files.clone()
                };
                let mut config = files.trusting(Arc::clone(&tls.roots))?;
                // Room for 256 sessions each would be most of what a fleet takes.
                config.resumption = Resumption::disabled();
                Arc::new(config)
            }
        };
        Ok(Some((config, tls.server.clone())))
    }

    /// The address that a connection comes from; the system chooses it if there is none. All ports that the system
    /// hands out (by default 32768 to 60999) go with one address.
    pub(crate) fn source(&self, connection: usize) -> Option<IpAddr> {
        match (self.sources.as_slice(), self.address.ip()) {
            ([], IpAddr::V4(broker)) if broker.is_loopback() => {
                let surplus = u32::try_from(connection / LINKS_PER_SOURCE).unwrap_or(0);
                let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + surplus);
                (surplus > 0).then_some(IpAddr::V4(source))
            }
            ([], _) => None,
            (sources, _) => sources.get(connection % sources.len()).copied(),
        }
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

/// Lets the process open `wanted` files. The error says what to set.
pub(crate) fn open_files(wanted: u64) -> Result<(), String> {
    let files = raise_file_limit(wanted);
    if files >= wanted {
        return Ok(());
    }
    Err(format!(
        "{wanted} open files are needed, and this process may have {files}: raise the hard limit (`ulimit -Hn {wanted}` as root before it, LimitNOFILE= in a unit of systemd, --ulimit nofile={wanted}:{wanted} of docker) or take fewer clients"
    ))
}

/// Lets the process open `wanted` files, as far as the system allows it: up to the hard limit, and above it if the
/// process has the right to (`CAP_SYS_RESOURCE`). Answers how many it may open.
pub(crate) fn raise_file_limit(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
        let above = Rlimit { current: Some(wanted), maximum };
        if setrlimit(Resource::Nofile, above).is_err() {
            let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
            // If it is refused, what is answered says so.
            let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_come_from_several_addresses() {
        let place = |connect: &str, source: &[&str]| Place {
            connect: connect.into(),
            username: None,
            password: None,
            cafile: None,
            cert: None,
            key: None,
            cert_dir: None,
            source: source.iter().map(|ip| ip.parse().expect("an address")).collect(),
            insecure: false,
        };
        let here = place("127.0.0.1:1883", &[]).endpoint().expect("an endpoint");
        assert_eq!(here.source(19_999), None);
        assert_eq!(here.source(45_000), Some(IpAddr::from([127, 0, 0, 3])));
        let there = place("192.0.2.1:1883", &[]).endpoint().expect("an endpoint");
        assert_eq!(there.source(45_000), None);
        let two = place("192.0.2.1", &["192.0.2.7", "192.0.2.8"]).endpoint().expect("an endpoint");
        assert_eq!(two.source(3), Some(IpAddr::from([192, 0, 2, 8])));
    }

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
