//! Steps by FTP: transfers, and facts of files.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::files::{all_bytes, noise};
use crate::data::{self, Way};
use crate::failure::{Result, check, differs, same, same_text};
use crate::session::Session;

/// Stores and fetches a file over one kind of data connection.
fn there_and_back(session: &mut Session, way: Way) -> Result {
    let content = [all_bytes(), noise(100_000)].concat();
    session.store_by(way, "STOR there", &content)?;
    same(&content, &session.fetch_by(way, "RETR there")?)
}

pub fn pasv(session: &mut Session) -> Result {
    let address = data::passive_address(&mut session.control)?;
    let expected = session.control.peer()?.ip().to_string();
    same_text(&expected, &address.ip().to_string())?;
    there_and_back(session, Way::Pasv)
}

pub fn epsv(session: &mut Session) -> Result {
    there_and_back(session, Way::Epsv)
}

pub fn port(session: &mut Session) -> Result {
    there_and_back(session, Way::Port)
}

pub fn eprt(session: &mut Session) -> Result {
    there_and_back(session, Way::Eprt)
}

pub fn empty(session: &mut Session) -> Result {
    session.store("STOR empty-file", b"")?;
    same(b"", &session.fetch("RETR empty-file")?)
}

pub fn replace(session: &mut Session) -> Result {
    session.store("STOR replaced", &noise(5000))?;
    session.store("STOR replaced", b"short")?;
    same(b"short", &session.fetch("RETR replaced")?)
}

pub fn large(session: &mut Session) -> Result {
    let content = noise(8 << 20);
    session.show_progress(content.len() as u64);
    session.store("STOR large-file", &content)?;
    session.show_progress(content.len() as u64);
    same(&content, &session.fetch("RETR large-file")?)
}

pub fn resume_download(session: &mut Session) -> Result {
    session.store("STOR resumed", b"0123456789")?;
    let data = session.prepare()?;
    drop(data);
    session.ask("REST 4", "350")?;
    same(b"456789", &session.fetch("RETR resumed")?)?;
    // REST is for one transfer only.
    same(b"0123456789", &session.fetch("RETR resumed")?)
}

pub fn resume_upload(session: &mut Session) -> Result {
    session.store("STOR continued", b"0123")?;
    session.ask("REST 4", "350")?;
    session.store("STOR continued", b"456789")?;
    same(b"0123456789", &session.fetch("RETR continued")?)
}

pub fn append(session: &mut Session) -> Result {
    session.store("APPE appended", b"begin,")?;
    session.store("APPE appended", b"end")?;
    same(b"begin,end", &session.fetch("RETR appended")?)
}

pub fn ascii_download(session: &mut Session) -> Result {
    session.store("STOR unix.txt", b"one\ntwo\n")?;
    session.ask("TYPE A", "200")?;
    same(b"one\r\ntwo\r\n", &session.fetch("RETR unix.txt")?)
}

pub fn ascii_upload(session: &mut Session) -> Result {
    session.ask("TYPE A", "200")?;
    session.store("STOR typed.txt", b"one\r\ntwo\r\n")?;
    session.ask("TYPE I", "200")?;
    same(b"one\ntwo\n", &session.fetch("RETR typed.txt")?)
}

pub fn size(session: &mut Session) -> Result {
    session.store("STOR sized", &noise(1234))?;
    same_text("1234", &session.size("sized")?.to_string())?;
    session.ask("SIZE missing", "550")?;
    Ok(())
}

pub fn mdtm(session: &mut Session) -> Result {
    session.store("STOR timed", b"x")?;
    let reply = session.ask("MDTM timed", "213")?;
    let Some(time) = seconds(reply.text()) else {
        return differs("213 YYYYMMDDHHMMSS", reply.to_string());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    // A time zone is wrong by more than this.
    check((time - now).abs() < 25 * 60, &format!("a time within 25 minutes of {now}"), &reply)?;
    session.ask("MDTM missing", "550")?;
    Ok(())
}

/// Seconds since 1970 of the 14 digits of MDTM; a fraction may follow.
fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    // Days of the civil calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

pub fn mfmt(session: &mut Session) -> Result {
    session.needs("MFMT")?;
    session.store("STOR aged", b"x")?;
    session.ask("MFMT 20200229123456 aged", "213")?;
    let reply = session.ask("MDTM aged", "213")?;
    check(reply.text().starts_with("20200229123456"), "213 20200229123456", &reply)
}

pub fn hash(session: &mut Session) -> Result {
    session.needs("HASH")?;
    let content = noise(5000);
    session.store("STOR hashed-file", &content)?;
    session.ask("OPTS HASH SHA-256", "2xx")?;
    let reply = session.ask("HASH hashed-file", "213")?;
    let expected = hex::encode(Sha256::digest(&content));
    check(reply.text().to_ascii_lowercase().contains(&expected), &expected, &reply)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_of_mdtm() {
        assert_eq!(seconds("19700101000000"), Some(0));
        assert_eq!(seconds("20000229235959"), Some(951_868_799));
        assert_eq!(seconds("20000301000000.5"), Some(951_868_800));
        assert_eq!(seconds("2000"), None);
    }
}
