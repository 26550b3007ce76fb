//! Steps by hand: files and folders.

use sha2::{Digest, Sha256};

use crate::failure::{Result, check, differs, same, same_text};
use crate::hand::quote;
use crate::session::Session;

/// Every byte, and what could be taken for the end of content, a command or Telnet.
pub fn all_bytes() -> Vec<u8> {
    let mut content: Vec<u8> = (0..=255).collect();
    content.extend(b"\r\n.\r\nquit\r\nrm x\n\xff\xf4\xff\xf2ABOR\r\n\r\0\xff\xff\x04\x08\x7f");
    content
}

/// Bytes that look random.
pub fn noise(length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
}

pub fn folders(session: &mut Session) -> Result {
    let top = session.target.folder.as_str();
    let made = session.ask("mkdir rooms", "257")?;
    same_text(&format!("{top}/rooms"), &made.quoted().unwrap_or_default())?;
    session.ask("cd rooms", "250")?;
    let here = session.ask("pwd", "257")?;
    same_text(&format!("{top}/rooms"), &here.quoted().unwrap_or_default())?;
    session.ask("cd ..", "250")?;
    let here = session.ask("pwd", "257")?;
    same_text(top, &here.quoted().unwrap_or_default())?;
    session.ask("mkdir rooms", "550")?;
    session.ask("rmdir rooms", "250")?;
    session.ask("cd rooms", "550")?;
    Ok(())
}

pub fn deep_folder(session: &mut Session) -> Result {
    session.ask("mkdir -p deep/er/est", "257")?;
    session.ask("rmdir deep", "550")?;
    session.ask("cd deep/er/est", "250")?;
    Ok(())
}

pub fn write_and_get(session: &mut Session) -> Result {
    session.ask("write line.txt two words", "150")?;
    session.control.expect("226", "write")?;
    same(b"two words\n", &session.get("line.txt")?)
}

pub fn write_lines(session: &mut Session) -> Result {
    session.type_lines("write lines.txt", &["first", "", "..dot", "quit"])?;
    same(b"first\n\n.dot\nquit\n", &session.get("lines.txt")?)
}

pub fn put_all_bytes(session: &mut Session) -> Result {
    let content = all_bytes();
    session.put("bytes", &content)?;
    same(&content, &session.get("bytes")?)
}

pub fn put_large(session: &mut Session) -> Result {
    let content = noise(2 << 20);
    session.show_progress(content.len() as u64);
    session.put("large", &content)?;
    same(&content, &session.get("large")?)
}

pub fn append(session: &mut Session) -> Result {
    session.put("log", b"one\n")?;
    session.type_lines("append log", &["two", "three"])?;
    session.ask("append log four", "150")?;
    session.control.expect("226", "append")?;
    same(b"one\ntwo\nthree\nfour\n", &session.get("log")?)
}

pub fn touch(session: &mut Session) -> Result {
    session.ask("touch empty", "250")?;
    same(b"", &session.get("empty")?)?;
    session.put("full", b"full")?;
    session.ask("touch full", "250")?;
    same(b"full", &session.get("full")?)
}

pub fn ls(session: &mut Session) -> Result {
    session.ask("mkdir shelf", "257")?;
    session.ask("cd shelf", "250")?;
    session.put("b.txt", b"12345")?;
    session.put("a.txt", b"")?;
    session.ask("mkdir c", "257")?;
    let listing = session.ask("ls", "212")?;
    let names: Vec<_> = listing.lines.iter().filter(|line| line.starts_with(' ')).collect();
    let names: Vec<_> = names.iter().filter_map(|line| line.split_whitespace().last()).collect();
    check(names == ["a.txt", "b.txt", "c/"], "a.txt, b.txt, c/", &listing)?;
    check(listing.contains(" 5 "), "the size 5", &listing)?;
    let listing = session.ask("ls b*", "212")?;
    check(listing.contains("b.txt") && !listing.contains("a.txt"), "b.txt alone", &listing)
}

pub fn info(session: &mut Session) -> Result {
    session.put("seven", b"1234567")?;
    let reply = session.ask("info seven", "213")?;
    check(reply.contains("file") && reply.contains("7 bytes"), "a file of 7 bytes", &reply)?;
    session.ask("info missing", "550")?;
    Ok(())
}

pub fn hash(session: &mut Session) -> Result {
    let content = noise(10_000);
    session.put("hashed", &content)?;
    let reply = session.ask("hash hashed", "213")?;
    let expected = hex::encode(Sha256::digest(&content));
    check(reply.contains(&expected), &expected, &reply)
}

pub fn cp(session: &mut Session) -> Result {
    session.put("from", b"content")?;
    session.ask("cp from to", "250")?;
    same(b"content", &session.get("to")?)?;
    session.put("other", b"other")?;
    session.ask("cp other to", "550")?;
    same(b"content", &session.get("to")?)?;
    session.ask("cp -f other to", "250")?;
    same(b"other", &session.get("to")?)?;
    same(b"other", &session.get("other")?)
}

pub fn cp_folder(session: &mut Session) -> Result {
    session.ask("mkdir -p source/inner", "257")?;
    session.put("source/inner/file", b"deep")?;
    session.ask("cp source copied", "250")?;
    same(b"deep", &session.get("copied/inner/file")?)?;
    same(b"deep", &session.get("source/inner/file")?)
}

pub fn mv(session: &mut Session) -> Result {
    session.put("old", b"moved")?;
    session.ask("mv old new", "250")?;
    session.ask("get old", "550")?;
    session.ask("mkdir drawer", "257")?;
    session.ask("mv new drawer/newer", "250")?;
    same(b"moved", &session.get("drawer/newer")?)?;
    session.put("kept", b"kept")?;
    session.ask("mv drawer/newer kept", "550")?;
    same(b"kept", &session.get("kept")?)
}

pub fn rm(session: &mut Session) -> Result {
    session.put("rubbish", b"x")?;
    session.ask("rm rubbish", "250")?;
    session.ask("get rubbish", "550")?;
    session.ask("rm rubbish", "550")?;
    Ok(())
}

pub fn rm_tree(session: &mut Session) -> Result {
    session.ask("mkdir -p wood/branch/twig", "257")?;
    session.put("wood/branch/leaf", b"green")?;
    session.ask("rm wood", "550")?;
    session.ask("rm -r wood", "250")?;
    session.ask("cd wood", "550")?;
    Ok(())
}

pub fn quoted_names(session: &mut Session) -> Result {
    let names = ["two words", " space at the start", "it's", "a \"quoted\" name", "back\\slash"];
    for name in names {
        session.put(name, name.as_bytes())?;
        same(name.as_bytes(), &session.get(name)?)?;
    }
    session.ask("cp \"two words\" 'three more words'", "250")?;
    session.ask("mv three\\ more\\ words four", "250")?;
    same(b"two words", &session.get("four")?)?;
    for name in names {
        session.ask(format!("rm {}", quote(name)), "250")?;
    }
    Ok(())
}

pub fn cyrillic(session: &mut Session) -> Result {
    const NAME: &str = "моя папка/яблоко и ёж.txt";
    session.ask("mkdir 'моя папка'", "257")?;
    session.put(NAME, "содержание".as_bytes())?;
    same("содержание".as_bytes(), &session.get(NAME)?)?;
    let listing = session.ask("ls 'моя папка'", "212")?;
    if !listing.contains("яблоко и ёж.txt") {
        return differs("the name яблоко и ёж.txt", listing.to_string());
    }
    session.ask("rm -r 'моя папка'", "250")?;
    Ok(())
}
