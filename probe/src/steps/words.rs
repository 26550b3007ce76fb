//! Steps by hand: accounts, help, and lines that must be refused.

use crate::account::{random_name, random_password};
use crate::failure::{Result, check, differs, not_offered};
use crate::session::Session;

pub fn greeting(session: &mut Session) -> Result {
    let mut control =
        crate::control::Control::connect(session.target.address, session.target.timeout)?;
    let reply = control.expect("220", "connecting")?;
    check(
        reply.contains("register") || reply.contains("login"),
        "220 with a word to type",
        &reply,
    )?;
    check(reply.lines.len() == 1, "one line", &reply)
}

pub fn help(session: &mut Session) -> Result {
    let reply = session.ask("help", "214")?;
    for word in [" login ", " ls ", " put ", " quit "] {
        check(reply.contains(word), &format!("214 with{word}"), &reply)?;
    }
    check(reply.lines.len() <= 22, "22 lines", &reply)?;
    let reply = session.ask("help cp", "214")?;
    check(reply.contains("cp"), "214 with cp", &reply)
}

/// A session in a new account of its own. The caller removes the account.
fn new_account<'a>(session: &Session<'a>, password: &str) -> Result<(Session<'a>, String)> {
    let name = random_name("probe");
    let mut stranger = session.stranger()?;
    let reply = stranger.try_ask(format!("register {name} {password}"))?;
    if !reply.fits("230") {
        return not_offered(reply.to_string());
    }
    Ok((stranger, name))
}

pub fn register_and_unregister(session: &mut Session) -> Result {
    let password = random_password();
    let (mut account, name) = new_account(session, &password)?;
    let again = session.stranger()?.try_ask(format!("register {name} {password}"));
    account.ask(format!("unregister {password}"), "2xx")?;
    again?.expect("5xx", "register of a name that is taken")?;
    // The name is free again. A login would show it too, but failed logins delay later ones.
    let mut second = session.stranger()?;
    second.ask(format!("register {name} {password}"), "230")?;
    second.ask(format!("unregister {password}"), "2xx")?;
    Ok(())
}

pub fn before_login(session: &mut Session) -> Result {
    let mut stranger = session.stranger()?;
    for command in ["ls", "pwd", "mkdir x", "rm x", "get x", "cd"] {
        stranger.ask(command, "530")?;
    }
    Ok(())
}

pub fn logout_and_login(session: &mut Session) -> Result {
    session.ask("logout", "2xx")?;
    session.ask("whoami", "530|211")?;
    let target = session.target;
    session.ask(format!("login {} {}", target.name, target.password), "230")?;
    session.ask("ls", "212")?;
    Ok(())
}

pub fn passwd(session: &mut Session) -> Result {
    let (old, new) = (random_password(), random_password());
    let (mut account, name) = new_account(session, &old)?;
    let changed = account.try_ask(format!("passwd {old} {new}"))?;
    let login = session.stranger()?.try_ask(format!("login {name} {new}"));
    let password = if changed.fits("2xx") { new } else { old };
    account.ask(format!("unregister {password}"), "2xx")?;
    changed.expect("2xx", "passwd")?;
    login?.expect("230", "login with the new password")?;
    Ok(())
}

pub fn whoami(session: &mut Session) -> Result {
    let reply = session.ask("whoami", "211")?;
    check(reply.contains(&session.target.name), &session.target.name, &reply)
}

pub fn free(session: &mut Session) -> Result {
    let reply = session.ask("free", "2xx")?;
    check(reply.contains("byte"), "a number of bytes", &reply)
}

pub fn unknown_word(session: &mut Session) -> Result {
    let reply = session.ask("mkdri x", "500")?;
    check(reply.contains("mkdir"), "a hint at mkdir", &reply)?;
    session.ask("pwd", "257")?;
    Ok(())
}

pub fn usage(session: &mut Session) -> Result {
    let reply = session.ask("cp one", "501")?;
    check(reply.contains("cp [-f] FROM TO"), "501 with the usage of cp", &reply)?;
    session.ask("mkdir \"open", "501")?;
    session.ask("CWD open", "550")?;
    Ok(())
}

pub fn wrong_order(session: &mut Session) -> Result {
    session.ask("RNTO x", "503")?;
    session.ask("SITE CPTO x", "503")?;
    session.ask("logout", "2xx")?;
    session.ask("ls", "530")?;
    Ok(())
}

pub fn long_line(session: &mut Session) -> Result {
    let line = format!("mkdir long {}\r\npwd", "x".repeat(20_000));
    session.control.send(line)?;
    session.control.expect("500", "the long line")?;
    session.control.expect("257", "pwd")?;
    session.ask("cd long", "550")?;
    Ok(())
}

pub fn cr_inside(session: &mut Session) -> Result {
    session.ask("mkdir safe", "257")?;
    session.ask("mkdir x\rrmdir safe", "501")?;
    session.ask("cd safe", "250")?;
    Ok(())
}

pub fn pipelined(session: &mut Session) -> Result {
    session.control.send("pwd\nmkdir piped\r\nrmdir piped\nwhoami")?;
    for (command, code) in [("pwd", "257"), ("mkdir", "257"), ("rmdir", "250"), ("whoami", "211")] {
        session.control.expect(code, command)?;
    }
    Ok(())
}

pub fn half_closed(session: &mut Session) -> Result {
    session.control.send("pwd\nwhoami")?;
    session.control.half_close()?;
    session.control.expect("257", "pwd")?;
    session.control.expect("211", "whoami")?;
    // A goodbye may come before the end.
    match session.control.reply() {
        Ok(reply) => reply.expect("221", "the end of input").map(|_| ())?,
        Err(_) => return Ok(()),
    }
    session.control.expect_end()
}

pub fn refused_content(session: &mut Session) -> Result {
    session.ask("mkdir bystander", "257")?;
    let content = b"rmdir bystander\r\nrm -r bystander\r\n";
    session.control.send(format!("put missing/file {}", content.len()))?;
    session.control.send_content(content)?;
    let mut reply = session.control.reply()?;
    if reply.fits("150") {
        reply = session.control.reply()?;
    }
    reply.expect("550", "put in a missing folder")?;
    session.ask("cd bystander", "250")?;
    Ok(())
}

pub fn http(session: &mut Session) -> Result {
    let mut stranger = session.stranger()?;
    stranger.control.send("POST / HTTP/1.1")?;
    match stranger.control.reply() {
        Ok(reply) if reply.fits("421") => stranger.control.expect_end(),
        Ok(reply) => differs("the end of the connection", reply.to_string()),
        Err(_) => Ok(()),
    }
}
