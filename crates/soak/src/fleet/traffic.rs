//! The run itself: connect, publish when due, listen, wait for the rest.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use plimsoll_mqtt::{
    Ack, Connect, Packet, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version,
};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::EXIT_INTERRUPTED;
use super::options::Options;
use super::report::{Ending, Report};
use super::sensor::{Sensor, parse_reading};
use super::tally::Tally;
use plimsoll_client::Connection;

/// Handshakes under way at one time.
const CONNECTING_MAX: usize = 200;

/// How long the fleet may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long to wait for what is under way once publishing has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// The filter of the control system: every sensor of every plant.
const CONTROL_FILTER: &str = "plant/+/line/+/sensor/+/+";

/// A sensor with its connection.
struct Client {
    connection: Connection,
    sensor: Sensor,
    topic: String,
    phase: Phase,
    sequence: u32,
    /// Due times of the publishes that are not acknowledged yet, with their identifiers.
    unacknowledged: VecDeque<(u16, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dialling,
    Greeting,
    Ready,
    Gone,
}

/// The run's state.
struct Fleet<'o> {
    options: &'o Options,
    poll: Poll,
    clients: Vec<Client>,
    control: Option<Connection>,
    control_ready: bool,
    connecting: usize,
    ready: usize,
    tally: Tally,
    begin: Instant,
    /// Somebody has pressed Ctrl-C.
    interrupted: Arc<AtomicBool>,
    arena: Vec<u8>,
    payload: String,
}

/// The control system's token; sensors have their numbers.
const CONTROL: Token = Token(usize::MAX - 1);

/// Runs the fleet.
pub(super) fn run(options: &Options) -> Result<Report, String> {
    let address = resolve(&options.connect)?;
    raise_file_limit(u64::from(options.sensors) + 64);
    let interrupted =
        watch_interrupts().map_err(|error| format!("cannot watch signals: {error}"))?;
    let mut fleet = Fleet {
        options,
        poll: Poll::new().map_err(|error| format!("cannot poll: {error}"))?,
        clients: Vec::with_capacity(options.sensors as usize),
        control: None,
        control_ready: false,
        connecting: 0,
        ready: 0,
        tally: Tally::new(options.sensors).map_err(|error| error.to_string())?,
        begin: Instant::now(),
        interrupted,
        arena: vec![0; 64 * 1024],
        payload: String::new(),
    };
    fleet
        .connect_all(address)
        .map_err(|error| format!("cannot connect the fleet to {}: {error}", options.connect))?;
    let connected_in = fleet.begin.elapsed();
    progress(
        options,
        &format!("{} sensors connected in {:.1} s", fleet.ready, connected_in.as_secs_f64()),
    );
    let start = Instant::now();
    let published = fleet.publish_all(start);
    let published_for = start.elapsed();
    let ending = match published.and_then(|()| fleet.drain()) {
        Err(error) => Ending::BrokeOff(error.to_string()),
        Ok(()) if fleet.interrupted() => Ending::Interrupted,
        Ok(()) => Ending::AsPlanned,
    };
    Ok(Report { sensors: options.sensors, connected_in, published_for, ending, tally: fleet.tally })
}

/// The first Ctrl-C ends the publishing, so that what there is can be reported; a second one ends
/// the program.
fn watch_interrupts() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let again = Arc::clone(&interrupted);
        register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), again)?;
        register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

fn progress(options: &Options, line: &str) {
    if !options.json {
        eprintln!("{line}");
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addresses =
        text.to_socket_addrs().map_err(|error| format!("`{text}` is not HOST:PORT: {error}"))?;
    addresses.next().ok_or_else(|| format!("`{text}` has no address"))
}

/// CONNECT of a client whose session ends with the connection.
fn connect(client_identifier: &str) -> Packet<'_> {
    Packet::Connect(Box::new(Connect {
        version: Version::V311,
        bridge: false,
        clean_start: true,
        keep_alive: 300,
        client_identifier,
        username: None,
        password: None,
        will: None,
        properties: Default::default(),
    }))
}

/// Every sensor needs a file descriptor.
fn raise_file_limit(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // If it is refused, connecting fails with a message that says why.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    }
}

