//! An engine's API with prepared answers, for what no engine of the distribution does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

const VERSION: &[u8] = br#"{"Version":"28.2.2","Components":[{"Name":"Engine"}]}"#;

/// Where it is reached, as long as the test runs.
pub(crate) struct ScriptedEngine {
    address: SocketAddr,
}

impl ScriptedEngine {
    /// Answers these paths; whatever else is asked for is not there.
    pub(crate) fn start(answers: Vec<(String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine is free");
        let address = listener.local_addr().expect("it listens");
        thread::spawn(move || {
            // A client may go away at any time.
            listener.incoming().flatten().for_each(|connection| drop(answer(&connection, &answers)));
        });
        Self { address }
    }

    /// As `DOCKER_HOST` wants it.
    pub(crate) fn host(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

fn answer(mut connection: &TcpStream, answers: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let known = answers.iter().find(|(known, _)| known == path).map(|(_, body)| &body[..]);
    let body = if path == "/version" { Some(VERSION) } else { known };
    let (status, body) = body.map_or((404, &b"{}"[..]), |body| (200, body));
    write!(connection, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    connection.write_all(body)
}
