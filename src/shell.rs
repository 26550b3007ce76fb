//! The commands of the shell: what the owner of the server does on its machine.
//!
//! They call the functions that the server calls, on the same files and under the same locks, so
//! they work while the server runs, too.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, ErrorKind, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

mod remote;

use crate::config::{Config, STOP_WAIT};
use crate::log::Log;
use crate::users::{Index, Password, QUOTA, ROLE, Refusal, Users};
use crate::vfs::{UploadPolicy, Workdir};

use remote::Remote;

/// What `--help` says of the commands.
pub const HELP: &str = "
Commands, also beside a running server; each takes the --dir or --config of the server:
  user add NAME [--role R] [--quota Q] [--folder F]
        add an account, with the files that workdir/NAME has; asks for a password
  user passwd NAME
        give an account another password
  user role NAME R; user quota NAME Q
        R: user, readonly, drop, admin or disabled; Q: a size, none or - (what --quota says)
  user remove NAME [--with-files]
        remove an account; its files stay, or go with it
  user list
        name, role, quota and folder of each account
  who
        the sessions: number, account, address, and what each one does
  kick SESSION
        end a session, also its transfer
  stop [--wait SECONDS]
        stop the server; transfers may go on for SECONDS (10 by default)
";

/// Runs a command. Returns what it prints. A command that was typed wrongly fails with
/// [`Refusal::Invalid`].
pub fn run(
    config: &Config,
    words: &[String],
    flags: &HashMap<String, String>,
) -> Result<String, Box<dyn Error>> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let flag = |name| flags.get(name).map(String::as_str);
    match words.as_slice() {
        ["user", "list"] => {
            let lines = users(config)?.query(Index::list).map_err(Refusal::Io)?;
            return Ok(lines.into_iter().map(|line| line + "\n").collect());
        }
        ["user", "add", name] => {
            let (role, quota) = (flag("role").unwrap_or("user"), flag("quota").unwrap_or("-"));
            users(config)?.add([name, role, quota], flag("folder"), ask_password)?;
        }
        ["user", "passwd", name] => users(config)?.set_password(name, ask_password)?,
        ["user", "role", name, role] => users(config)?.set(name, ROLE, role)?,
        ["user", "quota", name, quota] => users(config)?.set(name, QUOTA, quota)?,
        ["user", "remove", name] if flag("with-files").is_some() => {
            return remove_with_files(config, name);
        }
        ["user", "remove", name] => drop(users(config)?.remove(name, None, |_| ())?),
        ["who"] => return Ok(Remote::connect(config)?.ask("who")?),
        ["kick", session] if session.parse::<u64>().is_ok() => {
            return Ok(Remote::connect(config)?.ask(&format!("kick {session}"))?);
        }
        ["stop"] => {
            let wait = flag("wait").map_or(Ok(STOP_WAIT.as_secs()), str::parse);
            let wait = wait.map_err(|_| Refusal::Invalid("--wait needs a number of seconds"))?;
            Remote::connect(config)?.stop(config, wait)?;
        }
        _ => Err(Refusal::Invalid("not a command with its arguments; see --help"))?,
    }
    Ok(String::new())
}

/// Hides the folder of the account before the name is free, and then removes it. Returns what is to
/// be printed.
fn remove_with_files(config: &Config, name: &str) -> Result<String, Box<dyn Error>> {
    let policy = UploadPolicy { sync: true, partial: true };
    let path = config.dir.join("workdir");
    let (node, log) = (config.node.as_deref(), Arc::new(Log::none()));
    let workdir = fs::metadata(&path) // the server makes it
        .and_then(|_| Workdir::open(&path, node, policy, log))
        .map_err(|error| format!("workdir: {error}"))?;
    let hidden = users(config)?.remove(name, None, |name| workdir.detach_home(name))?;
    match hidden.map(|hidden| hidden.and_then(|remove| remove())) {
        None => {
            Ok("its files stay, because its line names another folder or is malformed\n".into())
        }
        Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
            Err(format!("the account is removed, but its files are left: {error}").into())
        }
        Some(_) => Ok(String::new()),
    }
}

fn users(config: &Config) -> Result<Users, String> {
    let path = config.dir.join("users");
    Users::open(&path, config, Arc::new(Log::none()))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Asks on the terminal, without echo, and then runs the command again with the password on its
/// standard input. This process becomes the shell that asks: if Ctrl-C ended it before another one
/// had restored the terminal, the terminal could stay silent.
const ASK: &str = r#"
old=$(stty -g) || exit
trap 'stty "$old"; echo >&2; exit 130' HUP INT QUIT TERM
stty -echo
printf 'Password: ' >&2; IFS= read -r first; echo >&2
printf 'Again: ' >&2; IFS= read -r second; echo >&2
stty "$old"; trap - HUP INT QUIT TERM
if [ "$first" != "$second" ]; then echo 'plainftpd: the two passwords differ' >&2; exit 1; fi
printf '%s\n' "$first" | "$0" "$@"
"#;

/// The password from standard input. If that is a terminal, this process ends here.
fn ask_password() -> Result<Password, Refusal> {
    if !io::stdin().is_terminal() {
        return Ok(read_password()?);
    }
    let args = env::args_os().skip(1);
    let _failed = Command::new("sh").args(["-c", ASK]).arg(env::current_exe()?).args(args).exec();
    Err(Refusal::Invalid("no sh is here to ask for the password: write it to standard input"))
}

/// Reads a line from standard input as a password.
pub fn read_password() -> io::Result<Password> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(Password(password.strip_suffix(b"\r").unwrap_or(password).to_vec()))
}
