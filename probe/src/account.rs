//! The account and the folder that the steps use, and their removal at the end.

use crate::control::Control;
use crate::failure::{Failure, Result, differs};
use crate::session::{Session, Target};

/// A name that no other client uses.
pub fn random_name(prefix: &str) -> String {
    let suffix: String = std::iter::repeat_with(fastrand::lowercase).take(10).collect();
    format!("{prefix}-{suffix}")
}

/// A password for a throw-away account.
pub fn random_password() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(24).collect()
}

/// Creates the throw-away account of the target.
pub fn register(target: &Target) -> Result {
    let mut session = Session::connect(target)?;
    session.ask(format!("register {} {}", target.name, target.password), "230")?;
    Ok(())
}

/// Removes the throw-away account with everything in it.
pub fn unregister(target: &Target) -> Result {
    let mut session = Session::connect(target)?;
    session.ask(format!("login {} {}", target.name, target.password), "230")?;
    session.ask(format!("unregister {}", target.password), "2xx")?;
    Ok(())
}

/// Checks that a wrong password is refused. This is the last step, and no other one fails a login,
/// because plainftpd delays the logins from an address that has failed before.
pub fn wrong_password(target: &Target) -> Result {
    let mut session = Session::connect(target)?;
    session.ask(format!("USER {}", target.name), "331|530")?;
    session.ask(format!("PASS {}", random_password()), "530|503")?;
    Ok(())
}

/// Logs in, learns what the server offers, and makes the folder for the steps.
pub fn prepare(target: &mut Target) -> Result {
    let (features, by_hand, folder) = {
        let mut session = Session::log_in(target)?;
        let features = session.try_ask("FEAT")?;
        let lines = if features.code == 211 { features.lines } else { Vec::new() };
        let features = lines.iter().map(|line| line.trim().to_ascii_uppercase()).collect();
        let by_hand = has_hand_words(&mut session.control)?;
        let name = random_name("plainftpd-probe");
        session.ask(format!("MKD {name}"), "257")?;
        session.ask(format!("CWD {name}"), "250")?;
        let here = session.ask("PWD", "257")?;
        let Some(folder) = here.quoted() else {
            return differs("257 and a path in quotes", here.to_string());
        };
        (features, by_hand, folder)
    };
    *target = Target { features, by_hand, folder, ..target.clone() };
    Ok(())
}

/// Whether the server's help lists hand words.
fn has_hand_words(control: &mut Control) -> Result<bool> {
    Ok(control.try_ask("help")?.contains(" mkdir "))
}

/// Removes the folder of the steps with everything in it, and checks that it is gone.
pub fn remove_folder(target: &Target) -> Result {
    let mut session = Session::log_in(target)?;
    let Some((_, name)) = target.folder.rsplit_once('/') else {
        return differs("a path", &target.folder);
    };
    session.ask("CDUP", "2xx")?;
    session.remove_tree(name, 0)?;
    match session.try_ask(format!("CWD {}", target.folder))? {
        reply if reply.fits("5xx") => Ok(()),
        reply => Err(Failure::Differs { expected: "5xx".into(), got: reply.to_string() }),
    }
}
