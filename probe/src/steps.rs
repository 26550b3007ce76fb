//! The table of steps: what the probe tries, in order.
//!
//! Each step has a session of its own, logged in, in TYPE I and in the folder of the probe, so a
//! step that fails does not disturb the next one.

mod confinement;
mod files;
mod listings;
mod protocol;
mod transfers;
mod words;

use crate::failure::Result;
use crate::session::Session;

/// A step.
pub struct Step {
    /// What the step checks.
    pub name: &'static str,
    /// The step.
    pub run: fn(&mut Session<'_>) -> Result,
}

const fn step(name: &'static str, run: fn(&mut Session<'_>) -> Result) -> Step {
    Step { name, run }
}

/// Steps that a person could type. They need plainftpd's hand words.
pub const BY_HAND: &[Step] = &[
    step("the greeting says what to type", words::greeting),
    step("help lists the words and fits a screen; help cp explains one", words::help),
    step("register creates an account, unregister removes it", words::register_and_unregister),
    step("words before login are 530", words::before_login),
    step("logout and login in one connection", words::logout_and_login),
    step("passwd changes the password", words::passwd),
    step("whoami names the account", words::whoami),
    step("free says how many bytes are used", words::free),
    step("mkdir, cd, pwd, cd ..", files::folders),
    step("mkdir -p makes a path, rmdir keeps a folder with content", files::deep_folder),
    step("write FILE TEXT, then get", files::write_and_get),
    step("write FILE, lines and a dot; a dot at the start of a line", files::write_lines),
    step("put FILE SIZE keeps every byte", files::put_all_bytes),
    step("put and get of 2 MiB", files::put_large),
    step("append FILE adds text at the end", files::append),
    step("touch makes an empty file", files::touch),
    step("ls lists sizes and names in order, ls PATTERN matches", files::ls),
    step("info says kind and size", files::info),
    step("hash is the SHA-256 of the content", files::hash),
    step("cp copies; it replaces a file only with -f", files::cp),
    step("cp copies a folder", files::cp_folder),
    step("mv renames and moves", files::mv),
    step("rm removes a file; a missing one is 550", files::rm),
    step("rm -r removes a tree", files::rm_tree),
    step("names with spaces: quotes and backslashes", files::quoted_names),
    step("Cyrillic names", files::cyrillic),
    step("an unknown word is 500, with a hint", words::unknown_word),
    step("too few words and an open quote are 501, with the usage", words::usage),
    step("the wrong order: ls after logout, RNTO without RNFR", words::wrong_order),
    step("a line of 20,000 bytes is 500 and does not run", words::long_line),
    step("a line with a CR inside is 501 and does not run", words::cr_inside),
    step("lines that are sent at once are answered in order", words::pipelined),
    step("lines before the end of input are answered", words::half_closed),
    step("content that is refused does not run as commands", words::refused_content),
    step("an HTTP request ends the connection", words::http),
];

/// Steps by FTP, for any server.
pub const BY_FTP: &[Step] = &[
    step("USER and PASS, in small letters too", protocol::login),
    step("commands before login are refused", protocol::before_login),
    step("SYST, NOOP, STAT", protocol::small_talk),
    step("an unknown verb is 5xx, and the session goes on", protocol::unknown_verb),
    step("FEAT has the form of RFC 2389", protocol::feat),
    step("OPTS UTF8 ON", protocol::utf8),
    step("PWD, CWD, CDUP", listings::folders),
    step("PASV names this server; upload and download keep every byte", transfers::pasv),
    step("EPSV: upload and download", transfers::epsv),
    step("PORT: upload and download", transfers::port),
    step("EPRT: upload and download", transfers::eprt),
    step("an empty file", transfers::empty),
    step("STOR replaces a longer file", transfers::replace),
    step("upload and download of 8 MiB", transfers::large),
    step("REST and RETR resume a download", transfers::resume_download),
    step("REST and STOR resume an upload", transfers::resume_upload),
    step("APPE adds at the end and makes a file", transfers::append),
    step("TYPE A converts line endings on download", transfers::ascii_download),
    step("TYPE A converts line endings on upload", transfers::ascii_upload),
    step("SIZE; a missing file is 550", transfers::size),
    step("MDTM is in UTC and about now", transfers::mdtm),
    step("MFMT sets the time", transfers::mfmt),
    step("HASH is the SHA-256 of the content", transfers::hash),
    step("RNFR and RNTO; RNTO alone is 503", listings::rename),
    step("DELE; a missing file is 550", listings::delete),
    step("MKD answers the path; RMD keeps a folder with content", listings::make_folder),
    step("LIST shows name and size", listings::list),
    step("NLST lists names alone", listings::nlst),
    step("MLSD lists type and size", listings::mlsd),
    step("MLST of a file; a missing one is 550", listings::mlst),
    step("names with spaces", listings::spaces),
    step("Cyrillic names", listings::cyrillic),
    step("names with quotes, and with a dash at the start", listings::odd_names),
    step("a tree of folders: made, listed, removed", listings::tree),
    step("commands that are sent at once are answered in order", protocol::pipelined),
    step("ABOR during a download", protocol::abort_download),
    step("ABOR ends an upload that stands still", protocol::abort_upload),
    step("ABOR does so as urgent data, as BSD clients send it", protocol::abort_urgently),
    step("ABOR without a transfer is 225 or 226", protocol::abort_nothing),
    step("a download that the client breaks off", protocol::broken_download),
    step("a transfer without PASV or PORT is 425 or 503", protocol::no_data_connection),
    step("QUIT is 221, and the connection ends", protocol::quit),
];

/// Steps that try to leave the account's folder, or to make the server misunderstand a line.
pub const CONFINEMENT: &[Step] = &[
    step("CWD .. above the top stays there", confinement::above_the_top),
    step("/etc/passwd of the host by an absolute path", confinement::absolute),
    step("/etc/passwd of the host by ../..", confinement::dots),
    step("/etc/passwd of the host in encoded forms", confinement::encoded),
    step("a listing of ../.. shows nothing of the host", confinement::listing),
    step("an upload to ../../tmp is refused", confinement::upload),
    step("a rename to ../../tmp is refused", confinement::rename),
    step("a very long name and a very deep path are refused", confinement::long_path),
    step("a line of 20,000 bytes is refused once; its end does not run", confinement::long_line),
    step("a NUL byte does not cut a name", confinement::nul),
    step("a CR in a name does not begin a command", confinement::cr),
    step("PORT to another host is refused", confinement::bounce),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_counts_the_steps() {
        /// The folder and the account are removed, and a wrong password is refused.
        const AT_THE_END: usize = 3;
        let document = include_str!("../../docs/probe.md");
        let parts = [BY_HAND.len(), BY_FTP.len(), CONFINEMENT.len()];
        let names = ["By hand", "By FTP", "Out of the account's folder"];
        for (name, steps) in names.iter().zip(parts) {
            assert!(document.contains(&format!("**{name}**, {steps} steps")), "{name}: {steps}");
        }
        let all = parts.iter().sum::<usize>() + AT_THE_END;
        assert!(document.contains(&format!("There are {all} steps")), "{all}");
    }
}
