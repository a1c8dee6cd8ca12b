//! A tiny HTTP/1.1 server that answers as a test wants, with TLS or without.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// With names in lower case.
    pub(crate) headers: HashMap<String, String>,
}

/// What to answer.
pub(crate) enum Answer {
    /// Status, headers, body.
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes and nothing else.
    Raw(Vec<u8>),
    /// These bytes, then nothing for a long time.
    Stall(Vec<u8>),
}

/// Runs until the test process ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&Request, SocketAddr) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, log, answer) = (tls.clone(), log.clone(), answer.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &log, &*answer, address),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls).unwrap();
                        serve(rustls::StreamOwned::new(connection, stream), &log, &*answer, address);
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// The registry's name in references.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.address.port())
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve<S: Read + Write + Finish>(
    stream: S,
    log: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, SocketAddr) -> Answer,
    address: SocketAddr,
) {
    let mut reader = BufReader::new(stream);
    let Some(request) = read_request(&mut reader) else {
        return;
    };
    log.lock().unwrap().push(request.clone());
    let mut stream = reader.into_inner();
    let bytes = match answer(&request, address) {
        Answer::Raw(bytes) => bytes,
        Answer::Stall(bytes) => {
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        Answer::Http(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n");
            if !headers.iter().any(|(name, _)| *name == "Content-Length") {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let mut bytes = (head + "\r\n").into_bytes();
            if request.method != "HEAD" {
                bytes.extend(body);
            }
            bytes
        }
    };
    let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
    stream.finish();
}

/// Ends a connection so that the peer sees an orderly end.
trait Finish {
    fn finish(&mut self);
}

impl Finish for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(std::net::Shutdown::Write);
    }
}

impl Finish for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        self.sock.finish();
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(Request { method, path, headers })
}
