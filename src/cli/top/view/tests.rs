use std::time::Duration;

use super::*;

fn column(name: &str, is_measure: bool) -> Column {
    Column {
        header: name.to_uppercase(),
        right: is_measure,
        is_number: is_measure,
        is_measure,
        is_share: false,
    }
}

fn row(name: &str, reads: f64) -> Row {
    Row {
        cells: vec![name.into(), format!("{reads}").into()],
        numbers: vec![f64::NAN, reads],
        identity: name.bytes().fold(0, |hash, byte| hash * 31 + u64::from(byte)),
    }
}

fn report(start: Instant, seconds: u64, rows: &[(&str, f64)]) -> Report {
    Report {
        at: start + Duration::from_secs(seconds),
        rows: rows.iter().map(|(name, reads)| row(name, *reads)).collect(),
    }
}

fn view(counts: bool) -> View {
    View::new("file", vec![column("name", false), column("reads", true)], counts)
}

fn names(view: &View) -> Vec<String> {
    (0..view.order.len())
        .map(|at| view.cell(at, Origin::Column(0)))
        .collect()
}

fn press(view: &mut View, keys: &str) -> Action {
    let mut action = Action::None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            '↓' => KeyCode::Down,
            '→' => KeyCode::Right,
            key => KeyCode::Char(key),
        };
        action = view.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    action
}

#[test]
fn the_first_measure_is_sorted_by_and_the_largest_is_first() {
    let mut view = view(true);
    view.take(report(Instant::now(), 0, &[("a", 1.0), ("b", 3.0), ("c", 2.0)]));
    assert_eq!(names(&view), ["b", "c", "a"]);
    assert_eq!(view.header(Origin::Column(1)), "READS▼");
    press(&mut view, "r");
    assert_eq!(names(&view), ["a", "c", "b"]);
    press(&mut view, "<");
    assert_eq!(
        (names(&view), view.header(Origin::Column(0))),
        (vec!["a".into(), "b".into(), "c".into()], "NAME▲".into())
    );
    press(&mut view, "<<<");
    assert_eq!(view.sorted_by, 0, "there is nothing on the left of the first one");
    press(&mut view, "→→→");
    assert_eq!((view.sorted_by, view.descending), (1, true));
}

#[test]
fn shares_are_sorted_by_before_other_measures() {
    let share = Column {
        is_share: true,
        ..column("cpu", true)
    };
    let view = View::new("processes", vec![column("nice", true), share], false);
    assert_eq!(view.sorted_by, 1);
    let texts = View::new("sockets", vec![column("src", false)], false);
    assert_eq!((texts.sorted_by, texts.descending), (0, false));
    assert_eq!(texts.origins(), [Origin::Column(0)], "texts have no trend");
}

#[test]
fn filters_look_into_every_column_and_can_be_taken_back() {
    let mut view = view(true);
    view.take(report(Instant::now(), 0, &[("Alpha", 17.0), ("beta", 3.0)]));
    press(&mut view, "/ALP");
    assert_eq!(names(&view), ["Alpha"]);
    assert!(view.footer().starts_with("/ALP"));
    press(&mut view, "q\x08\n");
    assert_eq!((names(&view), view.typing), (vec!["Alpha".to_owned()], false));
    assert_eq!(view.status(false), "  1 of 2 rows");
    press(&mut view, "\x1b");
    assert_eq!(names(&view).len(), 2);
    press(&mut view, "/3\n");
    assert_eq!(names(&view), ["beta"]);
    press(&mut view, "/x\x1b");
    assert_eq!(names(&view).len(), 2, "Esc drops what was typed");
}

#[test]
fn a_pause_shows_the_newest_report_afterwards() {
    let (mut view, start) = (view(true), Instant::now());
    view.take(report(start, 0, &[("a", 1.0)]));
    press(&mut view, " ");
    view.take(report(start, 1, &[("b", 1.0)]));
    view.take(report(start, 2, &[("c", 1.0)]));
    assert!(view.is_paused());
    assert_eq!(names(&view), ["a"]);
    press(&mut view, " ");
    assert_eq!(names(&view), ["c"]);
    press(&mut view, "pp");
    assert_eq!(names(&view), ["c"], "nothing came meanwhile");
}

