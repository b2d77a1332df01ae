//! Load on a broker: many client connections on one thread, and what became of each message.

mod endpoint;
mod gaps;
mod latency;
mod packets;
mod random;
mod reading;
mod strain;
mod swarm;
mod timer;

pub(crate) use endpoint::{Endpoint, Place, open_files, raise_file_limit};
pub(crate) use gaps::Gaps;
pub(crate) use latency::Latency;
pub(crate) use packets::{acknowledge, publish, subscribe};
pub(crate) use random::Random;
pub(crate) use reading::{Reading, parse_reading};
pub(crate) use strain::{Strain, StrainMeter, process_waited};
pub(crate) use swarm::{Handler, Swarm};
