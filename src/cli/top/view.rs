//! What is shown of a data source: columns, rows in order, and what the keys have changed. No terminal, no clock.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Reports that a trend shows.
pub(super) const TREND: usize = 16;

/// Things whose trend is kept, at the most.
const MOST_TRENDS: usize = 20_000;

/// A column.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    /// What stands above it.
    pub(super) header: String,
    /// Whether its cells are aligned at their right edge.
    pub(super) right: bool,
    /// Whether it is sorted by numbers.
    pub(super) is_number: bool,
    /// Whether the numbers say how much or how many.
    pub(super) is_measure: bool,
    /// Whether they are shares of something.
    pub(super) is_share: bool,
}

/// A row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// A text for each column, with nothing in it that a terminal acts on.
    pub(super) cells: Vec<Box<str>>,
    /// A number for each column, NaN where there is none.
    pub(super) numbers: Vec<f64>,
    /// Equal for rows about the same thing.
    pub(super) identity: u64,
}

/// The rows of one moment.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) at: Instant,
    pub(super) rows: Vec<Row>,
}

/// Where the columns of a table are from: fields, or what the view makes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The column of this number.
    Column(usize),
    /// The numbers of the sorted column per second.
    Rate,
    /// Those of the last reports.
    Trend,
}

/// What a key asks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    NextSource,
    End,
}

/// One data source on the screen.
#[derive(Debug)]
pub(super) struct View {
    name: String,
    columns: Vec<Column>,
    /// The numbers are what happened since the report before.
    counts: bool,
    rows: Vec<Row>,
    /// The rows that are shown, by number, in order.
    order: Vec<usize>,
    sorted_by: usize,
    descending: bool,
    filter: String,
    typing: bool,
    /// What came while paused, to be shown afterwards.
    paused: Option<Option<Report>>,
    graph: bool,
    help: bool,
    /// Of the sorted column, the newest last.
    trends: HashMap<u64, VecDeque<f64>>,
    last: Option<Instant>,
    /// Seconds between the last two reports.
    interval: Option<f64>,
    cursor: usize,
    top: usize,
    log: Option<String>,
}

impl View {
    pub(super) fn new(name: &str, columns: Vec<Column>, counts: bool) -> Self {
        // What is measured, shares first: they can be compared.
        let measure = columns.iter().position(|column| column.is_measure && column.is_share);
        let measure = measure.or_else(|| columns.iter().position(|column| column.is_measure));
        Self {
            name: name.to_owned(),
            sorted_by: measure.unwrap_or(0),
            descending: measure.is_some(),
            columns,
            counts,
            rows: Vec::new(),
            order: Vec::new(),
            filter: String::new(),
            typing: false,
            paused: None,
            graph: measure.is_some(),
            help: false,
            trends: HashMap::new(),
            last: None,
            interval: None,
            cursor: 0,
            top: 0,
            log: None,
        }
    }

    /// Shows a new report, unless paused: then later.
    pub(super) fn take(&mut self, report: Report) {
        if let Some(waiting) = &mut self.paused {
            *waiting = Some(report);
            return;
        }
        let before = self.last.replace(report.at);
        self.interval = before.map(|before| report.at.saturating_duration_since(before).as_secs_f64());
        let kept = self
            .order
            .get(self.cursor)
            .and_then(|at| self.rows.get(*at))
            .map(|row| row.identity);
        self.rows = report.rows;
        self.remember();
        self.arrange();
        // The cursor stays on its row only if it was moved there; at the top it shows the first one.
        if self.cursor > 0
            && let Some(identity) = kept
            && let Some(at) = self.order.iter().position(|row| self.rows[*row].identity == identity)
        {
            self.cursor = at;
        }
    }

    /// Shows the last line that was logged. Whether that is another one.
    pub(super) fn take_log(&mut self, line: Option<String>) -> bool {
        let changed = self.log != line;
        self.log = line;
        changed
    }

