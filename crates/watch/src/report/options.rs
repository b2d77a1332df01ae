//! `plimsoll watch report`: a recorded series as a report.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use plimsoll_judgement::outside::{Change, Sample, Settings, Verdict};

use super::{Subject, report, steps};
use crate::describe::Sentence;
use crate::plot::Mark;
use crate::replay::Replay;
use crate::series::Series;
use crate::trail::Trail;
use crate::{history, json, units};

/// Write a report: one HTML file with the judgement, the plots that show why, and the reasons
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The file needs nothing else: no network, no script to be read, light and dark, 360 pixels and more.

Examples:
  plimsoll watch report incident.csv -o incident.html
  plimsoll watch report --history /var/lib/plimsoll-watch --target edge-7
  plimsoll watch report --name edge-7 --limit 512M series.csv.gz
  curl -s http://127.0.0.1:9977/ > now.html      the report of a running watch --listen

Exit code: 0 written; 2 the series cannot be read, or the report not be written; 3 a mistake in the command."
)]
pub(crate) struct Options {
    /// The series, as for `watch replay`; `-` is standard input
    #[arg(required_unless_present = "history", conflicts_with = "history")]
    file: Option<PathBuf>,
    /// What `watch --history DIR` has recorded, also while it runs
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Which target of the history, if there are several
    #[arg(long, value_name = "NAME", requires = "history")]
    target: Option<String>,
    /// The report; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// What is watched, for the title; without it, the file's name
    #[arg(long)]
    name: Option<String>,
    /// What memory must not reach, if the series has no column for it
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    limit: Option<f64>,
    /// What is passed over after the start of a process
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::duration)]
    settle: Duration,
}

/// The series cannot be read, or the report not be written.
const EXIT_FAILED: u8 = 2;

/// Samples that a report is drawn from; all are judged. 20,000 are two weeks at one a minute, and 6 MB.
const SAMPLES_MAX: usize = 20_000;

impl Options {
    /// Reads, judges and writes.
    pub(crate) fn run(&self) -> ExitCode {
        match self.write() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("Error: {error}");
                ExitCode::from(EXIT_FAILED)
            }
        }
    }

    fn write(&self) -> Result<(), String> {
        let (html, said) = self.html()?;
        if self.output == Path::new("-") {
            return match io::stdout().lock().write_all(html.as_bytes()) {
                // Whoever reads has seen enough.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(format!("standard output: {error}"))
                }
                _ => Ok(()),
            };
        }
        let shown = self.output.display();
        fs::write(&self.output, html).map_err(|error| format!("{shown}: {error}"))?;
        eprintln!("{shown}: {said}");
        Ok(())
    }

    /// The report, and its judgement in words.
    fn html(&self) -> Result<(String, String), String> {
        let (whence, stem, samples) = self.samples()?;
        let mut replay = Replay::new(Settings { settle_s: self.settle.as_secs_f64() });
        let mut trail = Trail::new(SAMPLES_MAX);
        let mut marks = Vec::new();
        for sample in samples {
            let mut sample = sample?;
            sample.limit = sample.limit.or(self.limit);
            let before = replay.samples;
            let was = replay.push(&sample);
            // One that is not later than those before was passed over.
            if replay.samples > before {
                trail.push(&sample);
            }
            if let Some(was) = was
                && (is_leak(&was) || is_leak(&replay.verdict))
            {
                marks.push(Mark { at: sample.t, text: Sentence(&replay.verdict).to_string() });
            }
        }
        if replay.samples == 0 {
            return Err(format!("{whence} has nothing with a time and a size"));
        }
        replay.ask();
        let changes: Vec<Change> = replay.judge.changes().copied().collect();
        marks.extend(steps(&changes));
        marks.sort_by(|one, other| one.at.total_cmp(&other.at));
        let left: Vec<(f64, f64)> =
            replay.judge.explained().iter().map(|one| (one.t, one.left)).collect();
        let subject = Subject {
            left: &left,
            name: self.name.as_deref().unwrap_or(&stem),
            samples: trail.samples(),
            samples_seen: replay.samples,
            verdict: &replay.verdict,
            reasons: &replay.judge.reasons(),
            alarms: replay.alarms.clone(),
            marks,
            facts: vec![
                ("Series".to_owned(), whence),
                ("Judged by".to_owned(), format!("plimsoll watch {}", env!("CARGO_PKG_VERSION"))),
                ("Passed over after a start".to_owned(), format!("{} s", self.settle.as_secs())),
                ("Written".to_owned(), json::time(SystemTime::now())),
            ],
        };
        Ok((report(&subject, None), Sentence(&replay.verdict).to_string()))
    }

    /// Where the samples come from, what that is called in short, and they themselves.
    fn samples(&self) -> Result<(String, String, Samples), String> {
        if let Some(directory) = &self.history {
            let target = self.recorded(directory)?;
            let whence = format!("{} of {}", target, directory.display());
            let records = history::read(directory, &target, f64::NEG_INFINITY)
                .map_err(|error| format!("{whence}: {error}"))?;
            return Ok((whence, target, Box::new(records.map(|record| Ok(record.sample)))));
        }
        let file = self.file.as_deref().unwrap_or(Path::new("-"));
        let series = Series::open(file).map_err(|error| error.to_string())?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let stem =
            name.as_deref().and_then(|name| name.split('.').next()).unwrap_or("-").to_owned();
        let samples = series.map(|sample| sample.map_err(|error| error.to_string()));
        Ok((file.display().to_string(), stem, Box::new(samples)))
    }

    /// The target that is meant, of those that are recorded.
    fn recorded(&self, directory: &Path) -> Result<String, String> {
        let shown = directory.display();
        let mut targets =
            history::targets(directory).map_err(|error| format!("{shown}: {error}"))?;
        match (&self.target, targets.len()) {
            (Some(target), _) if targets.contains(target) => Ok(target.clone()),
            (Some(target), _) => {
                Err(format!("{shown} has no target {target}; it has {}", targets.join(", ")))
            }
            (None, 1) => Ok(targets.remove(0)),
            (None, 0) => Err(format!("{shown} has no history of a target")),
            (None, _) => Err(format!("say which --target: {}", targets.join(", "))),
        }
    }
}

/// Samples, or why there are no more.
type Samples = Box<dyn Iterator<Item = Result<Sample, String>>>;

fn is_leak(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Leaking(_))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_series_becomes_a_file() {
        let directory = std::env::temp_dir().join(format!("watch-report-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (series, output) = (directory.join("edge.csv"), directory.join("edge.html"));
        let lines: Vec<String> =
            (0..300).map(|n| format!("{},{}", n * 60, 20_000 + n % 7)).collect();
        fs::write(&series, format!("t,rss_kb\n{}\n", lines.join("\n"))).unwrap();
        let words = ["x".as_ref(), series.as_os_str(), "-o".as_ref(), output.as_os_str()];
        let options = Line::parse_from(words).options;
        options.write().unwrap();
        let html = fs::read_to_string(&output).unwrap();
        assert!(html.contains("<h1>edge</h1>") && html.contains("300 samples over 5 h"), "{html}");
        fs::write(&series, "t,rss_kb\n").unwrap();
        assert!(
            options.html().unwrap_err().ends_with("edge.csv has nothing with a time and a size")
        );
        let nowhere = Options { output: directory.join("no/where.html"), ..options };
        fs::write(&series, "t,rss_kb\n1,1\n").unwrap();
        assert!(nowhere.write().unwrap_err().contains("no/where.html: No such file"));
        fs::remove_dir_all(directory).unwrap();
    }
}