#[test]
fn counts_have_rates_and_trends() {
    let (mut view, start) = (view(true), Instant::now());
    view.take(report(start, 0, &[("a", 7.0)]));
    assert_eq!(view.cell(0, Origin::Rate), "", "it is not known yet how long that took");
    view.take(report(start, 2, &[("b", 1.0)]));
    view.take(report(start, 4, &[("a", 14.0), ("b", 50_000.0)]));
    assert_eq!(view.origins()[2..], [Origin::Rate, Origin::Trend]);
    assert_eq!(view.header(Origin::Rate), "READS/S");
    let of = |name: &str| names(&view).iter().position(|shown| shown == name).unwrap();
    assert_eq!(
        (view.cell(of("a"), Origin::Rate), view.cell(of("b"), Origin::Rate)),
        ("7".into(), "25k".into())
    );
    assert_eq!(
        view.cell(of("a"), Origin::Trend),
        format!("{}▅ █", " ".repeat(TREND - 3))
    );
    press(&mut view, "g");
    assert_eq!(view.origins().len(), 2);
}

#[test]
fn what_is_no_count_has_a_trend_only_as_long_as_it_is_there() {
    let (mut view, start) = (view(false), Instant::now());
    view.take(report(start, 0, &[("a", 4.0), ("b", 4.0)]));
    view.take(report(start, 1, &[("b", 8.0)]));
    assert_eq!(view.trends.len(), 1);
    assert_eq!(view.origins()[2..], [Origin::Trend]);
    for second in 2..100 {
        view.take(report(start, second, &[("b", 8.0)]));
    }
    assert_eq!(view.cell(0, Origin::Trend), "█".repeat(TREND));
    // What has been nothing for so long is forgotten.
    let mut counts = self::view(true);
    counts.take(report(start, 0, &[("a", 1.0)]));
    for second in 1..=TREND as u64 {
        counts.take(report(start, second, &[]));
    }
    assert!(counts.trends.is_empty());
}

#[test]
fn the_cursor_stays_on_its_row_and_in_sight() {
    let (mut view, start) = (view(true), Instant::now());
    let rows: Vec<(String, f64)> = (0..50)
        .map(|at| (format!("row {at:02}"), f64::from(100 - at)))
        .collect();
    let rows: Vec<(&str, f64)> = rows.iter().map(|(name, reads)| (name.as_str(), *reads)).collect();
    view.take(report(start, 0, &rows));
    press(&mut view, "↓↓↓");
    assert_eq!(view.cell(view.cursor(), Origin::Column(0)), "row 03");
    let turned: Vec<(&str, f64)> = rows.iter().map(|(name, reads)| (*name, 200.0 - reads)).collect();
    view.take(report(start, 1, &turned));
    assert_eq!(view.cell(view.cursor(), Origin::Column(0)), "row 03");
    assert_eq!(view.window(10), 37..47);
    view.key(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    assert_eq!(view.window(10), 40..50);
    view.take(report(start, 2, &rows[..2]));
    assert_eq!((view.cursor(), view.window(10)), (0, 0..2));
    view.take(report(start, 3, &[]));
    assert_eq!((view.cursor(), view.window(10)), (0, 0..0));
    assert_eq!(view.cell(0, Origin::Column(0)), "");
}

#[test]
fn ends_are_asked_for_in_several_ways() {
    let mut view = view(true);
    assert_eq!(press(&mut view, "q"), Action::End);
    assert_eq!(press(&mut view, "/q"), Action::None, "that is typed");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.key(control_c), Action::End);
    press(&mut view, "\n?");
    assert!(view.shows_help());
    assert_eq!(press(&mut view, "q"), Action::None, "any key leaves the help");
    assert!(!view.shows_help());
}

#[test]
fn numbers_are_short() {
    for (number, text) in [
        (0.0, "0"),
        (0.25, "0.2"),
        (3.0, "3"),
        (1234.5, "1234"),
        (9999.4, "9999"),
        (12_345.0, "12k"),
        (1_500_000.0, "1500k"),
        (1e30, "1000000000000000000T"),
    ] {
        assert_eq!(short(number), text);
    }
}
