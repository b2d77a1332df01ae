//! The run itself: connect, publish when due, mishaps, wait for the rest.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use plimsoll_mqtt::{Disconnect, Packet, QoS, ReasonCode};

use super::device::Presence;
use super::fleet_state::{COMES_BACK_US, FleetState, WAVE_SUBSCRIBE_IDENTIFIER};
use super::options::Options;
use super::report::{Ending, Report};
use super::schedule::Task;
use super::wave::{self, Progress};
use crate::interrupts::Interrupts;
use crate::load::{Latency, Random, StrainMeter, Swarm, open_files, subscribe};

/// Handshakes under way at one time.
const CONNECTING_MAX: usize = 200;

/// How long the fleet may take to connect, and as much again for each 10,000 sensors.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long to wait for what is under way once publishing has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// From a firmware update's begin, when devices ask for the image, to its sending, µs.
const WAVE_DELAY_US: u64 = 1_000_000;

/// Tasks done before the network is looked at again.
const TASKS_A_TURN: usize = 256;

struct Run<'o> {
    options: &'o Options,
    swarm: Swarm,
    state: FleetState,
    interrupts: Interrupts,
    begin: Instant,
    /// When the last reading is due, µs since the run began.
    end_us: u64,
    /// Readings that were not taken because their device was away.
    not_taken: u64,
    /// How late the tool itself was.
    late_us: Latency,
    payload: Vec<u8>,
}

/// Runs the fleet.
pub(super) fn run(options: &Options) -> Result<Report, String> {
    let endpoint = options.place.endpoint()?;
    open_files(u64::from(options.fleet_size()) + 64)?;
    let interrupts =
        Interrupts::watch().map_err(|error| format!("cannot watch signals: {error}"))?;
    let begin = Instant::now();
    let mut run = Run {
        options,
        swarm: Swarm::new(endpoint).map_err(|error| format!("cannot poll: {error}"))?,
        state: FleetState::new(options, begin)?,
        interrupts,
        begin,
        end_us: 0,
        not_taken: 0,
        late_us: Latency::new()?,
        payload: Vec::new(),
    };
    run.connect_all().map_err(|error| {
        format!("cannot connect the fleet to {}: {error}", options.place.connect)
    })?;
    let connected_in = begin.elapsed();
    run.say(&format!(
        "{} sensors connected in {:.1} s",
        run.state.greeted,
        connected_in.as_secs_f64()
    ));
    let strain = StrainMeter::start();
    let start = Instant::now();
    run.plan();
    let published = run.publish_all();
    let (published_for, strain) = (start.elapsed(), strain.read());
    let drained = published.and_then(|()| run.drain());
    run.state.control.give_up();
    let ending = match drained {
        Err(error) => Ending::BrokeOff(error.to_string()),
        Ok(()) if run.interrupts.seen() => Ending::Interrupted,
        Ok(()) => Ending::AsPlanned,
    };
    Ok(Report {
        connected_in,
        published_for,
        ending,
        strain,
        late_us: run.late_us,
        not_taken: run.not_taken,
        state: run.state,
    })
}

