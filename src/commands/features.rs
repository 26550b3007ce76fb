//! What this server can do beyond RFC 959 (RFC 2389), the state of the session, and refused verbs.

use crate::listing::FactChoice;
use crate::reply::Reply;
use crate::session::{Outcome, Session};

use super::args::Args;
use super::listings::Form;
use super::{Command, Parsed};

/// FEAT. A test uses each feature that this lists.
pub fn features(session: &mut Session) -> Outcome {
    let facts = format!("MLST {}", session.settings.facts.feature());
    let features = [
        "EPRT",
        "EPSV",
        "HASH SHA-256*",
        "LANG EN*",
        "MDTM",
        "MFMT",
        &facts,
        "REST STREAM",
        "SIZE",
        "TVFS",
        "UTF8",
        "XSHA256",
    ];
    let active = session.server.config.active;
    let offered = features.into_iter().filter(|feature| active || *feature != "EPRT");
    Ok(Reply::multi(211, "Features:", offered, "End"))
}

/// OPTS.
pub fn parse_options(args: Args<'_>) -> Parsed {
    let (feature, option) = args.split_word();
    let option = option.bytes.trim_ascii();
    match (feature.to_ascii_uppercase().as_slice(), option.to_ascii_uppercase().as_slice()) {
        (b"UTF8" | b"UTF-8", b"" | b"ON" | b"NLST") => Ok(Command::Answer(200, "Names are UTF-8.")),
        (b"UTF8" | b"UTF-8", _) => Err(Reply::new(504, "Names are UTF-8, always.")),
        (b"MLST", _) => Ok(Command::OptionsFacts(option.to_vec())),
        // draft-bryan-ftpext-hash-02 §4
        (b"HASH", b"" | b"SHA-256") => Ok(Command::Answer(200, "SHA-256")),
        (b"HASH", _) => Err(Reply::new(501, "HASH is SHA-256, always.")),
        (b"", _) => Err(args.usage()),
        _ => Err(Reply::new(501, "That feature has no options here.")),
    }
}

/// OPTS MLST (RFC 3659 §7.9).
pub fn options_facts(session: &mut Session, facts: &[u8]) -> Outcome {
    session.settings.facts = FactChoice::named(facts);
    let text = format!("MLST OPTS {}", session.settings.facts.names());
    Ok(Reply::new(200, text.trim_end().to_string()))
}

/// LANG (RFC 2640 §4.1).
pub fn parse_language(args: Args<'_>) -> Parsed {
    match args.bytes.trim_ascii().to_ascii_uppercase().as_slice() {
        b"" | b"EN" | b"EN-US" | b"EN-GB" | b"EN*" => {
            Ok(Command::Answer(200, "Replies are in English."))
        }
        _ => Err(Reply::new(504, "Replies are in English only.")),
    }
}

/// HELP, `help WORD`, `help SITE WORD`.
pub fn parse_help(args: Args<'_>) -> Parsed {
    Ok(Command::Help(Some(args.words()?.join(&b' ')).filter(|word| !word.is_empty())))
}

/// STAT, alone or with a path.
pub fn parse_stat(args: Args<'_>) -> Parsed {
    if args.is_empty() {
        Ok(Command::Status)
    } else {
        Ok(Command::List(args.path_behind_flags()?, Form::Status))
    }
}

/// STAT without a path.
pub fn status(session: &mut Session) -> Outcome {
    let who = session.account().map_or("no".to_string(), |account| account.name.clone());
    let kind = if session.settings.ascii { "A" } else { "I" };
    let lines = [
        format!("from {}", session.peer).into_bytes(),
        format!("logged in: {who}").into_bytes(),
        [b"current folder: ", session.folder.bytes()].concat(),
        format!("TYPE {kind}, MODE S, STRU F").into_bytes(),
    ];
    Ok(Reply::multi(211, "plainftpd:", lines, "End."))
}
