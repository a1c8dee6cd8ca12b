//! User and group names beside user and group ids.
//!
//! Names come from the host's `passwd` and `group` files, read once per process and read again when they change. Whether
//! they changed is looked at once a second while events come, and at once (but not more than twenty times a second) for an
//! id without a name: a user who was just created is known with the first event. No thread, no watch to lose.
//!
//! A removed id keeps its name for some seconds, for events that are still on their way.
//!
//! A recording keeps the names ([`NameTables`]), and a replay uses these ([`RecordedNames`]) instead of the files.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::time::{ClockId, clock_gettime};

use super::formatters::target_name;
use super::{Context, Explanation, Instance, explain, priority};
use crate::data::{Accessor, Derivation, Derive, Element, FieldId, NewField, Scalar};
use crate::output::number;
use crate::{Error, Result};

const MILLISECOND: i64 = 1_000_000;
/// How long after a look at the files a known name is used without another.
const FRESH: i64 = 1000 * MILLISECOND;
/// The same for an id without a name.
const FRESH_UNKNOWN: i64 = 50 * MILLISECOND;
/// How long a removed id keeps its name, counted from when the removal was noticed.
const KEPT: i64 = 2500 * MILLISECOND;

/// Names by id, sorted by id.
#[derive(Clone, Debug, Default)]
struct Names {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    id: u32,
    name: Box<str>,
    /// When a removed name is forgotten, in nanoseconds of the monotonic clock.
    until: Option<i64>,
}

impl Names {
    /// Reads the form that `passwd` and `group` have in common: name, anything, id. Of an id that is there twice, the later name
    /// counts.
    fn parse(text: &[u8], file: &Path) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for line in String::from_utf8_lossy(text).lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut parts = line.split(':');
            let (Some(name), Some(_), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            match id.parse() {
                Ok(id) => entries.push(Entry {
                    id,
                    name: name.into(),
                    until: None,
                }),
                Err(error) => tracing::warn!("UidGidResolver: {}: {id:?} is no id: {error}", file.display()),
            }
        }
        entries.reverse();
        entries.sort_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
        Self { entries }
    }

    fn get(&self, id: u32) -> Option<&str> {
        let place = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.entries.get(place).map(|entry| &*entry.name)
    }

    fn from_pairs(pairs: Vec<(u32, String)>) -> Self {
        let mut entries: Vec<Entry> = pairs
            .into_iter()
            .map(|(id, name)| Entry {
                id,
                name: name.into(),
                until: None,
            })
            .collect();
        entries.sort_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
        Self { entries }
    }

    fn pairs(&self) -> Vec<(u32, String)> {
        let pairs = self.entries.iter();
        pairs.map(|entry| (entry.id, entry.name.to_string())).collect()
    }

    /// Keeps names that `before` had for a while.
    fn keep_removed(&mut self, before: &Names, now: i64) {
        for old in &before.entries {
            if self.get(old.id).is_none() {
                let until = old.until.unwrap_or(now + KEPT);
                if until > now {
                    self.entries.push(Entry {
                        until: Some(until),
                        ..old.clone()
                    });
                }
            }
        }
        self.entries.sort_by_key(|entry| entry.id);
    }

    fn expires(&self, now: i64) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.until.is_some_and(|until| until <= now))
    }
}

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), data.size()))
}

/// One of the two files with what was read from it.
#[derive(Debug)]
struct File {
    path: PathBuf,
    stamp: Stamp,
    checked: i64,
    names: Arc<Names>,
}

impl File {
    fn new(path: PathBuf, now: i64) -> Self {
        let mut file = Self {
            path,
            stamp: None,
            checked: i64::MIN,
            names: Arc::default(),
        };
        file.refresh(now, 0);
        file
    }

