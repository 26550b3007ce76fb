//! Steps that try to leave the account's folder, or to make the server misunderstand a line.

use std::thread;
use std::time::Duration;

use crate::account::random_name;
use crate::data::{Way, active_command};
use crate::failure::{Result, differs, printable};
use crate::session::Session;

/// Steps up from any folder.
const UP: &str = "../../../../../../../../../../..";

/// Fails if a path leads to the host's /etc/passwd.
fn not_the_hosts(session: &mut Session, path: &[u8]) -> Result {
    let way = if session.target.address.is_ipv4() { Way::Pasv } else { Way::Epsv };
    let transfer = session.try_fetch(way, &[b"RETR ", path].concat())?;
    let begin = transfer.content.get(..transfer.content.len().min(40)).unwrap_or_default();
    if String::from_utf8_lossy(&transfer.content).contains("root:") {
        let got = format!("\"{}…\"", printable(begin));
        return differs(format!("a refusal of {}", printable(path)), got);
    }
    session.ask("NOOP", "2xx")?;
    Ok(())
}

/// Fails if names are those of the root directory of a Unix host.
fn not_a_root(names: &[String]) -> Result {
    let has = |name: &str| names.iter().any(|is| is.trim_start_matches('/') == name);
    if has("etc") && has("usr") {
        return differs("the account's own folder", names.join(" "));
    }
    Ok(())
}

pub fn above_the_top(session: &mut Session) -> Result {
    session.ask("CWD /", "250|550")?;
    for _ in 0..5 {
        session.ask("CWD ..", "250|550")?;
    }
    session.ask("CDUP", "2xx|550")?;
    session.ask(format!("CWD {UP}"), "250|550")?;
    session.ask("PWD", "257")?;
    not_a_root(&session.lines("NLST")?)
}

pub fn absolute(session: &mut Session) -> Result {
    for path in ["/etc/passwd", "//etc/passwd", "/./etc/passwd", "/proc/self/root/etc/passwd"] {
        not_the_hosts(session, path.as_bytes())?;
    }
    Ok(())
}

pub fn dots(session: &mut Session) -> Result {
    for path in ["../../etc/passwd", "./.././../etc/passwd", "x/../../../../../etc/passwd"] {
        not_the_hosts(session, path.as_bytes())?;
    }
    not_the_hosts(session, format!("{UP}/etc/passwd").as_bytes())?;
    not_the_hosts(session, format!("/{UP}/etc/passwd").as_bytes())
}

pub fn encoded(session: &mut Session) -> Result {
    let paths: [&[u8]; 9] = [
        b"%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        b"..%2f..%2f..%2f..%2fetc%2fpasswd",
        b"..%252f..%252f..%252fetc%252fpasswd",
        b"..\\..\\..\\..\\etc\\passwd",
        b"....//....//....//....//etc/passwd",
        b"\xc0\xae\xc0\xae/\xc0\xae\xc0\xae/\xc0\xae\xc0\xae/etc/passwd",
        b"..\xc0\xaf..\xc0\xaf..\xc0\xafetc\xc0\xafpasswd",
        b"~root/../etc/passwd",
        b"file:///etc/passwd",
    ];
    paths.iter().try_for_each(|path| not_the_hosts(session, path))
}

pub fn listing(session: &mut Session) -> Result {
    for path in [UP, "/..", "/../../../.."] {
        let way = if session.target.address.is_ipv4() { Way::Pasv } else { Way::Epsv };
        let transfer = session.try_fetch(way, format!("NLST {path}").as_bytes())?;
        let text = String::from_utf8_lossy(&transfer.content).into_owned();
        let names = text.lines().map(|line| line.rsplit('/').next().unwrap_or(line).to_string());
        not_a_root(&names.collect::<Vec<_>>())?;
    }
    Ok(())
}

pub fn upload(session: &mut Session) -> Result {
    let path = format!("{UP}/tmp/{}", random_name("plainftpd-probe"));
    let data = session.prepare()?;
    let reply = session.try_ask(format!("STOR {path}"))?;
    if reply.fits("1xx") {
        drop(data.stream(session.target.timeout)?);
        session.control.reply()?;
        session.try_ask(format!("DELE {path}"))?;
    }
    reply.expect("4xx|5xx", "STOR ../…/tmp/…")?;
    Ok(())
}

pub fn rename(session: &mut Session) -> Result {
    session.store("STOR runaway", b"x")?;
    let path = format!("{UP}/tmp/{}", random_name("plainftpd-probe"));
    session.ask("RNFR runaway", "350")?;
    let reply = session.try_ask(format!("RNTO {path}"))?;
    if reply.fits("2xx") {
        session.try_ask(format!("DELE {path}"))?;
    }
    reply.expect("4xx|5xx", "RNTO ../…/tmp/…")?;
    Ok(())
}

pub fn long_path(session: &mut Session) -> Result {
    session.ask(format!("MKD {}", "x".repeat(1000)), "4xx|5xx")?;
    session.ask(format!("CWD {}", "x/".repeat(1500)), "4xx|5xx")?;
    session.ask("NOOP", "2xx")?;
    Ok(())
}

pub fn long_line(session: &mut Session) -> Result {
    session.ask("MKD bystander-of-a-line", "257")?;
    // In two packets, because a server that forgets the first one runs the second one.
    session.control.send_content(format!("MKD {}", "x".repeat(20_000)).as_bytes())?;
    thread::sleep(Duration::from_millis(100));
    // The server may have closed the connection already.
    let _ = session.control.send("RMD bystander-of-a-line");
    session.control.expect("4xx|5xx", "a line of 20,000 bytes")?;
    let mut other = Session::log_in(session.target)?;
    other.ask("CWD bystander-of-a-line", "250")?;
    // The server may close the connection after it, but a second reply is wrong.
    if session.control.send("NOOP").is_err() || session.control.is_at_end()? {
        return Ok(());
    }
    session.control.expect("200", "the long line and NOOP")?;
    Ok(())
}

pub fn nul(session: &mut Session) -> Result {
    let data = session.prepare()?;
    let reply = session.try_ask(b"STOR cut\0.txt")?;
    if reply.fits("1xx") {
        drop(data.stream(session.target.timeout)?);
        session.control.reply()?;
        session.try_ask(b"DELE cut\0.txt")?;
    }
    let cut = session.try_ask("SIZE cut")?;
    cut.expect("550", "STOR cut<NUL>.txt and SIZE cut")?;
    session.ask("NOOP", "2xx")?;
    Ok(())
}

pub fn cr(session: &mut Session) -> Result {
    session.ask("MKD safe-from-cr", "257")?;
    session.control.send("MKD x\rRMD safe-from-cr")?;
    session.control.reply()?;
    // A second session, because the first one may have a second reply.
    let mut other = Session::log_in(session.target)?;
    other.ask("CWD safe-from-cr", "250")?;
    Ok(())
}

pub fn bounce(session: &mut Session) -> Result {
    let elsewhere = match session.target.address.is_ipv4() {
        true => active_command(Way::Port, ([192, 0, 2, 1], 25_000).into())?,
        false => active_command(Way::Eprt, ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 25_000).into())?,
    };
    session.ask(elsewhere, "4xx|5xx")?;
    Ok(())
}