impl Fleet<'_> {
    fn connect_all(&mut self, address: SocketAddr) -> io::Result<()> {
        self.control = Some(Connection::open(address, self.poll.registry(), CONTROL)?);
        let mut greeted = false;
        let deadline = self.begin + CONNECT_TIMEOUT;
        while !(self.control_ready && self.ready == self.options.sensors as usize) {
            if let (false, Some(control)) = (greeted, self.control.as_mut())
                && control.is_open()?
            {
                control.queue(&connect("plant-control"));
                let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
                let filters = [SubscribeFilter { filter: CONTROL_FILTER, options }];
                control.queue(&Packet::Subscribe(Subscribe::new(1, &filters)));
                control.flush()?;
                greeted = true;
            }
            while self.control_ready
                && self.connecting < CONNECTING_MAX
                && self.clients.len() < self.options.sensors as usize
            {
                self.dial(address)?;
            }
            self.turn(Duration::from_millis(100))?;
            let so_far = format!("{} of {} connected", self.ready, self.options.sensors);
            if self.interrupted() {
                return Err(io::Error::other(format!("interrupted with {so_far}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{so_far} in time")));
            }
        }
        Ok(())
    }

    fn dial(&mut self, address: SocketAddr) -> io::Result<()> {
        let number = self.clients.len();
        let sensor = Sensor::new(number as u32, self.options.plants, self.options.seed);
        let connection = Connection::open(address, self.poll.registry(), Token(number))?;
        let topic = sensor.topic();
        self.clients.push(Client {
            connection,
            sensor,
            topic,
            phase: Phase::Dialling,
            sequence: 0,
            unacknowledged: VecDeque::new(),
        });
        self.connecting += 1;
        Ok(())
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Publishes every reading when it is due.
    fn publish_all(&mut self, start: Instant) -> io::Result<()> {
        let period = self.options.period();
        let count = self.clients.len();
        let gap = period.div_f64(count as f64);
        let mut reading: u64 = 0;
        while !self.interrupted() {
            let due = gap.mul_f64(reading as f64);
            if due >= self.options.length {
                break;
            }
            let now = start.elapsed();
            if let Some(wait) = due.checked_sub(now).filter(|wait| !wait.is_zero()) {
                // Poll sleeps whole milliseconds; what is due sooner is waited for awake, so that
                // the tool's own lateness stays out of the latencies.
                let whole = Duration::from_millis(wait.as_millis() as u64);
                self.turn(whole)?;
                continue;
            }
            self.publish((reading % count as u64) as usize, start + due);
            reading += 1;
            if reading.is_multiple_of(256) {
                self.turn(Duration::ZERO)?;
            }
        }
        Ok(())
    }

    /// Waits for what is under way.
    fn drain(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while !self.tally.is_complete() && Instant::now() < deadline {
            self.turn(Duration::from_millis(50))?;
        }
        self.listen_for_copies()
    }

    /// A duplicate would come late: listens a moment longer.
    fn listen_for_copies(&mut self) -> io::Result<()> {
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            self.turn(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn publish(&mut self, number: usize, due: Instant) {
        let due_us = due.saturating_duration_since(self.begin).as_micros() as u64;
        let Some(client) = self.clients.get_mut(number).filter(|c| c.phase == Phase::Ready) else {
            return;
        };
        client.sensor.reading(client.sequence, due_us, &mut self.payload);
        let packet_identifier = (client.sequence % u32::from(u16::MAX)) as u16 + 1;
        client.connection.queue(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: &client.topic,
            packet_identifier,
            properties: Default::default(),
            payload: self.payload.as_bytes(),
        }));
        client.sequence += 1;
        client.unacknowledged.push_back((packet_identifier, due));
        self.tally.published += 1;
        if client.connection.flush().is_err() {
            self.lose(number);
        }
    }

    /// Waits for the network and takes what it brings.
    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &events {
            if event.token() == CONTROL {
                self.control_event()?;
            } else {
                self.sensor_event(event.token().0)?;
            }
        }
        Ok(())
    }

    fn sensor_event(&mut self, number: usize) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        if client.phase == Phase::Gone {
            return Ok(());
        }
        if client.phase == Phase::Dialling {
            if !client.connection.is_open()? {
                return Ok(());
            }
            let identifier = client.sensor.client_identifier();
            client.connection.queue(&connect(&identifier));
            client.phase = Phase::Greeting;
        }
        let mut accepted = None;
        let (unacknowledged, tally) = (&mut client.unacknowledged, &mut self.tally);
        let received = client.connection.receive(&mut self.arena, |packet| match packet {
            Packet::Connack(connack) => accepted = Some(connack.reason),
            Packet::Puback(ack) => {
                let Some(at) =
                    unacknowledged.iter().position(|&(id, _)| id == ack.packet_identifier)
                else {
                    tally.strange += 1;
                    return;
                };
                if let Some((_, due)) = unacknowledged.remove(at) {
                    tally.acknowledged += 1;
                    tally.publish_us.saturating_record(due.elapsed().as_micros() as u64);
                }
            }
            _ => tally.strange += 1,
        });
        match accepted {
            Some(ReasonCode::SUCCESS) => {
                client.phase = Phase::Ready;
                self.ready += 1;
                self.connecting -= 1;
            }
            Some(reason) => {
                return Err(io::Error::other(format!("the broker refused a sensor: {reason}")));
            }
            None => {}
        }
        if received.and_then(|()| client.connection.flush()).is_err() {
            self.lose(number);
        }
        Ok(())
    }

    fn lose(&mut self, number: usize) {
        if let Some(client) = self.clients.get_mut(number) {
            client.phase = Phase::Gone;
            self.tally.disconnected += 1;
        }
    }

    fn control_event(&mut self) -> io::Result<()> {
        let Some(mut control) = self.control.take() else { return Ok(()) };
        let now_us = self.begin.elapsed().as_micros() as u64;
        let mut acknowledge = Vec::new();
        let mut refused = None;
        let (tally, ready) = (&mut self.tally, &mut self.control_ready);
        let received = control.receive(&mut self.arena, |packet| match packet {
            Packet::Connack(connack) if connack.reason != ReasonCode::SUCCESS => {
                refused = Some(connack.reason);
            }
            Packet::Suback(_) => *ready = true,
            Packet::Publish(publish) => {
                if publish.qos == QoS::AtLeastOnce {
                    acknowledge.push(publish.packet_identifier);
                }
                match parse_reading(publish.payload) {
                    _ if publish.retain => {} // What an earlier run left behind.
                    Some((sensor, sequence, due_us)) => {
                        tally.arrived(sensor, sequence, now_us.saturating_sub(due_us));
                    }
                    None => tally.strange += 1,
                }
            }
            _ => {}
        });
        if let Some(reason) = refused {
            return Err(io::Error::other(format!(
                "the broker refused the control system: {reason}"
            )));
        }
        for packet_identifier in acknowledge {
            control.queue(&Packet::Puback(Ack::new(packet_identifier)));
        }
        received.and_then(|()| control.flush())?;
        self.control = Some(control);
        Ok(())
    }
}