    /// Reads the file again if it changed, unless it was looked at less than `age` nanoseconds ago.
    fn refresh(&mut self, now: i64, age: i64) -> &Arc<Names> {
        if now.saturating_sub(self.checked) < age {
            return &self.names;
        }
        self.checked = now;
        let stamp = stamp(&self.path);
        if stamp != self.stamp {
            self.stamp = stamp;
            // A file that is gone has no names, like an empty one.
            let text = std::fs::read(&self.path).unwrap_or_default();
            let mut names = Names::parse(&text, &self.path);
            names.keep_removed(&self.names, now);
            self.names = Arc::new(names);
        } else if self.names.expires(now) {
            let mut names = (*self.names).clone();
            names
                .entries
                .retain(|entry| entry.until.is_none_or(|until| until > now));
            self.names = Arc::new(names);
        }
        &self.names
    }
}

/// Monotonic time in nanoseconds; some milliseconds coarse, which makes it cheap.
fn now() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .map(|time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
        .unwrap_or(0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    User,
    Group,
}

impl What {
    fn type_tag(self) -> &'static str {
        match self {
            What::User => "type:gadget_uid",
            What::Group => "type:gadget_gid",
        }
    }

    fn default_name(self) -> &'static str {
        match self {
            What::User => "user",
            What::Group => "group",
        }
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            What::User => b"uid:",
            What::Group => b"gid:",
        }
    }

    /// Whether the machine that events come from has such names at all.
    fn is_known(self, context: &Context) -> bool {
        match &context.host.names {
            Some(names) => names.table(self).is_some(),
            None => self.path(&host_root()).exists(),
        }
    }

    fn path(self, host_root: &Path) -> PathBuf {
        host_root.join(match self {
            What::User => "etc/passwd",
            What::Group => "etc/group",
        })
    }

    /// The file that everybody in this process shares.
    fn shared(self) -> Arc<Mutex<File>> {
        static USERS: OnceLock<Arc<Mutex<File>>> = OnceLock::new();
        static GROUPS: OnceLock<Arc<Mutex<File>>> = OnceLock::new();
        let cell = match self {
            What::User => &USERS,
            What::Group => &GROUPS,
        };
        Arc::clone(cell.get_or_init(|| Arc::new(Mutex::new(File::new(self.path(&host_root()), now())))))
    }
}

fn host_root() -> PathBuf {
    std::env::var_os("HOST_ROOT")
        .filter(|root| !root.is_empty())
        .map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// The names of this machine's users and groups at one moment.
#[derive(Clone, Debug, Default)]
pub struct NameTables {
    users: Option<Arc<Names>>,
    groups: Option<Arc<Names>>,
}

impl NameTables {
    /// The names now; at most a second old.
    pub fn read() -> Self {
        let read = |what: What| {
            let shared = what.shared();
            let mut file = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let names = Arc::clone(file.refresh(now(), FRESH));
            file.stamp.is_some().then_some(names)
        };
        Self {
            users: read(What::User),
            groups: read(What::Group),
        }
    }

    /// Tables of these ids and names; none where the machine has no such names at all.
    pub fn new(users: Option<Vec<(u32, String)>>, groups: Option<Vec<(u32, String)>>) -> Self {
        let table = |pairs: Option<Vec<_>>| pairs.map(|pairs| Arc::new(Names::from_pairs(pairs)));
        Self {
            users: table(users),
            groups: table(groups),
        }
    }

    /// Whether both are the very same reading of the files.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Names>>, b: &Option<Arc<Names>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same(&self.users, &other.users) && same(&self.groups, &other.groups)
    }

    /// Ids and names of users; none if there is no such file.
    pub fn users(&self) -> Option<Vec<(u32, String)>> {
        self.users.as_ref().map(|names| names.pairs())
    }

    /// Ids and names of groups; none if there is no such file.
    pub fn groups(&self) -> Option<Vec<(u32, String)>> {
        self.groups.as_ref().map(|names| names.pairs())
    }
}

/// The names of another machine's users and groups, as they are at the point of a replay. Clones are the same names.
#[derive(Clone, Debug, Default)]
pub struct RecordedNames {
    shared: Arc<SharedNames>,
}

#[derive(Debug, Default)]
struct SharedNames {
    tables: Mutex<NameTables>,
    /// Counts how often the tables were replaced.
    version: Arc<AtomicU64>,
}

