//! Steps by FTP: folders, listings, and names.

use crate::failure::{Result, check, differs, same, same_text};
use crate::session::Session;

/// Makes a folder with two files and a folder, and goes there.
fn shelf(session: &mut Session, name: &str) -> Result {
    session.ask(format!("MKD {name}"), "257")?;
    session.ask(format!("CWD {name}"), "250")?;
    session.store("STOR first", b"12345")?;
    session.store("STOR second file", b"")?;
    session.ask("MKD third", "257")?;
    Ok(())
}

pub fn folders(session: &mut Session) -> Result {
    let top = session.target.folder.as_str();
    session.ask("MKD walk", "257")?;
    session.ask("CWD walk", "250")?;
    let here = session.ask("PWD", "257")?;
    same_text(&format!("{top}/walk"), &here.quoted().unwrap_or_default())?;
    session.ask("CDUP", "2xx")?;
    session.ask("CWD walk/../walk", "250")?;
    session.ask("CWD ..", "250")?;
    let here = session.ask("PWD", "257")?;
    same_text(top, &here.quoted().unwrap_or_default())?;
    session.ask("CWD missing", "550")?;
    Ok(())
}

pub fn rename(session: &mut Session) -> Result {
    session.ask("RNTO x", "503")?;
    session.store("STOR before", b"renamed")?;
    session.ask("RNFR before", "350")?;
    session.ask("RNTO after", "250")?;
    same(b"renamed", &session.fetch("RETR after")?)?;
    session.ask("SIZE before", "550")?;
    session.ask("RNFR before", "550")?;
    session.ask("MKD moved here", "257")?;
    session.ask("RNFR after", "350")?;
    session.ask("RNTO moved here/after", "250")?;
    same(b"renamed", &session.fetch("RETR moved here/after")?)
}

pub fn delete(session: &mut Session) -> Result {
    session.store("STOR deleted", b"x")?;
    session.ask("DELE deleted", "250")?;
    session.ask("DELE deleted", "550")?;
    session.ask("RETR deleted", "4xx|5xx")?;
    Ok(())
}

pub fn make_folder(session: &mut Session) -> Result {
    let made = session.ask("MKD made", "257")?;
    let expected = format!("{}/made", session.target.folder);
    same_text(&expected, &made.quoted().unwrap_or_default())?;
    session.ask("MKD made", "5xx")?;
    session.store("STOR made/file", b"x")?;
    session.ask("RMD made", "5xx")?;
    session.ask("DELE made/file", "250")?;
    session.ask("RMD made", "250")?;
    session.ask("RMD made", "550")?;
    Ok(())
}

pub fn list(session: &mut Session) -> Result {
    shelf(session, "list")?;
    let lines = session.lines("LIST")?;
    let find = |name: &str| lines.iter().find(|line| line.ends_with(name));
    let (Some(first), Some(_), Some(third)) =
        (find(" first"), find(" second file"), find(" third"))
    else {
        return differs("lines that end with first, second file, third", lines.join(" / "));
    };
    if !first.split_whitespace().any(|word| word == "5") || !third.starts_with('d') {
        return differs("the size 5 of first, and d for third", lines.join(" / "));
    }
    Ok(())
}

pub fn nlst(session: &mut Session) -> Result {
    shelf(session, "nlst")?;
    let mut names = session.lines("NLST")?;
    names.sort();
    same_text("first / second file / third", &names.join(" / "))
}

pub fn mlsd(session: &mut Session) -> Result {
    session.needs("MLST")?;
    shelf(session, "mlsd")?;
    let lines = session.lines("MLSD")?;
    let fact = |name: &str, fact: &str| {
        let mut facts = lines.iter().filter_map(|line| line.split_once(' '));
        let facts = facts.find(|(_, is)| *is == name).map_or("", |(facts, _)| facts);
        facts.to_ascii_lowercase().split(';').any(|is| is == fact)
    };
    let is_right = fact("first", "size=5")
        && fact("first", "type=file")
        && fact("second file", "size=0")
        && fact("third", "type=dir");
    let expected = "type=file;size=5; first, size=0; second file, type=dir; third";
    if is_right { Ok(()) } else { differs(expected, lines.join(" / ")) }
}

pub fn mlst(session: &mut Session) -> Result {
    session.needs("MLST")?;
    session.store("STOR facts", b"123")?;
    let reply = session.ask("MLST facts", "250")?;
    let facts = reply.lines.get(1).map_or("", String::as_str).to_ascii_lowercase();
    let is_right = facts.starts_with(' ') && facts.contains("size=3;") && facts.ends_with("facts");
    check(is_right, "a second line with size=3; and the name", &reply)?;
    session.ask("MLST missing", "550")?;
    Ok(())
}

/// Stores, lists, renames, fetches and deletes a file of this name.
fn use_name(session: &mut Session, name: &str) -> Result {
    session.store(format!("STOR {name}"), name.as_bytes())?;
    same(name.as_bytes(), &session.fetch(format!("RETR {name}"))?)?;
    let names = session.lines("NLST")?;
    if !names.iter().any(|is| is == name) {
        return differs(format!("the name \"{name}\" in NLST"), names.join(" / "));
    }
    session.ask(format!("RNFR {name}"), "350")?;
    session.ask(format!("RNTO {name}.renamed"), "250")?;
    session.ask(format!("DELE {name}.renamed"), "250")?;
    Ok(())
}

pub fn spaces(session: &mut Session) -> Result {
    session.ask("MKD folder of spaces", "257")?;
    session.ask("CWD folder of spaces", "250")?;
    use_name(session, "a  name  with  spaces.txt")?;
    session.ask("CDUP", "2xx")?;
    session.ask("RMD folder of spaces", "250")?;
    Ok(())
}

pub fn cyrillic(session: &mut Session) -> Result {
    session.ask("MKD Моя папка", "257")?;
    session.ask("CWD Моя папка", "250")?;
    let here = session.ask("PWD", "257")?;
    let expected = format!("{}/Моя папка", session.target.folder);
    same_text(&expected, &here.quoted().unwrap_or_default())?;
    use_name(session, "яблоко, ёж и щука.txt")?;
    session.ask("CDUP", "2xx")?;
    session.ask("RMD Моя папка", "250")?;
    Ok(())
}

pub fn odd_names(session: &mut Session) -> Result {
    session.ask("MKD odd \"names\"", "257")?;
    session.ask("CWD odd \"names\"", "250")?;
    let here = session.ask("PWD", "257")?;
    let expected = format!("{}/odd \"names\"", session.target.folder);
    same_text(&expected, &here.quoted().unwrap_or_default())?;
    for name in ["-la", "it's \"so\"", "100%", "a;b=c; d", "[x]{y}"] {
        use_name(session, name)?;
    }
    Ok(())
}

pub fn tree(session: &mut Session) -> Result {
    let mut paths = vec!["tree".to_string()];
    for outer in 1..=3 {
        paths.push(format!("tree/{outer}"));
        paths.extend((1..=3).map(|inner| format!("tree/{outer}/{inner}")));
    }
    for path in &paths {
        session.ask(format!("MKD {path}"), "257")?;
        session.store(format!("STOR {path}/leaf"), path.as_bytes())?;
    }
    for path in &paths {
        same(path.as_bytes(), &session.fetch(format!("RETR {path}/leaf"))?)?;
    }
    session.remove_tree("tree", 0)?;
    session.ask("CWD tree", "550")?;
    Ok(())
}
