//! Metrics as text: Prometheus' format (0.0.4), and `OpenMetrics` (1.0.0).

use std::fmt::{self, Display, Write as _};

/// The form that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `text/plain; version=0.0.4`, which every scraper reads.
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Form {
    /// By the header `Accept`.
    pub fn of(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// For the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A text that grows by one family of metrics after another.
#[derive(Debug)]
pub struct Text {
    form: Form,
    text: String,
}

/// A value: whole numbers stay whole.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// A count.
    Whole(u64),
    /// Anything else.
    Real(f64),
}

impl From<u64> for Figure {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Figure {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Figure {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Real(value) if value.is_infinite() && *value > 0.0 => f.write_str("+Inf"),
            Self::Real(value) => write!(f, "{value}"),
        }
    }
}

/// One sample: labels and their values, and the figure.
pub type Sample<'a> = (&'a [(&'a str, &'a str)], Figure);

impl Text {
    /// An empty one.
    pub fn new(form: Form) -> Self {
        Self { form, text: String::with_capacity(16 * 1024) }
    }

    /// A count since the start. `name` is without `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Into<Figure>) {
        self.counters(name, help, [(&[][..], value.into())]);
    }

    /// Counts that labels tell apart.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        self.family(Kind::Counter, name, help, samples);
    }

    /// A figure of the present.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Into<Figure>) {
        self.gauges(name, help, [(&[][..], value.into())]);
    }

    /// A figure of the present that may not be known.
    pub fn known(&mut self, name: &str, help: &str, value: Option<impl Into<Figure>>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    /// Figures of the present that labels tell apart.
    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        self.family(Kind::Gauge, name, help, samples);
    }

    /// How often values lay at or below each bound (not summed up), and their sum.
    pub fn histogram(&mut self, name: &str, help: &str, counts: &[(f64, u64)], sum: f64) {
        self.head(Kind::Histogram, name, help);
        let mut below = 0;
        for (bound, count) in counts {
            below += count;
            let bound = Figure::Real(*bound).to_string();
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], below.into());
        }
        self.sample(&format!("{name}_sum"), &[], sum.into());
        self.sample(&format!("{name}_count"), &[], below.into());
    }

    fn family<'a>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(kind, name, help);
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        for (labels, value) in samples {
            self.sample(&format!("{name}{suffix}"), labels, value);
        }
    }

    fn head(&mut self, kind: Kind, name: &str, help: &str) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // In OpenMetrics a family is called without the suffix of its samples.
        let suffix = match (self.form, kind) {
            (Form::Prometheus, Kind::Counter) => "_total",
            _ => "",
        };
        let unit =
            ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name}{suffix} {}", escaped(help, false));
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {word}");
        if let (Form::OpenMetrics, Some(unit)) = (self.form, unit) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: Figure) {
        self.text.push_str(name);
        for (number, (label, value)) in labels.iter().enumerate() {
            self.text.push(if number == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"{}\"", escaped(value, true));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: Form) -> String {
        let mut text = Text::new(form);
        text.counter("a_bytes", "Bytes.", 7u64);
        text.gauges(
            "b",
            "With \\ and\nline.",
            [
                (&[("kind", "x\"y\\z\n"), ("n", "1")][..], 0.5.into()),
                (&[("kind", "w"), ("n", "2")][..], f64::INFINITY.into()),
            ],
        );
        text.gauges("none", "Nobody.", []);
        text.histogram("c_seconds", "Waits.", &[(0.1, 2), (f64::INFINITY, 1)], 1.25);
        text.finish()
    }

    #[test]
    fn the_text_of_prometheus() {
        let expected = "\
# HELP a_bytes_total Bytes.
# TYPE a_bytes_total counter
a_bytes_total 7
# HELP b With \\\\ and\\nline.
# TYPE b gauge
b{kind=\"x\\\"y\\\\z\\n\",n=\"1\"} 0.5
b{kind=\"w\",n=\"2\"} +Inf
# HELP c_seconds Waits.
# TYPE c_seconds histogram
c_seconds_bucket{le=\"0.1\"} 2
c_seconds_bucket{le=\"+Inf\"} 3
c_seconds_sum 1.25
c_seconds_count 3
";
        assert_eq!(text(Form::Prometheus), expected);
    }

    #[test]
    fn the_text_of_openmetrics() {
        let text = text(Form::OpenMetrics);
        assert!(text.starts_with(
            "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total 7\n"
        ));
        assert!(text.ends_with("c_seconds_count 3\n# EOF\n"));
    }

    #[test]
    fn the_form_is_that_which_is_accepted() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        assert_eq!(Form::of(prometheus), Form::OpenMetrics);
        assert_eq!(Form::of("*/*"), Form::Prometheus);
    }
}