impl RecordedNames {
    /// These names to begin with.
    pub fn new(tables: NameTables) -> Self {
        let names = Self::default();
        names.replace(tables);
        names
    }

    /// Uses these names from now on.
    pub fn replace(&self, tables: NameTables) {
        *self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner) = tables;
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    fn table(&self, what: What) -> Option<Arc<Names>> {
        let tables = self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            What::User => tables.users.clone(),
            What::Group => tables.groups.clone(),
        }
    }
}

/// Where a resolver has its names from.
#[derive(Debug)]
enum NameSource {
    /// A file of this machine.
    File(Arc<Mutex<File>>),
    /// A recording.
    Recorded(RecordedNames),
}

/// Finds the names of ids.
#[derive(Debug)]
struct Resolver {
    what: What,
    source: NameSource,
    names: Arc<Names>,
    now: i64,
    refreshed: i64,
    /// An id without a name was met.
    met_unknown: bool,
    /// Grows when there are other names than before.
    version: Arc<AtomicU64>,
    /// The version of `names`.
    reading: u64,
}

/// What stands for one id. Most events have the ids of those before.
#[derive(Debug, Default)]
struct Kept {
    id: u32,
    name: Vec<u8>,
    /// The reading it is of; `None` before there is anything.
    reading: Option<u64>,
}

impl Resolver {
    fn new(what: What, file: Arc<Mutex<File>>) -> Self {
        let names = Arc::clone(&file.lock().unwrap_or_else(PoisonError::into_inner).names);
        Self {
            what,
            source: NameSource::File(file),
            names,
            now: i64::MIN,
            refreshed: i64::MIN,
            met_unknown: false,
            version: Arc::default(),
            reading: 0,
        }
    }

    /// The resolver for the machine that events come from.
    fn of(what: What, context: &Context) -> Self {
        let Some(recorded) = &context.host.names else {
            return Self::new(what, what.shared());
        };
        let version = Arc::clone(&recorded.shared.version);
        Self {
            what,
            source: NameSource::Recorded(recorded.clone()),
            names: recorded.table(what).unwrap_or_default(),
            now: i64::MIN,
            refreshed: i64::MIN,
            met_unknown: false,
            reading: version.load(Ordering::Acquire),
            version,
        }
    }

    /// It is `now`, in nanoseconds of the monotonic clock.
    fn advance(&mut self, now: i64) {
        self.now = now;
        self.refresh(if self.met_unknown { FRESH_UNKNOWN } else { FRESH });
    }

    /// Has the file looked at if that was not done for `age` nanoseconds.
    fn refresh(&mut self, age: i64) {
        let NameSource::File(file) = &self.source else {
            return;
        };
        if self.now.saturating_sub(self.refreshed) < age {
            return;
        }
        self.refreshed = self.now;
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let names = file.refresh(self.now, age);
        if !Arc::ptr_eq(names, &self.names) {
            self.names = Arc::clone(names);
            self.met_unknown = false;
            self.reading = self.version.fetch_add(1, Ordering::Release) + 1;
        }
    }

    /// What stands for an id: its name, or that it has none. `kept` is what did so the last time.
    fn name<'k>(&mut self, id: u32, kept: &'k mut Kept) -> &'k [u8] {
        if let NameSource::Recorded(recorded) = &self.source {
            let version = self.version.load(Ordering::Acquire);
            if version != self.reading {
                self.reading = version;
                self.names = recorded.table(self.what).unwrap_or_default();
            }
        }
        if kept.id != id || kept.reading != Some(self.reading) {
            self.look_up(id, kept);
        }
        &kept.name
    }

    fn look_up(&mut self, id: u32, kept: &mut Kept) {
        if self.names.get(id).is_none() {
            self.refresh(FRESH_UNKNOWN);
        }
        kept.name.clear();
        match self.names.get(id) {
            Some(name) => kept.name.extend_from_slice(name.as_bytes()),
            None => {
                self.met_unknown = true;
                kept.name.extend_from_slice(self.what.prefix());
                number::append_u64(u64::from(id), &mut kept.name);
            }
        }
        (kept.id, kept.reading) = (id, Some(self.reading));
    }
}

