//! The phases of a soak: what the clients do in each.

use std::time::{Duration, Instant};

use plimsoll_mqtt::{Disconnect, Packet, ReasonCode};

use super::driver::{Driver, PATIENCE, Stop};
use super::publisher::{Body, Publisher};
use super::world::{Mode, Role};
use crate::load::{Strain, StrainMeter};

/// How long a client may take that comes to go, µs.
const CHURN_PATIENCE_US: u64 = 10_000_000;

/// Messages for absent sessions under way at once.
const COURIER_WINDOW: u64 = 64;

/// Most updates under way of one publisher in a steady phase: packet identifiers end.
const STEADY_MAX: usize = 30_000;

/// How long a broker may take that has lost messages before: what has not come by then is lost as well.
const LOSERS_PATIENCE: Duration = Duration::from_millis(500);

/// Messages published before the network is looked at again.
const BURST: u32 = 256;

impl Driver<'_> {
    /// Publishes each topic once, with a reading or to delete it.
    pub(super) fn once(&mut self, body: Body) -> Result<(), Stop> {
        self.world.publishers.iter_mut().for_each(Publisher::rewind);
        self.world.mode = Mode::Flood { body, once: true };
        let (mut so_far, mut moved) = (0, Instant::now());
        while !self.world.publishers.iter().all(|p| p.is_through() && p.under_way() == 0) {
            self.top_up();
            self.turn(Duration::from_millis(5))?;
            let done = self.world.events.updates;
            if done > so_far {
                (so_far, moved) = (done, Instant::now());
            } else if moved.elapsed() > PATIENCE {
                return Err(self.stuck());
            }
        }
        self.world.mode = Mode::Quiet;
        self.arrive()
    }

    /// Updates as fast as they are acknowledged, for a while.
    pub(super) fn updates(&mut self, span: Duration) -> Result<Strain, Stop> {
        self.enter("updates");
        let meter = StrainMeter::start();
        self.world.mode = Mode::Flood { body: Body::Reading, once: false };
        let deadline = Instant::now() + span;
        while Instant::now() < deadline {
            self.top_up();
            self.turn(Duration::from_millis(5))?;
        }
        self.world.mode = Mode::Quiet;
        let strain = meter.read();
        self.arrive()?;
        Ok(strain)
    }

    /// Publishers with room in their windows fill them.
    fn top_up(&mut self) {
        for publisher in 0..self.world.publishers.len() {
            let Some(Some(link)) = self.world.links.publishers.get(publisher).copied() else {
                continue;
            };
            let under_way = self.world.publishers.get(publisher).map_or(0, Publisher::under_way);
            // The acknowledgements of the others do it.
            if under_way == 0 || publisher == 0 {
                let world = &mut self.world;
                self.swarm.write(link, |out| world.refill(publisher, out));
            }
        }
    }

    /// Waits until everything is acknowledged and has arrived at the witness.
    fn arrive(&mut self) -> Result<(), Stop> {
        let done = |driver: &Self| {
            driver.world.unacknowledged() == 0 && driver.world.under_way_to_witness() == 0
        };
        // Whoever has lost something before is not waited for as long again.
        let lost = self.world.given_up > 0;
        let arrived = self.turn_until(if lost { LOSERS_PATIENCE } else { PATIENCE }, done)?;
        if self.world.unacknowledged() > 0
            && !self.turn_until(PATIENCE, |driver| driver.world.unacknowledged() == 0)?
        {
            return Err(self.stuck());
        }
        if !arrived {
            self.world.give_up_waiting();
        }
        Ok(())
    }

    fn stuck(&self) -> Stop {
        let why = self.world.refused.clone().unwrap_or_else(|| "its connections stand".into());
        Stop::Broken(format!(
            "{} updates were not acknowledged within {} s ({why})",
            self.world.unacknowledged(),
            PATIENCE.as_secs()
        ))
    }

    /// Updates at an even rate, each at its time. Notes how late the tool itself was.
    pub(super) fn steady(&mut self, span: Duration) -> Result<(), Stop> {
        self.enter("steady");
        let gap_us = 1e6 / f64::from(self.scenario.load.steady_per_second.max(1));
        let begin_us = self.world.now_us();
        let end_us = begin_us + span.as_micros() as u64;
        let publishers = self.world.publishers.len();
        let mut number: u32 = 0;
        loop {
            #[expect(clippy::cast_sign_loss, reason = "times are not negative")]
            let due_us = begin_us + (f64::from(number) * gap_us) as u64;
            if due_us >= end_us {
                break;
            }
            let now_us = self.world.now_us();
            if due_us > now_us {
                self.turn(Duration::from_micros(due_us - now_us))?;
                continue;
            }
            self.publish_due(number as usize % publishers, due_us);
            self.world.latencies.late.record(now_us - due_us);
            number += 1;
            if number.is_multiple_of(BURST) {
                self.turn(Duration::ZERO)?;
            }
        }
        self.arrive()
    }

    fn publish_due(&mut self, publisher: usize, due_us: u64) {
        let under_way = self.world.publishers.get(publisher).map_or(0, Publisher::under_way);
        let link = self.world.links.publishers.get(publisher).copied().flatten();
        if let Some(link) = link.filter(|_| under_way < STEADY_MAX) {
            let world = &mut self.world;
            self.swarm.write(link, |out| {
                world.publish(publisher, due_us, Body::Reading, out);
            });
        }
    }

    /// Clients come, do something and go.
    pub(super) fn connects(&mut self, span: Duration) -> Result<(), Stop> {
        self.enter("connects");
        let deadline = Instant::now() + span;
        while Instant::now() < deadline {
            while let Some((place, number)) = self.world.churn.vacancy() {
                let link = self.dial_as(Role::Churner(place), &format!("churn-{number}"), true)?;
                let now_us = self.world.now_us();
                self.world.churn.comes(place, number, link, now_us);
            }
            self.turn(Duration::from_millis(5))?;
            self.end_overdue(CHURN_PATIENCE_US);
        }
        self.turn_until(PATIENCE, |driver| !driver.world.churn.is_busy())?;
        self.end_overdue(0);
        Ok(())
    }

    fn end_overdue(&mut self, patience_us: u64) {
        let now_us = self.world.now_us();
        for link in self.world.churn.overdue(now_us, patience_us) {
            self.world.disown(link);
            self.swarm.close(link);
        }
    }

    /// Readers subscribe to one production line after the other, and check its last known state.
    pub(super) fn subscriptions(&mut self, span: Duration) -> Result<(), Stop> {
        self.enter("subscriptions");
        self.world.readers.active = true;
        let deadline = Instant::now() + span;
        while Instant::now() < deadline {
            self.begin_reading();
            self.turn(Duration::from_millis(5))?;
        }
        self.world.readers.active = false;
        let deadline = Instant::now() + PATIENCE;
        while self.world.readers.is_busy() && Instant::now() < deadline {
            self.begin_reading();
            self.turn(Duration::from_millis(5))?;
        }
        Ok(())
    }

    /// Readers without a line begin with one; those that have waited too long give up.
    fn begin_reading(&mut self) {
        let now_us = self.world.now_us();
        for reader in 0..self.world.readers.len() {
            let Some(Some(link)) = self.world.links.readers.get(reader).copied() else { continue };
            let world = &mut self.world;
            self.swarm.write(link, |out| {
                world.readers.begin(reader, &world.acknowledged, now_us, out);
                world.readers.give_up(reader, now_us, out);
            });
        }
    }

    /// Sessions go, messages arrive for them, they come back and get them; again and again.
    pub(super) fn offline(&mut self, span: Duration) -> Result<(), Stop> {
        self.enter("offline");
        let sessions = self.world.absent.links.len();
        let deadline = Instant::now() + span;
        while sessions > 0 && Instant::now() < deadline {
            for session in 0..sessions {
                let Some(link) = self.world.absent.links.get(session).copied().flatten() else {
                    continue;
                };
                self.swarm.send(link, &Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)));
                self.world.disown(link);
                self.world.closing.push(link);
            }
            self.turn(Duration::from_millis(10))?;
            self.send_to_absent(sessions)?;
            let roles: Vec<Role> = (0..sessions).map(Role::Absent).collect();
            self.connect(&roles)?;
            let lost = self.world.absent.given_up;
            let patience = if lost > 0 { LOSERS_PATIENCE } else { PATIENCE };
            self.turn_until(patience, |driver| driver.world.absent.lost() <= lost)?;
            self.world.absent.given_up = self.world.absent.lost();
        }
        Ok(())
    }

    /// Publishes the messages for the absent sessions, each in turn.
    fn send_to_absent(&mut self, sessions: usize) -> Result<(), Stop> {
        let mut payload = Vec::new();
        let all = sessions as u32 * self.scenario.load.offline_messages;
        let begin = self.world.absent.total();
        let end = begin + u64::from(all);
        let deadline = Instant::now() + PATIENCE;
        while self.world.absent.delivered < end && Instant::now() < deadline {
            let Some(link) = self.world.links.courier else {
                self.turn(Duration::from_millis(5))?;
                continue;
            };
            let absent = &mut self.world.absent;
            self.swarm.write(link, |out| {
                while absent.total() < end
                    && absent.total() - absent.delivered.min(absent.total()) < COURIER_WINDOW
                {
                    let number = absent.total();
                    let session = usize::try_from(number % sessions as u64).unwrap_or(0);
                    let identifier = u16::try_from(number % 60_000).unwrap_or(0) + 1;
                    absent.publish(session, identifier, &mut payload, out);
                }
            });
            self.turn(Duration::from_millis(5))?;
        }
        Ok(())
    }

    /// Deletes all retained messages and looks whether any is left.
    pub(super) fn clear(&mut self) -> Result<(), Stop> {
        self.enter("clear");
        self.once(Body::Empty)?;
        self.connect(&[Role::Inspector])?;
        let deadline = Instant::now() + Duration::from_millis(500);
        while Instant::now() < deadline {
            self.turn(Duration::from_millis(20))?;
        }
        Ok(())
    }
}
