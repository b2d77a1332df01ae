//! Waits that are finer than the milliseconds of `epoll`, and asleep: a tool that waited awake would take a core from the
//! broker, and be late itself once the kernel takes its own away.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer of the kernel that wakes a poll up (`timerfd_create(2)`).
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set; the poll sees `token` when it fires.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Fires once, after `wait`, which is more than nothing. It need not be read: setting it makes it new.
    pub(crate) fn set(&self, wait: Duration) -> io::Result<()> {
        let it_value = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Instant;

    #[test]
    fn it_wakes_a_poll_each_time_that_it_is_set() {
        let mut poll = Poll::new().expect("a poll");
        let mut events = Events::with_capacity(4);
        let timer = Timer::new(poll.registry(), Token(7)).expect("a timer");
        for _ in 0..3 {
            let (begin, wait) = (Instant::now(), Duration::from_micros(1500));
            timer.set(wait).expect("set");
            poll.poll(&mut events, Some(Duration::from_secs(20))).expect("polled");
            assert!(begin.elapsed() >= wait);
            let tokens: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            assert_eq!(tokens, [Token(7)]);
        }
    }
}