/// The names' part in one gadget.
#[derive(Debug)]
pub struct UidGidResolver {
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    stream: usize,
    what: What,
    input: FieldId,
    output: FieldId,
    id: Accessor,
    name: Accessor,
}

impl UidGidResolver {
    /// Adds name fields to the referenced data sources. `None` if no field is an id, or if the host has no user database.
    ///
    /// # Errors
    ///
    /// Two ids whose names would have the same field.
    pub fn instantiate(context: &mut Context) -> Result<Option<Self>> {
        let mut steps = Vec::new();
        for what in [What::User, What::Group] {
            let has_ids = context
                .referenced()
                .any(|(_, stream)| stream.source.with_tag(what.type_tag()).next().is_some());
            if has_ids && !what.is_known(context) {
                tracing::info!(
                    "UidGidResolver: operator not available: {} does not exist",
                    what.path(&host_root()).display()
                );
                return Ok(None);
            }
        }
        for (index, stream) in context.referenced() {
            let source = &mut stream.source;
            for what in [What::User, What::Group] {
                let inputs: Vec<FieldId> = source.with_tag(what.type_tag()).map(|(id, _)| id).collect();
                for input in inputs {
                    let field = source.get(input);
                    let name = target_name(field.annotation("uidgidresolver.target"), field.name())
                        .unwrap_or_else(|| what.default_name().to_owned());
                    let order = field.order();
                    let output = source
                        .add_sibling(input, NewField::new(name, Scalar::String).order(order))
                        .map_err(|error| error.context("adding the field for a user or group name"))?;
                    source.set_hidden(input, true, false);
                    source.set_hidden(output, true, false);
                    steps.push(Step {
                        stream: index,
                        what,
                        input,
                        output,
                        id: source.accessor(input),
                        name: source.accessor(output),
                    });
                }
            }
        }
        Ok((!steps.is_empty()).then_some(Self { steps }))
    }
}

impl Instance for UidGidResolver {
    fn name(&self) -> &'static str {
        "UidGidResolver"
    }

    fn priority(&self) -> i32 {
        priority::instance::UID_GID
    }

    fn demand(&self, context: &mut Context) {
        for step in &self.steps {
            if let Some(stream) = context.streams.get_mut(step.stream)
                && stream.demand.wants(step.output)
            {
                stream.demand.add(step.input);
            }
        }
    }

    fn explain(&self, context: &Context, to: &mut Explanation) {
        let names = self.steps.iter().map(|step| (step.stream, step.output));
        to.operators.push(explain::of_fields(self.name(), context, names));
    }

    fn prepare(&mut self, context: &mut Context) -> Result<()> {
        for index in 0..context.streams.len() {
            for (what, priority) in [
                (What::User, priority::subscription::USERS),
                (What::Group, priority::subscription::GROUPS),
            ] {
                let demand = &context.streams[index].demand;
                let steps = self
                    .steps
                    .iter()
                    .filter(|step| step.stream == index && step.what == what && demand.wants(step.output));
                let jobs: Vec<Job> = steps
                    .map(|step| Job {
                        id: step.id,
                        name: step.name,
                        kept: Kept::default(),
                    })
                    .collect();
                if jobs.is_empty() {
                    continue;
                }
                let inputs: Vec<Accessor> = jobs.iter().map(|job| job.id).collect();
                let outputs: Vec<Accessor> = jobs.iter().map(|job| job.name).collect();
                let len = |id: &Accessor| id.kind().fixed_size().unwrap_or_default();
                let resolver = Resolver::of(what, context);
                let version = Arc::clone(&resolver.version);
                let paused = Arc::new(AtomicBool::new(true));
                let text = NameText {
                    wrong_len: inputs.iter().map(len).find(|len| *len != size_of::<u32>()),
                    jobs,
                    resolver,
                    paused: Arc::clone(&paused),
                };
                let pipeline = &mut context.streams[index].pipeline;
                pipeline.on_flush(move || {
                    paused.store(true, Ordering::Relaxed);
                    Ok(())
                });
                pipeline.derive(priority, Derivation::new(inputs, outputs, text).versioned(version));
            }
        }
        Ok(())
    }
}

