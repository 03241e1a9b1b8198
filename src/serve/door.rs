//! The door: who is let in, until the server is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::serve::answer::Answer;
use crate::serve::connection;
use crate::serve::reading::RETRY_AFTER;
use crate::serve::server::Server;

/// How long to wait when the system has no more file descriptors.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Accepts until told to stop.
pub(crate) async fn accept(
    server: Arc<Server>,
    listener: tokio::net::TcpListener,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, client)) = accepted else {
            // The client left already, or there are no more descriptors: then others must end first.
            tokio::time::sleep(OUT_OF_FILES).await;
            continue;
        };
        let Some(seat) = server.crowd().enter(client.ip()) else {
            server.metrics().refused.add(1);
            refuse_at_the_door(&server, &stream);
            continue;
        };
        let (server, stop, alive) = (server.clone(), stop.clone(), alive.clone());
        tokio::spawn(async move {
            connection::serve(server, stream, client.ip(), stop).await;
            drop((seat, alive));
        });
    }
}

/// Says in a word why nobody answers, if the word can be understood and the socket takes it at once.
fn refuse_at_the_door(server: &Server, stream: &tokio::net::TcpStream) {
    if server.settings().identity.is_none() {
        let answer = Answer::empty(503).header("Retry-After", RETRY_AFTER);
        drop(stream.try_write(&answer.head(false)));
    }
}
