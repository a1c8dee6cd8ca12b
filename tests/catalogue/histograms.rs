//! profile_blockio and profile_tcprtt.

use std::io::{Read, Write};

use super::common::{Ig, eventually};
use super::json_schema::validate;

/// The counts of the last histogram that was printed, by the text of the interval.
fn counts(lines: &[String]) -> Vec<(String, u64)> {
    let Some(last) = lines.iter().rposition(|line| line == "latency") else {
        return Vec::new();
    };
    lines[last..]
        .iter()
        .filter_map(|line| {
            let (interval, rest) = line.split_once(" : ")?;
            let count = rest.split_whitespace().next()?.parse().ok()?;
            Some((interval.split_whitespace().collect::<Vec<_>>().join(" "), count))
        })
        .collect()
}

fn total(lines: &[String]) -> u64 {
    counts(lines).iter().map(|(_, count)| count).sum()
}

#[test]
fn times_of_a_disk() {
    let Some(ig) = Ig::new() else { return };
    let live = ig.start("run profile_blockio --pull never");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    eventually("requests of the disk", || {
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        (total(&live.lines()) > 0).then_some(())
    });
    let lines = live.lines();
    let found = counts(&lines);
    assert_eq!(found.len(), 27, "{found:?}");
    assert_eq!(
        (found[0].0.as_str(), found[26].0.as_str()),
        ("0 -> 1", "33554432 -> 67108864")
    );
    assert!(
        lines
            .iter()
            .any(|line| line == "        µs               : count    distribution"),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("|****************************************|")),
        "{lines:?}"
    );
    live.stop().ok();
    ig.line("run profile_blockio --pull never -o yaml")
        .fails_with(&["output mode \"yaml\"", "histogram", "json"]);
}

#[test]
fn as_json_with_bounds_and_units() {
    let Some(ig) = Ig::new() else { return };
    let live = ig.start("run profile_blockio --pull never -o json");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    let last = eventually("requests of the disk", || {
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        let lines = live.lines();
        let last: serde_json::Value = serde_json::from_str(lines.last()?).unwrap();
        (last[0]["count"].as_u64()? > 0).then_some(last)
    });
    live.stop().ok();
    let histogram = &last[0];
    assert_eq!(
        (&histogram["name"], &histogram["unit"]),
        (&"latency".into(), &"µs".into())
    );
    let buckets = histogram["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 27);
    assert_eq!((&buckets[0]["start"], &buckets[0]["end"]), (&0.into(), &1.into()));
    assert_eq!((&buckets[3]["start"], &buckets[3]["end"]), (&8.into(), &15.into()));
    let sum: u64 = buckets.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    assert_eq!(histogram["count"], sum);
    let schema = ig.line("schema profile_blockio").ok().stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    validate(&schema, &last).unwrap();
}

#[test]
fn round_trips_through_the_loopback() {
    let Some(ig) = Ig::new() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_be();
    let live = ig.start(&format!("run profile_tcprtt --pull never --dport {port}"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", u16::from_be(port))).unwrap();
    let mut byte = [1];
    eventually("packets", || {
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
        (total(&live.lines()) > 3).then_some(())
    });
    drop(stream);
    server.join().unwrap();
    // Nothing on this machine takes longer than a minute.
    let lines = live.stop().ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(total(&lines) > 3 && counts(&lines).len() == 27);
}
