use super::*;
use crate::ErrorKind;
use crate::containers::{K8sInfo, RuntimeInfo};

fn parse(args: &[&str]) -> Result<Arguments> {
    let command = flags::normalize(command());
    let matches = command.try_get_matches_from(std::iter::once(&"list-containers").chain(args));
    Arguments::parse(&matches.expect("the flags are known"))
}

fn message(args: &[&str]) -> String {
    match parse(args) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{args:?} is accepted"),
    }
}

#[test]
fn bad_arguments_are_named() {
    for (args, expected) in [
        (
            &["-o", "columns"][..],
            "invalid argument 'columns': expects a comma separated list of columns to use",
        ),
        (&["-o", "columns="], "invalid argument 'columns': column can't be empty"),
        (
            &["-o", "columns=mntns,,netns"],
            "invalid argument 'columns': column can't be empty",
        ),
        (
            &["-o", "columns=containerName"],
            "creating parser: invalid columns: containername",
        ),
        (
            &["-o", "columns=nosuch,mntns,X"],
            "creating parser: invalid columns: nosuch, x",
        ),
        (&["-o", "columns=event"], "creating parser: invalid columns: event"),
        (&["-o", "yaml"], "\"yaml\" output mode is not supported"),
        (
            &["-r", "foo"],
            "invalid argument '--runtime / -r': runtime \"foo\" is not supported",
        ),
        (
            &["--runtime-protocol", "x"],
            "invalid argument '--runtime-protocol': runtime protocol \"x\" is not supported",
        ),
    ] {
        assert_eq!(message(args), expected);
    }
    let error = parse(&["--runtime-protocol", "cri"])
        .err()
        .expect("cri is not there yet");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn arguments_select() {
    let arguments = parse(&[
        "-c",
        "a,!b",
        "--runtime-containerimage-id",
        "x",
        "-r",
        "docker",
        "extra",
    ])
    .unwrap();
    assert_eq!(arguments.selector.runtime_container_name, "a,!b");
    assert_eq!(arguments.selector.image_id, "x");
    assert!(arguments.collection.explicit_runtimes && !arguments.collection.explicit_docker_socket);
    assert!(!arguments.collection.hook, "a plain list needs no eBPF");
    let arguments = parse(&[
        "--runtime-containername",
        "a",
        "-w",
        "--timeout",
        "3",
        "-o",
        "columns=event",
    ])
    .unwrap();
    assert_eq!(arguments.selector.runtime_container_name, "a");
    assert_eq!(arguments.timeout, Duration::from_secs(3));
    assert!(arguments.watch && arguments.collection.hook);
}

fn container() -> Container {
    Container {
        runtime: RuntimeInfo {
            runtime_name: "docker".into(),
            container_id: "abc".into(),
            container_name: "ref1".into(),
            container_pid: 14126,
            image_name: "sha256:0123456789abcdef".into(),
            image_id: "sha256:1".into(),
            image_digest: String::new(),
            started_at: 0,
        },
        k8s: K8sInfo {
            namespace: "a\u{1b}[2Jb".into(),
            ..K8sInfo::default()
        },
        ..Container::default()
    }
}

fn event_lines(output: &str, terminal: bool) -> String {
    let output = Output::parse(output, true).unwrap();
    let container = Arc::new(container());
    let mut lines = EventLines::new(&output, terminal, std::slice::from_ref(&container));
    let mut out = Vec::new();
    lines.begin(&mut out).unwrap();
    let event = ContainerEvent {
        kind: ContainerEventKind::Deleted,
        container,
    };
    lines.write(&mut out, "T", &event).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table_in_a_pipe_is_not_padded() {
    assert_eq!(
        event_lines("", false),
        "TIMESTAMP EVENT RUNTIME.RUNTIMENAME RUNTIME.CONTAINERID RUNTIME.CONTAINERNAME RUNTIME.CONTAINERPID \
         RUNTIME.CONTAINERIMAGENAME RUNTIME.CONTAINERIMAGEID RUNTIME.CONTAINERIMAGEDIGEST RUNTIME.CONTAINERSTARTEDAT\n\
         T DELETED docker abc ref1 14126 0123456789ab sha256:1  \n"
    );
    assert_eq!(
        event_lines("columns=runtime.containername,event,K8S.NAMESPACE", false),
        "RUNTIME.CONTAINERNAME EVENT K8S.NAMESPACE\nref1 DELETED a\\u{1b}[2Jb\n"
    );
}

#[test]
fn a_table_on_a_terminal_is_aligned() {
    assert_eq!(
        event_lines("columns=runtime.containername,event", true),
        "RUNTIME.CONTAINERNAME EVENT\nref1                  DELETED\n"
    );
}

#[test]
fn nothing_to_list() {
    let collection = Collection::start(CollectionOptions {
        runtimes: Vec::new(),
        ..CollectionOptions::default()
    });
    let collection = collection.unwrap();
    collection.wait_initial();
    for (args, expected) in [
        (&["-o", "json", "-c", "nonexisting"][..], "[]\n"),
        (&["-o", "columns=mntns,netns"], "MNTNS NETNS\n"),
    ] {
        let mut out = Vec::new();
        list(&collection, &parse(args).unwrap(), false, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn json_events() {
    let text = event_lines("json", false);
    assert!(
        text.starts_with("{\n  \"timestamp\": \"T\",\n  \"event\": \"DELETED\",\n  \"container\": {\n"),
        "{text}"
    );
    assert_eq!(json(&Vec::<Container>::new()).unwrap(), "[]\n");
    assert_eq!(
        json(&"a<b>&\u{9b}\n").unwrap(),
        "\"a\\u003cb\\u003e\\u0026\\u009b\\n\"\n"
    );
}

#[test]
fn times() {
    assert_eq!(timestamp_ns(0), "");
    let text = timestamp_ns(1_795_256_000_207_115_200);
    assert!(
        text.contains(".207115200") && text.len() >= "2026-11-21T10:13:20.207115200Z".len(),
        "{text}"
    );
    let text = timestamp(jiff::Timestamp::from_second(1_795_256_000).unwrap());
    assert!(
        !text.contains('.') && text.len() >= "2026-11-21T10:13:20Z".len(),
        "{text}"
    );
}