    fn remember(&mut self) {
        let number = |row: &Row| row.numbers.get(self.sorted_by).copied().unwrap_or(f64::NAN);
        let mut seen: HashMap<u64, f64> = HashMap::with_capacity(self.rows.len());
        for row in &self.rows {
            // Rows about the same thing are one thing.
            *seen.entry(row.identity).or_insert(0.0) += number(row);
        }
        let counts = self.counts;
        self.trends.retain(|identity, trend| {
            match seen.remove(identity) {
                Some(value) => trend.push_back(value),
                // Nothing happened; what is no count does not exist any more.
                None if counts => trend.push_back(0.0),
                None => return false,
            }
            while trend.len() > TREND {
                trend.pop_front();
            }
            trend.iter().any(|value| *value != 0.0)
        });
        for (identity, value) in seen {
            if self.trends.len() >= MOST_TRENDS {
                break;
            }
            self.trends.insert(identity, VecDeque::from([value]));
        }
    }

    fn arrange(&mut self) {
        let needle = self.filter.to_lowercase();
        let fits = |row: &Row| needle.is_empty() || row.cells.iter().any(|cell| cell.to_lowercase().contains(&needle));
        self.order = (0..self.rows.len()).filter(|at| fits(&self.rows[*at])).collect();
        let by = self.sorted_by;
        let is_number = self.columns.get(by).is_some_and(|column| column.is_number);
        let compare = |a: &Row, b: &Row| -> Ordering {
            if is_number {
                let number = |row: &Row| row.numbers.get(by).copied().unwrap_or(f64::NAN);
                number(a).total_cmp(&number(b))
            } else {
                a.cells.get(by).cmp(&b.cells.get(by))
            }
        };
        // Stable, so that equal rows do not dance.
        self.order.sort_by(|a, b| {
            let order = compare(&self.rows[*a], &self.rows[*b]);
            if self.descending { order.reverse() } else { order }
        });
        self.cursor = self.cursor.min(self.order.len().saturating_sub(1));
    }

    fn sort_by(&mut self, column: usize) {
        if column == self.sorted_by || column >= self.columns.len() {
            return;
        }
        self.sorted_by = column;
        self.descending = self.columns.get(column).is_some_and(|column| column.is_measure);
        // Trends are of the sorted column.
        self.trends.clear();
        self.remember();
        self.arrange();
    }

