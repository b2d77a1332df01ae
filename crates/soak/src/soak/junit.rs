//! The verdict for CI systems: `JUnit` XML, a test case for each limit.

use std::fmt::Write as _;

use super::outcome::{Outcome, Standing};

/// The whole file.
pub(super) fn junit(outcomes: &[&Outcome]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for outcome in outcomes {
        let of =
            |standing: Standing| outcome.criteria.iter().filter(|c| c.standing == standing).count();
        let cut_short = usize::from(outcome.ending != "as planned");
        // Writing to a String cannot fail.
        let _ = writeln!(
            xml,
            "  <testsuite name=\"soak {}\" tests=\"{}\" failures=\"{}\" errors=\"{cut_short}\" skipped=\"{}\" time=\"{:.1}\" timestamp=\"{}\">",
            escaped(&outcome.name),
            outcome.criteria.len() + cut_short,
            of(Standing::Fail),
            of(Standing::Skipped),
            outcome.environment.took_s,
            escaped(outcome.environment.started.trim_end_matches('Z'))
        );
        for criterion in &outcome.criteria {
            let text = escaped(&format!(
                "{} ({}). {}",
                criterion.measured, criterion.limit, criterion.note
            ));
            let _ = write!(
                xml,
                "    <testcase classname=\"soak.{}\" name=\"{}\">",
                escaped(&outcome.name),
                escaped(&criterion.name)
            );
            let _ = match criterion.standing {
                Standing::Pass => write!(xml, "<system-out>{text}</system-out>"),
                Standing::Fail => write!(xml, "<failure message=\"{text}\"/>"),
                Standing::Skipped => write!(xml, "<skipped message=\"{text}\"/>"),
            };
            xml.push_str("</testcase>\n");
        }
        if cut_short > 0 {
            let _ = writeln!(
                xml,
                "    <testcase classname=\"soak.{}\" name=\"runs to its end\"><error message=\"{}\"/></testcase>",
                escaped(&outcome.name),
                escaped(&outcome.ending)
            );
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// The file of a run that could not be carried out.
pub(super) fn not_run(why: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"soak\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n    <testcase classname=\"soak\" name=\"can be run\"><error message=\"{}\"/></testcase>\n  </testsuite>\n</testsuites>\n",
        escaped(why)
    )
}

/// Text within an attribute or an element. Characters that XML does not have become blanks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::sample;
    use super::*;

    #[test]
    fn each_limit_is_a_test_case() {
        let mut outcome = sample();
        outcome.name = "a \"b\" & <c>\u{1}".into();
        outcome.ending = "interrupted".into();
        let xml = junit(&[&outcome]);
        assert_eq!(xml.matches("<testcase").count(), outcome.criteria.len() + 1);
        assert!(
            xml.contains("soak a &quot;b&quot; &amp; &lt;c&gt; ") && xml.contains("errors=\"1\"")
        );
        assert!(
            not_run("no \"such\" file").contains("<error message=\"no &quot;such&quot; file\"/>")
        );
    }
}
