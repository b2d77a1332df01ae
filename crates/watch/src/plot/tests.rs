use super::*;

fn chart() -> Chart {
    let rising = (0..100).map(|n| (f64::from(n) * 3600.0, 20e6 + f64::from(n) * 1e5)).collect();
    Chart {
        title: "Memory of <b> & \"c\"".to_owned(),
        unit: Unit::Bytes,
        series: vec![
            Series::new("one", rising),
            Series::new("fit", vec![(0.0, 20e6), (360_000.0, 30e6)]).with(Ink::Fitted),
        ],
        marks: vec![Mark { at: 7200.0, text: "restart".to_owned() }],
        ..Chart::default()
    }
}

/// What an XML parser would complain of: tags that do not close, bare characters.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in xml.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag that does not end");
        assert!(!text.contains('>'), "{text}");
        match tag {
            closing if closing.starts_with('/') => {
                assert_eq!(open.pop(), closing.get(1..), "closed in another order");
            }
            alone if alone.ends_with('/') => {}
            opening => open.push(opening.split(' ').next().expect("a name")),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_drawing_is_well_formed_and_says_what_it_shows() {
    let svg = chart().svg();
    assert_well_formed(&svg);
    assert!(svg.contains("<title>Memory of &lt;b&gt; &amp; &quot;c&quot;</title>"));
    assert!(svg.contains("one: between 19.1 MiB and 28.5 MiB, at last 28.5 MiB."), "{svg}");
    assert!(svg.contains(">20 MiB</text>") && svg.contains(">1.5 d</text>"), "{svg}");
}

#[test]
fn nothing_to_draw_is_said() {
    for series in [vec![], vec![Series::new("none", vec![(0.0, f64::NAN)])]] {
        let svg = Chart { series, ..Chart::default() }.svg();
        assert_well_formed(&svg);
        assert!(svg.contains("no data") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn lines_keep_within_their_room_whatever_comes() {
    for figure in [0.0, 1e-9, -5.0, 4096.0, 1e18] {
        let points = vec![(0.0, figure), (60.0, figure), (120.0, figure * 1.001)];
        let series = vec![Series::new("level", points)];
        let svg = Chart { series, from_zero: true, ..chart() }.svg();
        assert_well_formed(&svg);
        let path =
            svg.split("data-name=\"level\" d=\"").nth(1).and_then(|rest| rest.split('"').next());
        for point in path.expect("a line").split(['M', 'L']).filter(|point| !point.is_empty()) {
            let y: f64 = point.split(' ').nth(1).and_then(|y| y.parse().ok()).expect("a number");
            assert!((0.0..=200.0).contains(&y), "{figure}: {point}");
        }
    }
}

#[test]
fn a_hundred_marks_are_not_all_listed() {
    let marks = (0..100).map(|n| Mark { at: f64::from(n), text: format!("event {n}") }).collect();
    let figure = Chart { marks, ..chart() }.figure();
    assert_eq!(figure.matches("<li>event").count(), MARKS_LISTED_MAX);
    assert!(figure.contains("and 80 more"));
}

#[test]
fn percentiles_are_those_of_nearest_rank() {
    let sorted: Vec<f64> = (1..=20).map(f64::from).collect();
    assert_eq!(percentile(&sorted, 50), Some(10.0));
    assert_eq!(percentile(&sorted, 95), Some(19.0));
    assert_eq!(percentile(&sorted, 100), Some(20.0));
    assert_eq!(percentile(&[], 50), None);
    let table = Chart { percentiles: true, ..chart() }.figure();
    assert!(table.contains("<th scope=\"col\">95 %"));
}
