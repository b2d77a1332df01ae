//! Limits that the shell keeps itself.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use plimsoll_mqtt::DecodeLimits;
use plimsoll_mqtt::topic::TopicLimits;

use super::transport::Transport;
use super::transport::tls_files::TlsSettings;
use crate::config::{Config, MemoryLimit};

/// Limits that the shell itself keeps.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) decode: DecodeLimits,
    /// What lies between sockets and MQTT, by listener.
    pub(crate) transports: Vec<Transport>,
    pub(crate) connect_timeout: Duration,
    /// Time in which a packet has to be whole; `None` is no limit.
    pub(crate) packet_timeout: Option<Duration>,
    /// Most connections that have not sent CONNECT yet; `None` is no limit.
    pub(crate) handshakes: Option<usize>,
    /// Most connections of an address, and the networks for which that does not hold.
    pub(crate) per_address: Option<usize>,
    pub(crate) exempt: Vec<IpNet>,
    /// Most connections per second of each listener; `None` is no limit.
    pub(crate) connection_rates: Vec<Option<u32>>,
    /// Seconds between the figures of `$SYS`; 0 is never.
    pub(crate) sys_interval: u32,
    /// Most memory that the process may hold; `None` is no limit.
    pub(crate) memory_limit: Option<MemoryLimit>,
    /// Most connections of each listener; `None` is no limit.
    pub(crate) listener_connections: Vec<Option<usize>>,
    /// Most connections in all; `None` is no limit.
    pub(crate) connections: Option<usize>,
}

impl Limits {
    /// Those of a configuration, with what lies between sockets and MQTT at each listener.
    pub(crate) fn of(config: &Config, transports: Vec<Transport>) -> Self {
        Self {
            transports,
            decode: DecodeLimits {
                packet_size_max: match config.max_packet_size {
                    0 => u32::MAX,
                    most => most,
                },
                topics: TopicLimits {
                    bytes_max: config.max_topic_length,
                    levels_max: config.max_topic_levels,
                },
                user_properties_max: config.max_user_properties,
                filters_max: config.max_filters_per_packet,
                from_client: true,
            },
            connect_timeout: Duration::from_secs(u64::from(config.connect_timeout)),
            packet_timeout: (config.packet_timeout > 0)
                .then(|| Duration::from_secs(u64::from(config.packet_timeout))),
            handshakes: config.max_handshakes,
            per_address: config.max_connections_per_address,
            exempt: config.addresses_exempt.clone(),
            connection_rates: config
                .listeners
                .iter()
                .map(|listener| listener.max_connection_rate)
                .collect(),
            sys_interval: config.sys_interval,
            memory_limit: config.memory_limit,
            listener_connections: config
                .listeners
                .iter()
                .map(|listener| listener.max_connections)
                .collect(),
            connections: config.global_max_connections,
        }
    }

    /// TLS of all listeners that have it.
    pub(crate) fn tls(&self) -> impl Iterator<Item = &TlsSettings> {
        self.transports.iter().filter_map(|transport| transport.tls.as_deref())
    }

    /// Most connections of an address; `None` is no limit.
    pub(crate) fn address_limit(&self, peer: SocketAddr) -> Option<usize> {
        let address = peer.ip().to_canonical();
        self.per_address.filter(|_| !self.exempt.iter().any(|network| network.contains(&address)))
    }

    /// Most connections per second of a listener; `None` is no limit.
    pub(crate) fn connection_rate(&self, listener: u16) -> Option<f64> {
        self.connection_rates.get(usize::from(listener)).copied().flatten().map(f64::from)
    }
}
