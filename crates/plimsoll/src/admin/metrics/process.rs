//! The process, by the names that Prometheus' clients give its figures.

use std::fs;

use plimsoll_watch::exposition::Text;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

pub(super) fn write(text: &mut Text) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may have spaces; what follows it does not.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let ticks = clock_ticks_per_second() as f64;
    if let (Some(user), Some(system)) = (number(11), number(12)) {
        let seconds = (user + system) as f64 / ticks;
        text.counter("process_cpu_seconds", "CPU time of the process, user and system.", seconds);
    }
    let started = number(19).map(|since_boot| since_boot as f64 / ticks);
    if let (Some(started), Some(boot)) = (started, boot_time()) {
        text.gauge(
            "process_start_time_seconds",
            "When the process was started, seconds since 1970.",
            boot + started,
        );
    }
    text.known("process_virtual_memory_bytes", "Virtual memory of the process.", number(20));
    let resident = number(21).map(|pages| pages * page_size() as u64);
    text.known("process_resident_memory_bytes", "Resident memory of the process.", resident);
    text.known("process_threads", "Threads of the process.", number(17));
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    text.known("process_open_fds", "Open file descriptors.", open);
    let most = getrlimit(Resource::Nofile).current;
    text.known("process_max_fds", "File descriptors that there may be.", most);
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}