/// Writes names beside ids.
struct NameText {
    jobs: Vec<Job>,
    resolver: Resolver,
    /// The bytes of a field that no id has.
    wrong_len: Option<usize>,
    /// Nothing came for a while. Between two pauses no time passes that would matter, and asking for it costs more than a name.
    paused: Arc<AtomicBool>,
}

/// A field with ids, and the one for their names.
struct Job {
    id: Accessor,
    name: Accessor,
    kept: Kept,
}

impl Derive for NameText {
    #[inline]
    fn meet(&mut self, _: &mut Element) -> Result<()> {
        if self.paused.load(Ordering::Relaxed) {
            self.paused.store(false, Ordering::Relaxed);
            self.resolver.advance(now());
        }
        match self.wrong_len {
            None => Ok(()),
            Some(len) => Err(Error::invalid(format!("invalid field length, expected 4, got {len}"))),
        }
    }

    fn derive(&mut self, element: &mut Element) {
        for job in &mut self.jobs {
            let name = self.resolver.name(job.id.bits(element) as u32, &mut job.kept);
            job.name.write(element, |out| out.extend_from_slice(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSource, SourceType, Stream};
    use crate::output::json::Encoder;

    fn text(resolver: &mut Resolver, id: u32, now: i64) -> String {
        kept_text(resolver, id, now, &mut Kept::default())
    }

    fn kept_text(resolver: &mut Resolver, id: u32, now: i64, kept: &mut Kept) -> String {
        resolver.advance(now);
        String::from_utf8(resolver.name(id, kept).to_vec()).unwrap()
    }

    fn names(text: &str) -> Vec<(u32, String)> {
        let names = Names::parse(text.as_bytes(), Path::new("passwd"));
        names
            .entries
            .iter()
            .map(|entry| (entry.id, entry.name.to_string()))
            .collect()
    }

    #[test]
    fn lines_of_the_files() {
        let file = "# comment\n\n  b:x:2:rest\na:x:1\nbad:x:minus\nshort:x\nc:x:2:later wins\nmax:x:4294967295\n";
        let expected = [(1, "a"), (2, "c"), (u32::MAX, "max")];
        assert_eq!(names(file), expected.map(|(id, name)| (id, name.to_owned())));
    }

    #[test]
    fn t10_names_and_unknown_ids() {
        let mut users = Resolver::new(What::User, What::User.shared());
        assert_eq!(text(&mut users, 0, now()), "root");
        assert_eq!(text(&mut users, u32::MAX, now()), "uid:4294967295");
        let mut groups = Resolver::new(What::Group, What::Group.shared());
        assert_eq!(text(&mut groups, 4_000_000_000, now()), "gid:4000000000");
    }

    #[test]
    fn changes_are_seen_and_removed_names_stay_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        std::fs::write(&path, "old:x:1\n").unwrap();
        let file = Arc::new(Mutex::new(File::new(path.clone(), 0)));
        let mut users = Resolver::new(What::User, file);
        let (mut one, mut two) = (Kept::default(), Kept::default());
        assert_eq!(kept_text(&mut users, 1, 0, &mut one), "old");
        assert_eq!(kept_text(&mut users, 2, 0, &mut two), "uid:2");

        std::fs::write(&path, "longer:x:1\nnew:x:2\n").unwrap();
        let before = FRESH_UNKNOWN - MILLISECOND;
        assert_eq!(
            kept_text(&mut users, 2, before, &mut two),
            "uid:2",
            "not looked at again yet"
        );
        assert_eq!(
            kept_text(&mut users, 1, before, &mut one),
            "old",
            "not looked at again yet"
        );
        let later = FRESH / 2;
        assert_eq!(
            kept_text(&mut users, 2, later, &mut two),
            "new",
            "an unknown id looks at once"
        );
        assert_eq!(kept_text(&mut users, 1, later, &mut one), "longer");
        assert_eq!(
            kept_text(&mut users, 2, later, &mut one),
            "new",
            "another id than before"
        );

        std::fs::remove_file(&path).unwrap();
        let removed = 2 * FRESH;
        for kept in [&mut Kept::default(), &mut one] {
            assert_eq!(kept_text(&mut users, 1, removed, kept), "longer");
        }
        assert_eq!(
            kept_text(&mut users, 1, removed + 2000 * MILLISECOND, &mut one),
            "longer"
        );
        assert_eq!(
            kept_text(&mut users, 1, removed + 4000 * MILLISECOND, &mut one),
            "uid:1"
        );
    }

    #[test]
    fn recorded_names_take_the_place_of_the_files() {
        let pairs = |pairs: &[(u32, &str)]| Some(pairs.iter().map(|(id, name)| (*id, (*name).to_owned())).collect());
        let names = RecordedNames::new(NameTables::new(pairs(&[(7, "b"), (0, "chief")]), None));
        let mut context = Context::default();
        context.host.names = Some(names.clone());
        assert!(What::User.is_known(&context) && !What::Group.is_known(&context));
        let mut users = Resolver::of(What::User, &context);
        let (mut zero, mut eight) = (Kept::default(), Kept::default());
        for _ in 0..2 {
            assert_eq!(kept_text(&mut users, 0, 0, &mut zero), "chief");
            assert_eq!(kept_text(&mut users, 8, 0, &mut eight), "uid:8");
        }
        names.replace(NameTables::new(pairs(&[(8, "new")]), None));
        assert_eq!(kept_text(&mut users, 8, 0, &mut eight), "new");
        assert_eq!(kept_text(&mut users, 0, 0, &mut zero), "uid:0");
    }

    #[test]
    fn kept_lines_have_the_names_of_now() {
        let table = |name: &str| NameTables::new(Some(vec![(7, name.to_owned())]), None);
        let names = RecordedNames::new(table("old"));
        let mut source = DataSource::new("s", SourceType::Single, None);
        let id = NewField::new("uid_raw", Scalar::Uint32).tag(What::User.type_tag());
        let id = source.add_field(id).unwrap();
        source.add_field(NewField::new("a", Scalar::Uint32)).unwrap();
        let mut context = Context {
            streams: vec![Stream::new(source)],
            ..Context::default()
        };
        context.host.names = Some(names.clone());
        let mut resolver = UidGidResolver::instantiate(&mut context).unwrap().unwrap();
        let mut encoder = Encoder::compact(&context.streams[0].source);
        let fields = encoder.fields().to_vec();
        fields
            .into_iter()
            .for_each(|field| context.streams[0].demand.add(field));
        resolver.demand(&mut context);
        resolver.prepare(&mut context).unwrap();
        let stream = &mut context.streams[0];
        let id = stream.source.accessor(id);
        let line = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&line);
        stream
            .pipeline
            .subscribe_lazily(priority::subscription::SINK, move |element| {
                let mut line = written.lock().unwrap();
                line.clear();
                encoder.encode(element, &mut line);
                Ok(())
            });
        let mut show = |name: &str| {
            let mut element = Element::new(stream.source.layout());
            id.set_bits(&mut element, 7);
            stream.pipeline.emit(&mut element).unwrap();
            let line = String::from_utf8(line.lock().unwrap().clone()).unwrap();
            assert_eq!(line, format!(r#"{{"a":0,"uid":"{name}","uid_raw":7}}"#));
        };
        (0..200).for_each(|_| show("old"));
        names.replace(table("new"));
        (0..200).for_each(|_| show("new"));
    }

    #[test]
    fn tables_hold_what_the_files_say() {
        let tables = NameTables::read();
        assert!(tables.users().unwrap().contains(&(0, "root".to_owned())));
        assert!(tables.is_same(&NameTables::read()));
        let again = NameTables::new(tables.users(), tables.groups());
        assert!(!tables.is_same(&again));
        assert_eq!(again.groups(), tables.groups());
    }
}