impl Run<'_> {
    fn say(&self, line: &str) {
        if !self.options.json {
            eprintln!("{line}");
        }
    }

    fn connect_all(&mut self) -> io::Result<()> {
        let size = self.state.devices.len();
        let deadline = self.begin + CONNECT_TIMEOUT.mul_f64(1.0 + size as f64 / 10_000.0);
        self.control_dial()?;
        let mut next = 0;
        while !(self.state.control.subscribed && self.state.greeted == size) {
            while self.state.control.subscribed
                && self.state.connecting < CONNECTING_MAX
                && next < size
            {
                self.dial(next as u32)?;
                next += 1;
            }
            self.turn(Duration::from_millis(100))?;
            let so_far = format!("{} of {size} connected", self.state.greeted);
            if let Some((_, why)) = &self.state.unreachable {
                return Err(io::Error::other(format!("{why} ({so_far})")));
            }
            if self.interrupts.seen() {
                return Err(io::Error::other(format!("interrupted with {so_far}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{so_far} in time")));
            }
        }
        Ok(())
    }

    /// Puts readings, mishaps and updates on the schedule.
    fn plan(&mut self) {
        let now_us = self.state.now_us();
        let length_us = self.options.length.as_micros() as u64;
        self.end_us = now_us + length_us;
        let period_us = self.options.period().as_micros() as u64;
        let size = self.state.devices.len() as u64;
        for number in 0..self.state.devices.len() as u32 {
            let phase = period_us * u64::from(number) / size.max(1);
            self.add(now_us + phase, Task::Reading(number, 0));
            self.plan_mishap(self.options.losses, Task::Cut(number), now_us);
            self.plan_mishap(self.options.reconnects, Task::Leave(number), now_us);
        }
        for wave in 0..self.options.waves {
            let at = length_us * u64::from(wave + 1) / u64::from(self.options.waves + 1);
            self.add(now_us + at, Task::WaveBegin(wave));
        }
        if let Some(every) = self.options.control_away {
            self.add(
                now_us + every.div_f64(self.options.speed).as_micros() as u64,
                Task::ControlCut,
            );
        }
        if self.state.commanded() > 0 {
            self.add(now_us, Task::Command);
        }
    }

    /// Schedules what happens at random, `per_hour` times in an hour of the fleet.
    fn plan_mishap(&mut self, per_hour: f64, task: Task, from_us: u64) {
        let random = self.state.mishaps.get_mut(match task {
            Task::Cut(number) => 2 * number as usize,
            Task::Leave(number) => 2 * number as usize + 1,
            _ => return,
        });
        if let (Some(mean), Some(random)) = (self.options.mean_secs(per_hour), random) {
            let wait = Duration::from_secs_f64(random.waiting(mean).min(1e9));
            self.add(from_us + wait.as_micros() as u64, task);
        }
    }

    /// Puts a task on the schedule, unless it is due after the end.
    fn add(&mut self, at_us: u64, task: Task) {
        if at_us < self.end_us {
            self.state.schedule.add(at_us, task);
        }
    }

    fn publish_all(&mut self) -> io::Result<()> {
        let mut told = Instant::now();
        while !self.interrupts.seen() {
            let now_us = self.state.now_us();
            if now_us >= self.end_us {
                break;
            }
            for _ in 0..TASKS_A_TURN {
                let Some((due_us, task)) = self.state.schedule.take_due(now_us) else { break };
                self.perform(due_us, task)?;
            }
            let next_us = self.state.schedule.next_us().unwrap_or(self.end_us).min(self.end_us);
            let wait_us = next_us.saturating_sub(self.state.now_us());
            self.turn(Duration::from_micros(wait_us.min(100_000)))?;
            self.check_reach()?;
            self.progress(&mut told);
        }
        Ok(())
    }

    /// One calm line now and then.
    fn progress(&self, told: &mut Instant) {
        let pause = Duration::from_secs(if io::stderr().is_terminal() { 10 } else { 60 });
        if told.elapsed() < pause {
            return;
        }
        *told = Instant::now();
        let left = self.end_us.saturating_sub(self.state.now_us()) / 1_000_000;
        let missing = self.state.control.gaps.missing();
        self.say(&format!(
            "{} received, {missing} missing so far, {left} s left",
            self.state.control.gaps.received
        ));
    }

    fn perform(&mut self, due_us: u64, task: Task) -> io::Result<()> {
        let now_us = self.state.now_us();
        match task {
            Task::Reading(number, turn) => self.reading(number, turn, due_us),
            Task::Dial(number) => {
                if self.state.connecting >= CONNECTING_MAX {
                    self.state.schedule.add(now_us + 5000, task);
                } else {
                    self.dial(number)?;
                }
            }
            Task::Cut(number) => {
                self.part(number, false);
                self.plan_mishap(self.options.losses, task, due_us);
            }
            Task::Leave(number) => {
                self.part(number, true);
                self.plan_mishap(self.options.reconnects, task, due_us);
            }
            Task::ControlDial => self.control_dial()?,
            Task::ControlCut => self.control_cut(due_us),
            Task::Command => self.command(due_us),
            Task::WaveBegin(wave) => self.wave_begin(wave),
            Task::WaveSend(wave) => self.wave_send(wave),
        }
        Ok(())
    }

    fn reading(&mut self, number: u32, turn: u32, due_us: u64) {
        let period_us = self.options.period().as_micros() as f64;
        let size = self.state.devices.len() as f64;
        let start_us = self.end_us - self.options.length.as_micros() as u64;
        let mut random = Random::of(self.options.seed, number, turn);
        let stray = self.options.jitter * random.uniform();
        let next = period_us * (f64::from(turn + 1) + f64::from(number) / size + stray);
        #[expect(clippy::cast_sign_loss, reason = "all parts are positive")]
        self.add(start_us + next as u64, Task::Reading(number, turn + 1));
        let late = self.state.now_us().saturating_sub(due_us);
        let Some(device) = self.state.devices.get_mut(number as usize) else { return };
        let Some(link) = device.online() else {
            self.not_taken += 1;
            return;
        };
        self.late_us.record(late);
        let payload = &mut self.payload;
        self.swarm.write(link, |out| device.publish(number, due_us, payload, out));
    }

    /// A device goes, with or without a word, and comes back soon.
    fn part(&mut self, number: u32, politely: bool) {
        let link = self.state.devices.get(number as usize).and_then(super::device::Device::online);
        let Some(link) = link else { return };
        if politely {
            self.swarm.send(link, &Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)));
            self.state.leaving.push(link);
        } else {
            self.swarm.close(link);
        }
        self.state.device_gone(number);
        self.state.device_comes_back(number);
    }

    fn dial(&mut self, number: u32) -> io::Result<()> {
        let Some(device) = self.state.devices.get(number as usize) else { return Ok(()) };
        if device.presence != Presence::Away {
            return Ok(());
        }
        let identifier = device.sensor.client_identifier();
        let endpoint = self.swarm.endpoint().clone();
        let link =
            self.swarm.dial(endpoint.greeting(&identifier, true, self.options.keep_alive()))?;
        self.state.device_dials(number, link);
        Ok(())
    }

    fn control_dial(&mut self) -> io::Result<()> {
        if self.state.control.presence == Presence::Away {
            let endpoint = self.swarm.endpoint().clone();
            let link = self.swarm.dial(endpoint.greeting("plant-control", true, 300))?;
            self.state.control_dials(link);
        }
        Ok(())
    }

    fn control_cut(&mut self, due_us: u64) {
        if let Presence::Online(link) = self.state.control.presence {
            self.swarm.close(link);
            self.state.control.cut_off();
            self.state.schedule.add(due_us + COMES_BACK_US, Task::ControlDial);
        }
        if let Some(every) = self.options.control_away {
            self.add(
                due_us + every.div_f64(self.options.speed).as_micros() as u64,
                Task::ControlCut,
            );
        }
    }

    /// Sends one command, and schedules the next: each device gets one in a period, on average.
    fn command(&mut self, due_us: u64) {
        let gap = self.options.period().div_f64(f64::from(self.state.commanded().max(1)));
        self.add(due_us + (gap.as_micros() as u64).max(1), Task::Command);
        let Presence::Online(link) = self.state.control.presence else { return };
        if !self.state.control.subscribed {
            return;
        }
        let Some(number) = self.state.pick_commanded() else { return };
        let now_us = self.state.now_us();
        let (control, devices) = (&mut self.state.control, &self.state.devices);
        if let Some(device) = devices.get(number as usize) {
            self.swarm.write(link, |out| control.command(number, device, now_us, out));
        }
    }

    /// The devices of a plant ask for an image.
    fn wave_begin(&mut self, wave: u32) {
        let topic = wave::topic(wave);
        for number in wave::members(&self.state.devices, wave, self.options.plants) {
            let Some(device) = self.state.devices.get_mut(number as usize) else { continue };
            let Some(link) = device.online() else { continue };
            device.wave = Some(Progress::Asking);
            self.swarm.write(link, |out| {
                subscribe(out, WAVE_SUBSCRIBE_IDENTIFIER, QoS::AtLeastOnce, &[&topic]);
            });
        }
        self.add(self.state.now_us() + WAVE_DELAY_US, Task::WaveSend(wave));
    }

    /// The image is sent; who has no answer to its subscription by now does not count.
    fn wave_send(&mut self, wave: u32) {
        let Presence::Online(link) = self.state.control.presence else {
            return self.add(self.state.now_us() + WAVE_DELAY_US, Task::WaveSend(wave));
        };
        for number in wave::members(&self.state.devices, wave, self.options.plants) {
            let Some(device) = self.state.devices.get_mut(number as usize) else { continue };
            if let Some(progress) =
                device.wave.as_mut().filter(|progress| **progress == Progress::Subscribed)
            {
                *progress = Progress::Sent;
                self.state.images.expected += 1;
            }
        }
        let identifier = self.state.control.identifier();
        let bytes = usize::try_from(self.options.firmware).unwrap_or(0);
        self.swarm.write(link, |out| wave::send(wave, identifier, bytes, out));
    }

    /// Ends the run if the broker cannot be reached for too long.
    fn check_reach(&self) -> io::Result<()> {
        match &self.state.unreachable {
            Some((since, why)) if since.elapsed() > self.options.patience => {
                let secs = self.options.patience.as_secs_f64();
                Err(io::Error::other(format!("no connection for {secs} s: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// Waits for what is under way, and a moment longer: a duplicate would come late.
    fn drain(&mut self) -> io::Result<()> {
        self.state.schedule.wind_down();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while self.is_waiting() && Instant::now() < deadline {
            self.settle(Duration::from_millis(50))?;
            self.check_reach()?;
        }
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            self.settle(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn settle(&mut self, timeout: Duration) -> io::Result<()> {
        while let Some((due_us, task)) = self.state.schedule.take_due(self.state.now_us()) {
            self.perform(due_us, task)?;
        }
        self.turn(timeout)
    }

    fn is_waiting(&self) -> bool {
        let state = &self.state;
        let control_is_back =
            matches!(state.control.presence, Presence::Online(_)) && state.control.subscribed;
        state.control.is_waiting()
            || state.images.open() > 0
            || !control_is_back
            || state.devices.iter().any(super::device::Device::is_waiting)
            || (0..)
                .zip(&state.devices)
                .any(|(number, device)| state.control.gaps.tail(number, device.acknowledged) > 0)
    }

    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        self.swarm.turn(timeout, &mut self.state)?;
        while let Some(link) = self.state.leaving.pop() {
            self.swarm.close(link);
        }
        match self.state.fatal.take() {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(()),
        }
    }
}
