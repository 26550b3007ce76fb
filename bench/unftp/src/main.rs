//! `plainftpd-bench-unftp ADDRESS FOLDER LOG NAME PASSWORD`: libunftp with one account, whose
//! password it holds in plain text, and a log line a transfer. Its builder's other defaults are
//! kept.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use libunftp::ServerBuilder;

use libunftp::notification::{DataEvent, DataListener, EventMeta};
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, Principal};
use unftp_sbe_fs::Filesystem;

/// Longer than any row lasts.
const IDLE_SECONDS: u64 = 86_400;

#[derive(Debug)]
struct Account {
    name: String,
    password: String,
}

#[async_trait]
impl Authenticator for Account {
    async fn authenticate(&self, name: &str, given: &Credentials) -> Result<Principal, AuthenticationError> {
        if name != self.name {
            return Err(AuthenticationError::BadUser);
        }
        if given.password.as_ref() != Some(&self.password) {
            return Err(AuthenticationError::BadPassword);
        }
        Ok(Principal { username: name.to_string() })
    }
}

#[derive(Debug)]
struct TransferLog(File);

#[async_trait]
impl DataListener for TransferLog {
    async fn receive_data_event(&self, event: DataEvent, meta: EventMeta) {
        let line = format!("{} {} {event:?}\n", meta.username, meta.trace_id);
        // One write a line, so that lines of several sessions do not mix.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, folder, log, name, password] = &arguments[..] else {
        return Err("usage: plainftpd-bench-unftp ADDRESS FOLDER LOG NAME PASSWORD".into());
    };
    let folder = PathBuf::from(folder);
    Filesystem::new(&folder)?;
    // The builder wants a storage a session, and cannot be told of one that fails.
    let storage = move || Filesystem::new(&folder).expect("the folder was there at the start");
    let server = ServerBuilder::new(Box::new(storage))
        .authenticator(Arc::new(Account { name: name.clone(), password: password.clone() }))
        .idle_session_timeout(IDLE_SECONDS)
        .notify_data(TransferLog(File::options().append(true).create(true).open(log)?))
        .build()?;
    server.listen(address.clone()).await?;
    Ok(())
}
