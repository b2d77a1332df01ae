//! Alarms on their way out: a webhook, and files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::alarm::Alarm;
use super::heap::HeapProfile;
use super::{Memory, now, pprof};

/// Where alarms go beside the log; both are left out if not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reporting {
    /// `memory_alarm_url`: is sent each alarm as JSON.
    pub(crate) url: Option<String>,
    /// `memory_alarm_directory`: keeps each alarm, with a heap profile of that moment.
    pub(crate) directory: Option<PathBuf>,
}

/// Alarms whose files are kept; older ones are removed.
const FILES_MAX: usize = 32;

/// Pauses before a webhook is tried again.
const RETRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

impl Memory {
    /// Sends an alarm where it should go, from a thread of its own: none of that may hold up looking. `trouble`
    /// is told what did not work.
    pub(crate) fn send(&self, alarm: &Arc<Alarm>, trouble: impl Fn(&str) + Send + 'static) {
        let reporting = self.reporting();
        if *reporting == Reporting::default() {
            return;
        }
        // Taken here and now: it is of this moment that the alarm speaks.
        let profile = reporting.directory.as_ref().map(|_| HeapProfile::take());
        let alarm = Arc::clone(alarm);
        let body = move || {
            if let (Some(directory), Some(profile)) = (&reporting.directory, profile)
                && let Err(error) = write(directory, &alarm, profile)
            {
                trouble(&format!("Cannot keep an alarm in {}: {error}.", directory.display()));
            }
            if let Some(url) = &reporting.url
                && let Err(error) = post(url, &alarm)
            {
                trouble(&format!("Cannot send an alarm to {url}: {error}."));
            }
        };
        // Without a thread there is still the log.
        let _ = thread::Builder::new().name("alarm".into()).spawn(body);
    }
}

/// Writes the alarm and a heap profile beside it.
fn write(directory: &Path, alarm: &Alarm, profile: Result<HeapProfile, String>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let event = if alarm.cleared.is_some() { "cleared" } else { "raised" };
    let stem = format!("{:.0}-{}-{event}", alarm.cleared.unwrap_or(alarm.raised), alarm.subject);
    let json = serde_json::to_vec_pretty(alarm)?;
    fs::write(directory.join(format!("{stem}.json")), json)?;
    remove_oldest(directory)?;
    let profile = profile.map_err(io::Error::other)?;
    let written = pprof::write(&profile, &profile.names(), now().as_nanos() as u64)?;
    fs::write(directory.join(format!("{stem}.heap.pb.gz")), written)
}

/// Keeps the directory from growing. What was not written here stays.
fn remove_oldest(directory: &Path) -> io::Result<()> {
    let mut own: Vec<PathBuf> = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(|c: char| c.is_ascii_digit())
                && (name.ends_with("ed.json") || name.ends_with("ed.heap.pb.gz"))
        })
        .collect();
    own.sort();
    let surplus = own.len().saturating_sub(2 * FILES_MAX);
    own.iter().take(surplus).try_for_each(fs::remove_file)
}

/// Sends the alarm, several times if need be.
fn post(url: &str, alarm: &Alarm) -> Result<(), String> {
    let event = if alarm.cleared.is_some() { "cleared" } else { "raised" };
    let body = json!({ "event": event, "text": alarm.line(), "alarm": alarm });
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(WEBHOOK_TIMEOUT))
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent();
    let mut pauses = RETRIES.iter();
    loop {
        match agent.post(url).send_json(&body) {
            Ok(_) => return Ok(()),
            Err(error) => match pauses.next() {
                Some(pause) => thread::sleep(*pause),
                None => return Err(error.to_string()),
            },
        }
    }
}
