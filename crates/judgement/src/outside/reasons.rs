//! Why: sentences with figures.

use super::bucket::Life;
use super::columns::{Columns, there};
use super::judge::{Standing, WAIT};
use super::lives::Lives;
use super::rules::{SLOW, SLOW_WAIT, WINDOWS, least, length};
use super::views::{Model, Seen, Series, Sight, look, series};
use super::{Driver, Settings};

const MIB: f64 = 1024.0 * 1024.0;
/// The leak that the power is told for: 12 MB in 72 hours.
const SMALL_LEAK: f64 = 12e6 / 72.0;

/// What was looked at, what it shows, what was ruled out.
pub(super) fn sentences(
    settings: Settings,
    life: &Life,
    columns: &Columns,
    standing: Option<&Standing>,
    lives: &Lives,
) -> Vec<String> {
    let mut said = Vec::new();
    if let Some((length, count)) = lives.all_shorter(4.0 * settings.settle_s) {
        said.push(format!(
            "The last {count} processes lived {} each: too short for a judgement of one alone, with {} to settle.",
            hours(length),
            hours(settings.settle_s)
        ));
    }
    if let Some(standing) = standing {
        said.push(leak(standing));
    }
    let (Some(&first), Some(&now)) = (columns.t.first(), columns.t.last()) else {
        let settle = hours(settings.settle_s);
        said.push(format!(
            "The first {settle} after a start are passed over, and no more was seen."
        ));
        return said;
    };
    said.push(format!(
        "The process is {} old; {} of that were looked at.",
        hours(now - life.start),
        hours(now - first)
    ));
    for one in series(columns).iter().filter(|one| one.sight.counts(columns)) {
        if let Some(seen) = longest(settings, one, columns) {
            said.push(sentence(one, &seen));
        }
    }
    if !there(&columns.account) && !columns.counts.iter().any(|column| there(column)) {
        said.push(
            "Nothing is known of what it holds: state that grows looks like a leak. Give it a source of accounts."
                .to_owned(),
        );
    }
    said.push(match power(settings, columns, SMALL_LEAK) {
        Some(seconds) => format!(
            "A leak of 0.167 MB/h that began now would be seen in about {} at this noise.",
            hours(seconds)
        ),
        None => "A leak of 0.167 MB/h would not be seen yet: there is too little data to know the noise."
            .to_owned(),
    });
    said
}

fn leak(standing: &Standing) -> String {
    let leak = &standing.leak;
    let driver = match (leak.driver, leak.bytes_per_event) {
        (Driver::Publish, Some(bytes)) => {
            format!("; it grows with PUBLISH packets, {bytes:.1} bytes each")
        }
        (Driver::Connect, Some(bytes)) => {
            format!("; it grows with connections, {bytes:.0} bytes each")
        }
        (Driver::Time, _) => {
            "; it grows with the hours, not with packets or connections".to_owned()
        }
        _ => "; whether it grows with the hours, packets or connections cannot be told apart"
            .to_owned(),
    };
    format!(
        "{} grows by {:.3} ± {:.3} MB/h over the last {}, and nothing explains it{driver}.",
        name(standing.sight),
        leak.bytes_per_hour / 1e6,
        leak.error / 1e6,
        hours(standing.length)
    )
}

fn sentence(series: &Series, seen: &Seen) -> String {
    let growth = &seen.growth;
    let explained = match &seen.model {
        Model::Overhead(overhead) => {
            format!(" ({overhead:.2} bytes for each byte of the account are taken off)")
        }
        Model::Held => " (the largest so far against the largest account so far)".to_owned(),
        Model::Counts(_) => " (what its counts of state explain is taken off)".to_owned(),
        Model::AsIs => String::new(),
    };
    let tail = if growth.keeps < 0.8 && growth.grown > 0.0 {
        format!(
            ", and slows down: the later half grows {:.0} % as fast",
            100.0 * growth.keeps.max(0.0)
        )
    } else {
        String::new()
    };
    format!(
        "{}{explained} moved by {:+.2} ± {:.2} MiB in {}{tail}; up to {:.2} MiB of it may be due to state that moved.",
        name(series.sight),
        growth.grown / MIB,
        1.96 * growth.error / MIB,
        hours(growth.to - growth.from),
        seen.explained / MIB
    )
}

/// What the longest window shows that can be looked at.
fn longest(settings: Settings, series: &Series, columns: &Columns) -> Option<Seen> {
    let (first, now) = (*series.t.first()?, *columns.t.last()?);
    (0..WINDOWS).rev().find_map(|window| {
        let length = length(settings, window);
        if now - length < first - 0.08 * length {
            return None;
        }
        look(series, columns, now - length, f64::NEG_INFINITY)
    })
}

/// In how many seconds a leak of so many bytes per hour is seen at this noise.
pub(super) fn power(settings: Settings, columns: &Columns, bytes_per_hour: f64) -> Option<f64> {
    let now = *columns.t.last()?;
    let all = series(columns);
    // What is slow waits, however quiet it is.
    let slow = bytes_per_hour * settings.settle_s / 3600.0 < SLOW;
    let waits = if slow { SLOW_WAIT } else { WAIT } * settings.settle_s;
    let soonest = |series: &Series| {
        (0..WINDOWS).find_map(|window| {
            let length = length(settings, window);
            let units = length / settings.settle_s;
            if units < series.shortest_h {
                return None;
            }
            let seen = look(series, columns, now - length, f64::NEG_INFINITY)?;
            let wanted = least(units, series.level) + 2.5 * seen.growth.error + seen.explained;
            (bytes_per_hour * length / 3600.0 > wanted).then_some((length * 7.0 / 6.0).max(waits))
        })
    };
    all.iter()
        .filter(|series| series.sight != Sight::Direct && series.sight.counts(columns))
        .filter_map(soonest)
        .min_by(f64::total_cmp)
}

fn name(sight: Sight) -> &'static str {
    match sight {
        Sight::Follow => "Resident memory less its account",
        Sight::Ratchet => "The high-water mark of resident memory less that of its account",
        Sight::Account => "The account less what it counts",
        Sight::Native => "Memory beside heap and direct buffers",
        Sight::Counted => "Resident memory against its counts of state",
        Sight::Bare => "Resident memory",
        Sight::HeapFloor => "The heap after collections",
        Sight::ResidentFloor => "Resident memory after collections",
        Sight::Direct => "Direct memory",
    }
}

fn hours(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 2.0 * 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 72.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}
