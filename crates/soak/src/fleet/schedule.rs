//! What is to happen when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// A device takes a reading: (device, which one since the start).
    Reading(u32, u32),
    /// A device connects.
    Dial(u32),
    /// A device says goodbye.
    Leave(u32),
    /// The network cuts a device off.
    Cut(u32),
    /// The control system connects.
    ControlDial,
    /// The control system is cut off.
    ControlCut,
    /// The control system sends a command.
    Command,
    /// A firmware update begins: which one.
    WaveBegin(u32),
    /// Its image is sent to those who have asked for it.
    WaveSend(u32),
}

/// Tasks in the order of their times, µs since the run began.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    tasks: BinaryHeap<Reverse<(u64, Task)>>,
}

impl Schedule {
    pub(super) fn add(&mut self, at_us: u64, task: Task) {
        self.tasks.push(Reverse((at_us, task)));
    }

    /// When the next task is due.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.tasks.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next task if it is due.
    pub(super) fn take_due(&mut self, now_us: u64) -> Option<(u64, Task)> {
        self.next_us().filter(|at| *at <= now_us)?;
        self.tasks.pop().map(|Reverse(entry)| entry)
    }

    /// Leaves only what brings clients back: no more readings, mishaps or commands.
    pub(super) fn wind_down(&mut self) {
        self.tasks.retain(|Reverse((_, task))| matches!(task, Task::Dial(_) | Task::ControlDial));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_in_the_order_of_their_times() {
        let mut schedule = Schedule::default();
        schedule.add(20, Task::Command);
        schedule.add(10, Task::Dial(3));
        schedule.add(30, Task::ControlDial);
        assert_eq!(schedule.take_due(9), None);
        assert_eq!(schedule.take_due(25), Some((10, Task::Dial(3))));
        schedule.wind_down();
        assert_eq!(schedule.next_us(), Some(30));
    }
}