    /// Does what a key asks for.
    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Action::End;
        }
        if self.typing {
            self.type_filter(key.code);
            return Action::None;
        }
        if self.help {
            self.help = false;
            return Action::None;
        }
        match key.code {
            KeyCode::Char('q') => return Action::End,
            KeyCode::Tab => return Action::NextSource,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Char(' ' | 'p') => self.pause(),
            KeyCode::Char('g') => self.graph = !self.graph,
            KeyCode::Char('r') => {
                self.descending = !self.descending;
                self.arrange();
            }
            KeyCode::Char('<') | KeyCode::Left => self.sort_by(self.sorted_by.wrapping_sub(1)),
            KeyCode::Char('>') | KeyCode::Right => self.sort_by(self.sorted_by + 1),
            KeyCode::Up | KeyCode::Char('k') => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.move_to(self.cursor + 1),
            KeyCode::PageUp => self.cursor = self.cursor.saturating_sub(10),
            KeyCode::PageDown => self.move_to(self.cursor + 10),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.move_to(usize::MAX),
            _ => {}
        }
        Action::None
    }

    fn move_to(&mut self, row: usize) {
        self.cursor = row.min(self.order.len().saturating_sub(1));
    }

    fn type_filter(&mut self, code: KeyCode) {
        let mut filter = self.filter.clone();
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                filter.clear();
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(c) if !c.is_control() => filter.push(c),
            _ => {}
        }
        self.set_filter(filter);
    }

    fn set_filter(&mut self, filter: String) {
        if filter != self.filter {
            self.filter = filter;
            self.arrange();
        }
    }

    fn pause(&mut self) {
        match self.paused.take() {
            None => self.paused = Some(None),
            Some(waiting) => {
                if let Some(report) = waiting {
                    self.take(report);
                }
            }
        }
    }

    /// What stands in the first line beside the gadget's name.
    pub(super) fn status(&self, several: bool) -> String {
        let mut status = String::new();
        if several {
            status += &format!("  {}", self.name);
        }
        status += &match self.order.len() == self.rows.len() {
            true => format!("  {} rows", self.rows.len()),
            false => format!("  {} of {} rows", self.order.len(), self.rows.len()),
        };
        if let Some(interval) = self.interval {
            status += &format!("  every {interval:.1} s");
        }
        status
    }

    /// The columns from left to right.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = (0..self.columns.len()).map(Origin::Column).collect();
        if self.graph && self.columns.get(self.sorted_by).is_some_and(|column| column.is_measure) {
            if self.counts {
                origins.push(Origin::Rate);
            }
            origins.push(Origin::Trend);
        }
        origins
    }

    /// What stands above a column.
    pub(super) fn header(&self, origin: Origin) -> String {
        let header = |at: usize| self.columns.get(at).map_or("", |column| column.header.as_str());
        match origin {
            Origin::Column(at) if at == self.sorted_by => {
                format!("{}{}", header(at), if self.descending { "▼" } else { "▲" })
            }
            Origin::Column(at) => header(at).to_owned(),
            Origin::Rate => format!("{}/S", header(self.sorted_by)),
            Origin::Trend => "TREND".to_owned(),
        }
    }

    pub(super) fn is_right(&self, origin: Origin) -> bool {
        match origin {
            Origin::Column(at) => self.columns.get(at).is_some_and(|column| column.right),
            Origin::Rate => true,
            Origin::Trend => false,
        }
    }

    /// The text of a cell. `row` counts the rows that are shown.
    pub(super) fn cell(&self, row: usize, origin: Origin) -> String {
        let Some(row) = self.order.get(row).and_then(|at| self.rows.get(*at)) else {
            return String::new();
        };
        match origin {
            Origin::Column(at) => row.cells.get(at).map_or_else(String::new, |cell| cell.to_string()),
            Origin::Rate => {
                let number = row.numbers.get(self.sorted_by).copied().unwrap_or(f64::NAN);
                match self.interval {
                    Some(interval) if interval > 0.0 && number.is_finite() => short(number / interval),
                    _ => String::new(),
                }
            }
            Origin::Trend => self.trends.get(&row.identity).map(spark).unwrap_or_default(),
        }
    }

    /// The rows that fit into `height` lines, around the cursor.
    pub(super) fn window(&mut self, height: usize) -> std::ops::Range<usize> {
        if self.cursor < self.top {
            self.top = self.cursor;
        } else if self.cursor >= self.top + height {
            self.top = self.cursor + 1 - height.max(1);
        }
        self.top = self.top.min(self.order.len().saturating_sub(height));
        self.top..self.order.len().min(self.top + height)
    }

    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(super) fn is_sorted_by(&self, origin: Origin) -> bool {
        origin == Origin::Column(self.sorted_by)
    }

    /// Whether the help is shown in place of the rows.
    pub(super) fn shows_help(&self) -> bool {
        self.help
    }

    /// What stands in the last line.
    pub(super) fn footer(&self) -> String {
        if self.typing {
            return format!("/{}█  (Enter keeps it, Esc drops it)", self.filter);
        }
        if let Some(line) = &self.log {
            return line.clone();
        }
        let filter = match self.filter.as_str() {
            "" => "/ filter".to_owned(),
            filter => format!("/{filter} (Esc drops it)"),
        };
        format!("q end  ? help  < > sort  r reverse  {filter}  space pause  g trends")
    }
}

/// A number in few characters.
fn short(number: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut number = number;
    let mut unit = 0;
    while number.abs() >= 9999.5 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    match number.abs() {
        small if small < 10.0 && number.fract() != 0.0 => format!("{number:.1}{unit}"),
        _ => format!("{number:.0}{unit}"),
    }
}

/// A bar for each value, the highest for the largest.
fn spark(values: &VecDeque<f64>) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| match value / largest {
        share if share.is_finite() && share > 0.0 => {
            let at = (share * (BARS.len() - 1) as f64).round() as usize;
            BARS.get(at).copied().unwrap_or('█')
        }
        _ => ' ',
    };
    let missing = TREND.saturating_sub(values.len());
    std::iter::repeat_n(' ', missing)
        .chain(values.iter().map(bar))
        .collect()
}

#[cfg(test)]
mod tests;
