use std::sync::mpsc;

use super::*;
use crate::containers::{Collection, HostNamespaces, Lookup, LookupCache};

const HOST: HostNamespaces = HostNamespaces { mnt: 1, net: 2 };

fn container(id: &str, netns: u64) -> Known {
    Known::Container(Box::new(RecordedContainer {
        container_id: id.to_owned(),
        container_name: format!("name-{id}"),
        k8s_owner: Some(("Deployment".to_owned(), "web".to_owned())),
        netns,
        ..RecordedContainer::default()
    }))
}

fn life(life: u64, mntns: u64, created_at: u64, is: Known) -> Life {
    Life {
        life,
        mntns,
        created_at,
        current: true,
        retired: false,
        is,
    }
}

fn lives(lives: Vec<Life>) -> Change {
    Change {
        lives,
        ..Change::default()
    }
}

fn answer(collection: &Collection, mntns: u64, at: u64) -> String {
    match collection.lookup(mntns, at) {
        Lookup::Container(container) => container.id().to_owned(),
        Lookup::NotContainer => "none".to_owned(),
        Lookup::Undecided(_) => "undecided".to_owned(),
        Lookup::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn a_replayed_collection_answers_as_the_recorded_one_did() {
    let collection = Collection::replayed(HOST);
    let mut cache = LookupCache::default();
    assert_eq!(answer(&collection, 1, 0), "none", "the host's own");
    assert_eq!(answer(&collection, 10, 5), "unknown");

    collection.replay(lives(vec![
        life(1, 10, 100, Known::Undecided),
        life(2, 11, 0, Known::Foreign),
    ]));
    assert_eq!(answer(&collection, 10, 100), "undecided");
    assert_eq!(answer(&collection, 10, 99), "unknown", "from before it was created");
    assert_eq!(answer(&collection, 11, 0), "none");
    let Lookup::Undecided(waiting) = cache.lookup(&collection, 10, 100).clone() else {
        panic!("it is not decided")
    };

    let decisions = collection.decisions();
    collection.replay(Change {
        running: Some(vec![1]),
        ..lives(vec![life(1, 10, 100, container("a", 7))])
    });
    assert_ne!(collection.decisions(), decisions, "those who wait look again");
    assert_eq!(waiting.container().unwrap().id(), "a");
    assert!(matches!(cache.lookup(&collection, 10, 100), Lookup::Container(_)));
    let running = collection.containers_by_netns(7);
    assert_eq!(running[0].k8s.owner.as_ref().unwrap().name, "web");
    assert_eq!(running[0].mntns, 10);

    // It ends, and its number goes to the next one.
    let ended = Life {
        current: false,
        retired: true,
        ..life(1, 10, 100, container("a", 7))
    };
    collection.replay(Change {
        running: Some(vec![3]),
        ..lives(vec![ended, life(3, 10, 200, container("b", 8))])
    });
    assert_eq!(answer(&collection, 10, 150), "a");
    assert_eq!(answer(&collection, 10, 250), "b");
    assert_eq!(
        collection.containers_by_netns(7)[0].id(),
        "a",
        "late events by network namespace"
    );
    collection.replay(Change {
        gone: vec![1],
        ..Change::default()
    });
    assert_eq!(answer(&collection, 10, 150), "unknown");
    assert!(collection.containers_by_netns(7).is_empty());
}

#[test]
fn a_journal_says_everything_first_and_then_what_changes() {
    let source = Collection::replayed(HOST);
    source.replay(Change {
        running: Some(vec![1]),
        ..lives(vec![
            life(1, 10, 100, container("a", 7)),
            life(2, 11, 0, Known::Foreign),
        ])
    });
    let (sender, changes) = mpsc::channel();
    source.journal(move |change| sender.send(change).unwrap());
    let copy = Collection::replayed(source.host());
    let follow = || {
        let new: Vec<Change> = changes.try_iter().collect();
        new.iter().for_each(|change| copy.replay(change.clone()));
        new
    };
    assert_eq!(follow().iter().map(|change| change.lives.len()).sum::<usize>(), 2);
    for (mntns, at) in [(10, 100), (10, 5), (11, 0), (1, 0), (12, 0)] {
        assert_eq!(answer(&copy, mntns, at), answer(&source, mntns, at), "{mntns} {at}");
    }
    assert_eq!(copy.containers(), source.containers());

    source.replay(Change::default());
    assert_eq!(follow(), [], "nothing is different");

    let many = (0..1000).map(|n| life(100 + n, 1000 + n, 1, Known::Foreign)).collect();
    source.replay(lives(many));
    let written = follow();
    assert!(written.len() >= 3, "in several parts");
    assert_eq!(answer(&copy, 1999, 1), "none");

    source.replay(Change {
        gone: vec![1],
        running: Some(vec![]),
        ..Change::default()
    });
    let written = follow();
    assert_eq!(
        (written.len(), written[0].lives.len(), written[0].gone.len()),
        (1, 0, 1)
    );
    assert_eq!(written[0].running, Some(vec![]));
    assert_eq!(answer(&copy, 10, 100), "unknown");
    assert!(copy.containers().is_empty());

    source.end_journal();
    source.replay(Change {
        gone: vec![2],
        ..Change::default()
    });
    assert_eq!(follow(), []);
}

#[test]
fn news_are_what_is_known_last() {
    let mut news = News::default();
    news.add(lives(vec![
        life(1, 10, 0, Known::Undecided),
        life(2, 11, 0, Known::Undecided),
    ]));
    news.add(Change {
        running: Some(vec![2]),
        ..lives(vec![life(1, 10, 0, Known::Foreign)])
    });
    let taken = news.take();
    let expected = [
        lives(vec![life(2, 11, 0, Known::Undecided), life(1, 10, 0, Known::Foreign)]),
        Change {
            running: Some(vec![2]),
            ..Change::default()
        },
    ];
    assert_eq!(taken, expected);
    assert_eq!(news.take(), []);

    news.add(lives(vec![life(3, 12, 0, Known::Undecided)]));
    news.add(Change {
        gone: vec![1, 3],
        ..Change::default()
    });
    let gone = Change {
        gone: vec![1],
        ..Change::default()
    };
    assert_eq!(news.take(), [gone], "nobody was told of the third");
}

#[test]
fn many_news_are_several_changes() {
    let mut news = News::default();
    for number in 0..600 {
        news.add(lives(vec![life(number, number, 0, Known::Foreign)]));
    }
    let sizes: Vec<usize> = news.take().iter().map(|change| change.lives.len()).collect();
    assert_eq!(sizes, [256, 256, 88]);
}
