//! Drawing a [`View`]: a line about it, the header, the rows, and what the keys do.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;

use super::view::{Origin, TREND, View};

/// No column is wider, however much room there is.
const WIDEST: usize = 64;

/// What a column is narrowed to if there is too little room, before columns are left out.
const NARROWEST: usize = 8;

const HELP: &[&str] = &[
    "",
    "  ↑ ↓ k j, PgUp, PgDn    move; Home goes to the first row, where the cursor then stays",
    "  < > ← →                sort by the column on the left or right",
    "  r                      turn the order around",
    "  /                      show only rows in which this text is, in any column",
    "  Esc                    show all rows again",
    "  space, p               pause; the newest report is shown afterwards",
    "  g                      per second and trend of the sorted column, or not",
    "  Tab                    the gadget's next table",
    "  ?, h                   this page; any key leaves it",
    "  q, Ctrl-C              end",
];

/// Draws all of the screen. `several` is whether there are other views.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, title: &str, several: bool) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let plain = Style::new();
    let strong = plain.add_modifier(Modifier::BOLD);
    let reversed = plain.add_modifier(Modifier::REVERSED);
    if area.height < 3 || area.width < 4 {
        return;
    }
    let mut first = format!("ig top {}{}", crate::text::printable(title), view.status(several));
    if view.is_paused() {
        first += "  PAUSED";
    }
    put(buffer, area, 0, 0, area.width, &first, false, strong);
    let last = area.height - 1;
    put(
        buffer,
        area,
        0,
        last,
        area.width,
        &crate::text::printable(&view.footer()),
        false,
        plain,
    );
    if view.shows_help() {
        for (line, y) in HELP.iter().zip(1..last) {
            put(buffer, area, 0, y, area.width, line, false, plain);
        }
        return;
    }

    let rows = view.window(usize::from(last.saturating_sub(2)));
    let origins = view.origins();
    let widths = widths(view, &origins, rows.clone(), usize::from(area.width));
    line(
        buffer,
        area,
        1,
        &origins,
        &widths,
        |origin| (view.header(origin), view.is_right(origin)),
        |origin| {
            if view.is_sorted_by(origin) {
                reversed.add_modifier(Modifier::BOLD)
            } else {
                reversed
            }
        },
    );
    for (y, row) in (2..last).zip(rows) {
        let style = if row == view.cursor() { reversed } else { plain };
        if row == view.cursor() {
            buffer.set_style(
                Rect {
                    y: area.y + y,
                    height: 1,
                    ..area
                },
                style,
            );
        }
        line(
            buffer,
            area,
            y,
            &origins,
            &widths,
            |origin| (view.cell(row, origin), view.is_right(origin)),
            |_| style,
        );
    }
}

/// Draws the cells of one line from left to right, as far as there is room.
fn line(
    buffer: &mut Buffer,
    area: Rect,
    y: u16,
    origins: &[Origin],
    widths: &[u16],
    cell: impl Fn(Origin) -> (String, bool),
    style: impl Fn(Origin) -> Style,
) {
    let mut x = 0;
    for (origin, width) in origins.iter().zip(widths) {
        let width = (*width).min(area.width.saturating_sub(x));
        if width == 0 {
            break;
        }
        let (text, right) = cell(*origin);
        put(buffer, area, x, y, width, &text, right, style(*origin));
        x += width + 1;
    }
}

/// Draws text into `width` places, with a mark where it had to be cut.
#[expect(clippy::too_many_arguments, reason = "a place, a text, and how it is drawn there")]
fn put(buffer: &mut Buffer, area: Rect, x: u16, y: u16, width: u16, text: &str, right: bool, style: Style) {
    let needed = Span::raw(text).width();
    let width = usize::from(width);
    let shift = if right { width.saturating_sub(needed) } else { 0 };
    let (at, room) = (area.x + x + u16::try_from(shift).unwrap_or(0), width - shift);
    let blank = " ".repeat(width);
    buffer.set_stringn(area.x + x, area.y + y, &blank, width, style);
    if needed <= room {
        buffer.set_stringn(at, area.y + y, text, room, style);
    } else if room > 0 {
        let (end, _) = buffer.set_stringn(at, area.y + y, text, room - 1, style);
        buffer.set_stringn(end, area.y + y, "…", 1, style);
    }
}

/// How wide each column is: as its widest cell in sight, the widest ones narrowed until all have room.
fn widths(view: &View, origins: &[Origin], rows: std::ops::Range<usize>, total: usize) -> Vec<u16> {
    let wanted = |origin: &Origin| {
        if *origin == Origin::Trend {
            return TREND;
        }
        let cells = rows
            .clone()
            .map(|row| view.cell(row, *origin))
            .chain([view.header(*origin)]);
        let widest = cells.map(|cell| Span::raw(cell).width()).max().unwrap_or(0);
        widest.min(WIDEST)
    };
    let mut widths: Vec<usize> = origins.iter().map(wanted).collect();
    let room = total.saturating_sub(widths.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROWEST) else {
            break;
        };
        *widest -= 1;
    }
    widths
        .into_iter()
        .map(|width| u16::try_from(width).unwrap_or(u16::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::{Column, Report, Row};
    use super::*;

    fn view() -> View {
        let column = |header: &str, is_measure: bool| Column {
            header: header.to_owned(),
            right: is_measure,
            is_number: is_measure,
            is_measure,
            is_share: false,
        };
        let mut view = View::new("file", vec![column("FILE", false), column("READS", true)], true);
        let row = |name: &str, reads: f64| Row {
            cells: vec![name.into(), format!("{reads}").into()],
            numbers: vec![f64::NAN, reads],
            identity: reads as u64,
        };
        let name = "/a/very/long/name/that/does/not/fit/into/the/column";
        view.take(Report {
            at: Instant::now(),
            rows: vec![row("/short", 5.0), row(name, 1234.0), row("/wide/漢字", 7.0)],
        });
        view
    }

    fn screen(view: &mut View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, "top_file", false)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_table_between_what_it_is_and_what_keys_do() {
        let mut view = view();
        let lines = screen(&mut view, 60, 7);
        assert_eq!(lines[0], "ig top top_file  3 rows");
        assert_eq!(lines[1], "FILE                         READS▼ READS/S TREND");
        let long = format!("/a/very/long/name/that/does…   1234{}█", " ".repeat(24));
        assert_eq!(lines[2], long);
        // A wide character fills two places.
        let wide: Vec<&str> = lines[3].split_whitespace().collect();
        assert_eq!(wide, ["/wide/漢", "字", "7", "█"]);
        assert_eq!(lines[4].split_whitespace().next(), Some("/short"));
        assert_eq!((lines[5].as_str(), &lines[6][..5]), ("", "q end"));
    }

    #[test]
    fn what_has_no_room_is_left_out_and_nothing_fails() {
        let mut view = view();
        for (width, height) in [(0, 0), (3, 3), (4, 3), (10, 4), (20, 5), (300, 2), (300, 100)] {
            let lines = screen(&mut view, width, height);
            assert!(
                lines
                    .iter()
                    .all(|line| Span::raw(line.as_str()).width() <= usize::from(width) + 4)
            );
        }
        assert_eq!(screen(&mut view, 20, 5)[1], "FILE     READS▼ REA…");
    }
}
