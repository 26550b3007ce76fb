//! `who`, `kick` and `stop`: the owner's words to the running server.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::control_file::ControlFile;
use crate::vfs::Workdir;

/// The longest wait for a reply. The longest work, `kick`, takes two seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time between two looks whether the server has ended, because std cannot wait for a lock with
/// a limit.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection to the owner's listener of the server.
pub struct Remote {
    server: BufReader<TcpStream>,
    control: ControlFile,
}

impl Remote {
    /// Connects to the server with these settings, and logs in. Tries again for a few seconds if
    /// strangers occupy the owner's listener. An error is one line.
    pub fn connect(config: &Config) -> Result<Remote, String> {
        let since = Instant::now();
        loop {
            match Remote::log_in(config) {
                Ok(Err(_)) if since.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Ok(tried) => return tried.map_err(|why| explain(config, &io::Error::other(why))),
                Err(error) => return Err(explain(config, &error)),
            }
        }
    }

    /// The inner error is a refusal of the server.
    fn log_in(config: &Config) -> io::Result<Result<Remote, String>> {
        let control = ControlFile::read(&ControlFile::path(&config.dir, config))?;
        let stream = TcpStream::connect(control.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let line = format!("token {}", control.token);
        let mut remote = Remote { server: BufReader::new(stream), control };
        let logged_in = remote.send(&line)?;
        Ok(logged_in.map(|_| remote))
    }

    /// Sends a line. Returns the lines of the reply between the first and the last one. An error is
    /// the text of a reply that refuses.
    pub fn ask(&mut self, line: &str) -> Result<String, String> {
        self.send(line).unwrap_or_else(|error| Err(format!("the server does not answer: {error}")))
    }

    /// Like [`Remote::ask`]. The outer error is that of the connection.
    fn send(&mut self, line: &str) -> io::Result<Result<String, String>> {
        self.server.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        let mut inner = String::new();
        loop {
            let mut bytes = Vec::new();
            if self.server.read_until(b'\n', &mut bytes)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end();
            match (text.strip_prefix(' '), text.split_at_checked(4)) {
                (Some(line), _) => inner.push_str(&format!("{line}\n")),
                (_, Some((code, _))) if code.starts_with('2') && code.ends_with('-') => {}
                (_, Some((code, _))) if code.starts_with('2') => return Ok(Ok(inner)),
                (_, refusal) => return Ok(Err(refusal.map_or(text, |(_, why)| why).to_string())),
            }
        }
    }

    /// Stops the server, whose transfers may go on for `seconds`. Returns when it has ended.
    pub fn stop(mut self, config: &Config, seconds: u64) -> Result<(), String> {
        let wait = Duration::from_secs(seconds).saturating_add(PATIENCE);
        let path = ControlFile::path(&config.dir, config);
        self.ask(&format!("stop {seconds}"))?;
        // The server says 421 and closes the connection, which may be reset as well.
        let _ = self.server.get_mut().set_read_timeout(Some(wait));
        let _ = self.server.read_to_end(&mut Vec::new());
        let Remote { server, control } = self;
        drop(server); // the server waits a moment for that
        let since = Instant::now();
        let workdir = config.dir.join("workdir");
        let has_ended = || {
            Workdir::check(&workdir, config.node.as_deref()).is_ok()
                || ControlFile::read(&path).is_ok_and(|now| now != control)
        };
        while !has_ended() {
            if since.elapsed() >= wait {
                return Err("the server has not ended yet".to_string());
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// Why there is no connection to the server of this folder, in one line.
fn explain(config: &Config, error: &io::Error) -> String {
    let file = ControlFile::path(&config.dir, config);
    match error.kind() {
        ErrorKind::NotFound => format!("no server runs here: there is no {}", file.display()),
        ErrorKind::ConnectionRefused => "no server runs here; the last one was killed".to_string(),
        _ => format!("{}: {error}", file.display()),
    }
}
