//! A connection to a server or a cluster. Every wait has a limit, and after any failure of the
//! transport the connection is dropped: commands that are still under way may or may not be
//! applied, which the numbers of batches make harmless.

use std::future::Future;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError,
    RedisResult, ScriptInvocation,
};

/// The way to the server.
pub(super) enum RedisServer {
    Single(Client),
    Cluster(ClusterClient),
}

/// An open connection.
enum Open {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection that is opened when it is needed.
pub(super) struct Connection {
    server: RedisServer,
    open: Option<Open>,
    /// The limit of one command, and of opening a connection.
    timeout: Duration,
}

/// Sends something, and once more if the connection was closed while nobody used it.
macro_rules! send {
    ($self:ident, $weight:ident, $connection:ident => $call:expr) => {{
        let timeout = $self.timeout * $weight;
        loop {
            let was_open = $self.open.is_some();
            let result = match $self.open().await? {
                Open::Single($connection) => limited(timeout, $call).await,
                Open::Cluster($connection) => limited(timeout, $call).await,
            };
            let result = $self.checked(result);
            if !(was_open && result.as_ref().is_err_and(is_dropped)) {
                return result;
            }
        }
    }};
}

impl Connection {
    pub(super) fn new(server: RedisServer, timeout: Duration) -> Self {
        Self {
            server,
            open: None,
            timeout,
        }
    }

    /// Runs a script. `weight` is the number of times that it may take the timeout.
    pub(super) async fn script<T: FromRedisValue>(
        &mut self,
        script: &ScriptInvocation<'_>,
        weight: u32,
    ) -> RedisResult<T> {
        send!(self, weight, c => script.invoke_async(c))
    }

    pub(super) async fn command<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
        weight: u32,
    ) -> RedisResult<T> {
        send!(self, weight, c => command.query_async(c))
    }

    /// Runs commands in one round trip. All their keys are in one slot.
    pub(super) async fn pipeline<T: FromRedisValue>(
        &mut self,
        pipeline: &Pipeline,
        weight: u32,
    ) -> RedisResult<T> {
        send!(self, weight, c => pipeline.query_async(c))
    }

    async fn open(&mut self) -> RedisResult<&mut Open> {
        let open = match (self.open.take(), &self.server) {
            (Some(open), _) => open,
            (None, RedisServer::Single(client)) => {
                // The limits are ours: a command may take a multiple of the timeout.
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(None);
                let opening = client.get_multiplexed_async_connection_with_config(&config);
                Open::Single(limited(self.timeout, opening).await?)
            }
            (None, RedisServer::Cluster(client)) => {
                let opening = client.get_async_connection();
                Open::Cluster(limited(self.timeout * 2, opening).await?)
            }
        };
        Ok(self.open.insert(open))
    }

    /// Drops the connection, whose server does not answer as it should.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }

    /// Drops the connection after a failure that is not an answer of the server.
    fn checked<T>(&mut self, result: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &result {
            let answered = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
            // A server that has become a replica stays one on this connection; after a failover,
            // the same address may lead to another server.
            if !answered || matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN")) {
                self.forget();
            }
        }
        result
    }
}

/// Returns whether the server, or something on the way, has closed the connection. A connection
/// that was open for a while may have been closed because it was idle, so a new one is worth a try
/// at once: nothing is applied twice.
fn is_dropped(error: &RedisError) -> bool {
    error.is_connection_dropped() && !error.is_timeout()
}

async fn limited<T>(
    timeout: Duration,
    future: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let result = tokio::time::timeout(timeout, future).await;
    result.unwrap_or_else(|_| Err(late(format!("no answer within {timeout:?}"))))
}

/// Returns the error of a wait that has reached its limit.
pub(super) fn late(why: String) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, why).into()
}
