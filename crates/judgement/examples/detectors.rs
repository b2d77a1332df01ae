//! Runs detectors over labelled series and prints a table of how good they are.
use flate2::read::GzDecoder;
use plimsoll_judgement::{Event, Header, Judge, Sample, Settings, Verdict};
use std::io::Read;
use std::path::Path;

fn read(path: &Path) -> Vec<Sample> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let header = Header::parse(lines.next().unwrap()).unwrap();
    lines.enumerate().map(|(i, line)| header.sample(line, i as u64 + 2).unwrap()).collect()
}

#[path = "../tests/random/mod.rs"]
mod random;
#[path = "../tests/shapes/mod.rs"]
mod shapes;

fn synth(from: u64, count: u64, only: Option<String>) {
    let mut total_fa = 0;
    let mut weeks = 0.0;
    let mut found = 0;
    let mut leaks = 0;
    let mut all = vec![];
    for class in shapes::CLASSES.iter().chain(&shapes::LEAKS) {
        if only.as_ref().is_some_and(|o| !class.starts_with(o.as_str())) {
            continue;
        }
        let mut fa = 0;
        let mut end = 0;
        let mut ttd = vec![];
        let mut verdicts = std::collections::BTreeMap::new();
        let mut notes = String::new();
        for seed in from..from + count {
            let p = shapes::shape(class, seed);
            let samples = p.run();
            let mut judge = Judge::new(Settings::default());
            let onset = p.leak.map_or(f64::INFINITY, |l| l.onset);
            let mut hit = None;
            for s in &samples {
                if let Some(Event::Raised(l)) = judge.push(s) {
                    if s.t >= onset {
                        if hit.is_none() {
                            hit = Some(s.t - onset);
                        }
                    } else {
                        fa += 1;
                        notes += &format!(
                            " [{seed}@{:.0}h {:?} {:.2}MB/h {:.0}h]",
                            s.t / 3600.0,
                            l.seen_in,
                            l.bytes_per_hour / 1e6,
                            (s.t - l.since) / 3600.0
                        );
                    }
                }
            }
            let v = judge.verdict();
            *verdicts.entry(v.word()).or_insert(0) += 1;
            if let Verdict::Leaking(_) = v {
                end += 1
            }
            if p.leak.is_some() {
                leaks += 1;
                found += u32::from(hit.is_some());
                ttd.push(hit.map_or(999.0, |h| h / 3600.0));
                if hit.is_none() {
                    let l = p.leak.unwrap();
                    notes += &format!(
                        " miss[{seed} {:.2}MB/h from {:.0}h]",
                        l.bytes_per_hour / 1e6,
                        l.onset / 3600.0
                    );
                }
            } else {
                weeks += 1.0;
            }
        }
        total_fa += fa;
        ttd.sort_by(f64::total_cmp);
        all.extend(ttd.iter().copied());
        println!(
            "{class:20} fa {fa:3} leaking at end {end:3} {} {verdicts:?}{notes}",
            if ttd.is_empty() {
                String::new()
            } else {
                format!(
                    "found {}/{} median {:.1} max {:.1}",
                    ttd.iter().filter(|t| **t < 900.0).count(),
                    ttd.len(),
                    ttd[ttd.len() / 2],
                    ttd[ttd.len() - 1]
                )
            }
        );
    }
    all.sort_by(f64::total_cmp);
    println!(
        "false alarms {total_fa} per year {:.2}; found {found}/{leaks} median {:.1}",
        total_fa as f64 / (weeks * 7.0 / 365.25),
        all.get(all.len() / 2).unwrap_or(&0.0)
    );
}

fn main() {
    let dir = std::env::args().nth(1).unwrap();
    if dir == "synth" {
        let a: Vec<String> = std::env::args().collect();
        synth(a[2].parse().unwrap(), a[3].parse().unwrap(), a.get(4).cloned());
        return;
    }
    let mut paths: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "gz"))
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().replace(".csv.gz", "");
        let samples = read(&path);
        let mut judge = Judge::new(Settings::default());
        let mut line = String::new();
        for s in &samples {
            match judge.push(s) {
                Some(Event::Raised(l)) => {
                    line += &format!(
                        " RAISED {:.1}h {:?} {:.0} B/h ±{:.0} {:?};",
                        s.t / 3600.0,
                        l.seen_in,
                        l.bytes_per_hour,
                        l.error,
                        l.driver
                    )
                }
                Some(Event::Cleared { .. }) => line += &format!(" cleared {:.1}h;", s.t / 3600.0),
                _ => {}
            }
        }
        let v = judge.verdict();
        print!("{name} {}", v.word());
        if let Verdict::Leaking(l) = v {
            print!(
                " {:?} {:.0}±{:.0} since {:.1}h {:?}",
                l.seen_in,
                l.bytes_per_hour,
                l.error,
                l.since / 3600.0,
                l.driver
            );
        }
        println!(" |{line}");
    }
}
