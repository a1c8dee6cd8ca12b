//! Calls, put together from their records.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::errno;
use crate::records::{At, Content, Key, Record, ARGS};

/// One call of one thread, as much of it as has been recorded and not overwritten.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub pid: u32,
    pub cpu: u16,
    pub id: u16,
    pub comm: String,
    /// If its beginning is there.
    pub args: Option<[u64; ARGS]>,
    /// What arguments point to, by their index.
    pub contents: BTreeMap<u8, Content>,
    /// If its end is there.
    pub ret: Option<i64>,
    pub boot_ts: u64,
}

/// Puts the records of one container together. What began first comes first.
pub fn join(records: Vec<Record>) -> Vec<Call> {
    let mut calls: HashMap<Key, Call> = HashMap::new();
    let mut contents: Vec<(Key, u8, Content)> = Vec::new();
    for record in records {
        match record {
            Record::Enter { key, at, args } => {
                let call = calls.entry(key).or_default();
                call.args = Some(args);
                // The beginning knows better than the end.
                call.take(key, at);
            }
            Record::Exit { key, at, ret } => match calls.entry(key) {
                Entry::Occupied(mut call) => call.get_mut().ret = Some(ret),
                Entry::Vacant(entry) => {
                    let call = entry.insert(Call::default());
                    call.ret = Some(ret);
                    call.take(key, at);
                }
            },
            Record::Continuation { key, index, content } => contents.push((key, index, content)),
        }
    }
    for (key, index, content) in contents {
        if let Some(call) = calls.get_mut(&key) {
            call.contents.insert(index, content);
        }
    }
    let mut calls: Vec<Call> = calls.into_values().collect();
    calls.sort_by_key(|call| (call.boot_ts, call.pid));
    calls
}

impl Call {
    fn take(&mut self, key: Key, at: At) {
        self.pid = key.pid;
        self.cpu = at.cpu;
        self.id = at.id;
        self.comm = at.comm;
        self.boot_ts = at.boot_ts;
    }

    /// What the call `name` returned, as it is shown.
    pub fn result(&self, name: &str) -> String {
        match self.ret {
            _ if ["exit", "exit_group", "rt_sigreturn"].contains(&name) => "X".to_string(),
            None => "unfinished".to_string(),
            Some(ret @ -4095..=-1) => {
                let number = ret.unsigned_abs() as u32;
                match errno::text(number) {
                    Some(text) => format!("-1 ({text})"),
                    None => format!("-1 (errno {number})"),
                }
            }
            Some(ret) => ret.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(monotonic_ts: u64) -> Key {
        Key { monotonic_ts, pid: 7 }
    }

    fn at(boot_ts: u64) -> At {
        At {
            boot_ts,
            cpu: 2,
            id: 1,
            comm: "sh".to_string(),
        }
    }

    #[test]
    fn records_find_each_other_in_whatever_order() {
        let content = || Content::Bytes {
            bytes: b"x".to_vec(),
            is_whole: true,
        };
        let args = [1, 0x1000, 1, 0, 0, 0];
        let records = vec![
            Record::Exit { key: key(30), at: at(35), ret: -2 },
            Record::Continuation { key: key(10), index: 1, content: content() },
            Record::Exit { key: key(10), at: at(12), ret: 1 },
            // Of which the beginning is overwritten.
            Record::Continuation { key: key(5), index: 1, content: content() },
            Record::Enter { key: key(10), at: at(10), args },
            Record::Enter { key: key(20), at: at(20), args },
        ];
        let calls = join(records);
        let ends: Vec<_> = calls.iter().map(|call| (call.boot_ts, call.ret, call.args.is_some())).collect();
        assert_eq!(ends, [(10, Some(1), true), (20, None, true), (35, Some(-2), false)]);
        assert_eq!(calls[0].contents.get(&1), Some(&content()));
        let results: Vec<_> = calls.iter().map(|call| call.result("write")).collect();
        assert_eq!(results, ["1", "unfinished", "-1 (no such file or directory)"]);
        assert_eq!(calls[1].result("exit_group"), "X");
        assert_eq!((calls[0].pid, calls[0].cpu, calls[0].comm.as_str()), (7, 2, "sh"));
    }

    #[test]
    fn results() {
        let result = |ret: i64| Call { ret: Some(ret), ..Call::default() }.result("read");
        assert_eq!(result(-4095), "-1 (errno 4095)");
        assert_eq!(result(-4096), "-4096");
        assert_eq!(result(0x7fff_0000_1000), "140733193392128");
    }
}
