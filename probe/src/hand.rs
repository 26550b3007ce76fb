//! Content over the control connection: `put`, `get` and their relatives of plainftpd.

use crate::failure::{Result, differs};
use crate::session::Session;

/// A word in quotes, as a shell would need it.
pub fn quote(name: &str) -> String {
    format!("'{}'", name.replace('\'', "'\\''"))
}

impl Session<'_> {
    /// Stores content by `put FILE SIZE`.
    pub fn put(&mut self, name: &str, content: &[u8]) -> Result {
        self.control.send(format!("put {} {}", quote(name), content.len()))?;
        self.control.expect("150", "put")?;
        for piece in content.chunks(64 * 1024) {
            self.control.send_content(piece)?;
            self.advance(piece.len());
        }
        self.control.expect("226", "the content of put")?;
        Ok(())
    }

    /// Stores lines by `write FILE` or `append FILE`, up to a line with only a dot.
    pub fn type_lines(&mut self, command: &str, lines: &[&str]) -> Result {
        self.ask(command, "150")?;
        self.control.send([lines, &["."]].concat().join("\r\n"))?;
        self.control.expect("226", "the text")?;
        Ok(())
    }

    /// Fetches content by `get FILE`.
    pub fn get(&mut self, name: &str) -> Result<Vec<u8>> {
        let reply = self.ask(format!("get {}", quote(name)), "150")?;
        let length = reply.text().split(' ').next().and_then(|length| length.parse().ok());
        let Some(length) = length else {
            return differs("150 SIZE bytes follow.", reply.to_string());
        };
        let content = self.control.read_exact(length)?;
        if self.control.read_exact(2)? != b"\r\n" {
            return differs("an empty line after the content", "something else");
        }
        self.control.expect("226", "the content of get")?;
        Ok(content)
    }
}
