use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the daemon has.
#[derive(Default)]
struct State {
    containers: Vec<FakeContainer>,
    streams: Vec<UnixStream>,
}

/// A container of the daemon.
#[derive(Clone)]
pub(crate) struct FakeContainer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// How long an inspection takes.
    pub(crate) delay: Duration,
}

impl FakeContainer {
    pub(crate) fn new(digit: char, name: &str, pid: u32) -> Self {
        Self {
            id: digit.to_string().repeat(64),
            name: name.to_owned(),
            pid,
            delay: Duration::ZERO,
        }
    }

    /// One of many: its id and name say which.
    #[allow(dead_code)]
    pub(crate) fn numbered(number: u32, pid: u32) -> Self {
        Self {
            id: format!("{number:064x}"),
            name: format!("c{number}"),
            pid,
            delay: Duration::ZERO,
        }
    }
}

/// A daemon that answers the few requests a collection makes, until it is dropped.
pub(crate) struct FakeDocker {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeDocker {
    pub(crate) fn start(socket: &Path, containers: &[FakeContainer]) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let state = Arc::new(Mutex::new(State {
            containers: containers.to_vec(),
            ..State::default()
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let acceptor = {
            let (state, stop) = (state.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let state = state.clone();
                    std::thread::spawn(move || serve(stream.expect("a connection"), &state));
                }
            })
        };
        Self {
            socket: socket.to_owned(),
            state,
            stop,
            acceptor: Some(acceptor),
        }
    }

    /// Adds a container and sends its events.
    pub(crate) fn run(&self, container: &FakeContainer) {
        self.state.lock().unwrap().containers.push(container.clone());
        for action in ["create", "start"] {
            self.send(action, container);
        }
    }

    fn send(&self, action: &str, container: &FakeContainer) {
        let event = format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{}","Attributes":{{"name":"{}","image":"img"}}}},"scope":"local","time":1,"timeNano":1}}"#,
            container.id, container.name
        );
        let chunk = format!("{:x}\r\n{event}\n\r\n", event.len() + 1);
        for stream in &mut self.state.lock().unwrap().streams {
            let _ = stream.write_all(chunk.as_bytes());
        }
    }
}

impl Drop for FakeDocker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let _ = std::fs::remove_file(&self.socket);
        for stream in &self.state.lock().unwrap().streams {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a connection"))
        .lines()
        .map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    while lines.next().is_some_and(|line| !line.is_empty()) {}
    let target = request.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    // The version is a part of the path: /v1.41/containers/json
    let path = match path.strip_prefix("/v1.") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => path.trim_start_matches('/'),
    };
    if path == "events" {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        return state.lock().unwrap().streams.push(stream);
    }
    let containers = state.lock().unwrap().containers.clone();
    let answer = match path {
        "version" => Some(r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12","Version":"0"}"#.to_owned()),
        "containers/json" => {
            let list: Vec<_> = containers
                .iter()
                .map(|c| {
                    format!(
                        r#"{{"Id":"{}","Names":["/{}"],"Image":"img","ImageID":"sha256:1","State":"running"}}"#,
                        c.id, c.name
                    )
                })
                .collect();
            Some(format!("[{}]", list.join(",")))
        }
        "images/sha256:1/json" => Some(r#"{"Id":"sha256:1","RepoDigests":["img@sha256:feed"]}"#.to_owned()),
        _ => path.strip_prefix("containers/").and_then(|rest| rest.strip_suffix("/json")).and_then(|id| {
            let c = containers.iter().find(|c| c.id == id)?;
            std::thread::sleep(c.delay);
            Some(format!(
                r#"{{"Id":"{}","Name":"/{}","Image":"sha256:1","State":{{"Status":"running","Pid":{}}},"Config":{{"Image":"img"}}}}"#,
                c.id, c.name, c.pid
            ))
        }),
    };
    let (status, body) = match answer {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", r#"{"message":"no such thing"}"#.to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}
