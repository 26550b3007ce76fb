//! Flags and the configuration file become one [`Config`].
//!
//! Every default and every limit of the server stands here, with its reason. The names in the file
//! (`name = value`, `#` begins a comment line) are those of the flags; a flag wins over the file.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Longest command line in bytes, its end not counted. RFC 959 sets no limit; a path of Linux
/// (PATH_MAX) is 4,096 bytes, and two of them must fit on the line of `mv`.
pub const LINE_LIMIT: usize = 8 * 1024;
/// Refused counted content up to this many bytes is read and thrown away, so that the session can
/// go on; beyond it the connection is closed instead.
pub const DISCARD_LIMIT: u64 = 1024 * 1024;
/// So many lines in a row that were no commands (or not allowed before logging in) end a session.
pub const BAD_LINES: u32 = 10;
/// So many lines a session may have logged by what it says without being logged in; the end of the
/// session tells how many more there were. Ten bad lines end a session, so this is ample for a
/// person.
pub const UNAUTHENTICATED_LOG_LINES: u32 = 20;
/// So many refusals a session may have logged while it is logged in. A backup of a tree of odd
/// names may well have hundreds.
pub const REFUSAL_LOG_LINES: u32 = 1_000;
/// All strangers together may have so many lines logged at once,
pub const UNAUTHENTICATED_LOG_BURST: u32 = 20_000;
/// and so many per second after that: some 50 MB a day at most.
pub const UNAUTHENTICATED_LOG_RATE: u32 = 5;
/// How long a transfer waits for its data connection at most. Firewalls drop silently, and a
/// person who waits wants to know.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// How often a transfer looks at the control connection, for ABOR and STAT.
pub const TICK: Duration = Duration::from_millis(250);
/// Stack of a client's thread in bytes. Buffers live on the heap and all walks are iterative; 128
/// KiB is ample, and a thread costs only the pages that it touches.
pub const STACK_SIZE: usize = 128 * 1024;
/// Largest buffer of a transfer in bytes, which a small file never gets: twice it gains
/// little, and half of it costs four downloads up to a fifth more processor time.
pub const CHUNK: usize = 1024 * 1024;
/// Longest virtual path in bytes. A session keeps the path of its folder for as long as it idles.
pub const PATH_LIMIT: usize = 64 * 1024;
/// Most levels of a virtual path. Every command walks down its path with one open folder per level,
/// which takes a few milliseconds for this many.
pub const LEVEL_LIMIT: usize = 1000;

/// Most PBKDF2 iterations of a password hash. A login with more would take minutes, so a line of
/// the users file that asks for more is refused.
pub const MOST_ITERATIONS: usize = 100_000_000;

/// Who may create an account from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// Anybody who can connect.
    Open,
    /// Nobody; the owner writes the `users` file.
    Closed,
    /// Whoever knows this code.
    Code(String),
}

/// What the server was told, or the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; never empty.
    pub listen: Vec<SocketAddr>,
    /// The folder that holds `users`, `log.txt` and `workdir/`.
    pub dir: PathBuf,
    /// Who may register.
    pub registration: Registration,
    /// PBKDF2 iterations of new password hashes. 600,000 is OWASP's figure for HMAC-SHA256
    /// (Password Storage Cheat Sheet, 2023).
    pub hash_iterations: usize,
    /// Fewest characters of a new password.
    pub min_password: usize,
    /// Most clients at once. A thread each costs about 16 KiB, so this is no burden for a small
    /// box.
    pub max_clients: usize,
    /// How long a client may be silent between two commands. RFC 1123 §4.1.3.2 asks for at least
    /// five minutes.
    pub idle_timeout: Duration,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// This number of failed logins in a row ends a session; after this number from one address,
    /// further ones wait longer and longer.
    pub max_failures: usize,
    /// Most clients from one address (an IPv6 network of 64 bits counts as one). `None`: half of
    /// `max_clients`, but no limit for loopback, where all that comes through a tunnel is from.
    pub max_per_address: Option<usize>,
    /// Most bytes that an account's folder may take where the users file sets no other limit.
    pub quota: Option<u64>,
    /// Whether files and their folders are synced to the disk before an upload is acknowledged.
    pub sync: bool,
    /// Whether an upload under a new name that breaks off keeps what has come.
    pub keep_partial: bool,
    /// How long a peer may take not a single byte of what we send, or send none of what it has
    /// announced. A slow peer that moves is never ended.
    pub stall_timeout: Duration,
    /// Where passive data connections are taken; `None` takes random ones from 49152 up (RFC 6335
    /// §6).
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// Whether PORT and EPRT are obeyed. Whoever comes through a tunnel comes from loopback, and
    /// could have the server connect to other services of its own machine (RFC 2577 §3).
    pub active: bool,
    /// The address, or its name, that peers from outside are told in PASV's answer.
    pub public_address: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 2121))],
            dir: PathBuf::from("."),
            registration: Registration::Open,
            hash_iterations: 600_000,
            min_password: 4,
            max_clients: 256,
            idle_timeout: Duration::from_secs(300),
            login_timeout: Duration::from_secs(60),
            max_failures: 5,
            max_per_address: None,
            quota: None,
            sync: false,
            keep_partial: true,
            stall_timeout: Duration::from_secs(60),
            passive_ports: None,
            active: true,
            public_address: None,
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Start the server.
    Serve(Box<Config>),
    /// Read a password from standard input and print its hash for the `users` file.
    HashPassword(Box<Config>),
    /// Print the flags.
    Help,
    /// Print the version.
    Version,
}

/// A flag or line of the file that cannot be obeyed; its text is one line for the owner.
/// One setting: a flag with a value, and a name in the file.
struct Setting {
    name: &'static str,
    /// What it sets, for `--help`.
    help: &'static str,
    value: Value,
}

/// How a setting is read and shown.
enum Value {
    /// A number in this range.
    Number(RangeInclusive<usize>, fn(&mut Config) -> &mut usize),
    /// Whole seconds, one to a day.
    Seconds(fn(&mut Config) -> &mut Duration),
    /// One of two words; the first one sets true.
    Choice([&'static str; 2], fn(&mut Config) -> &mut bool),
    /// Another form: its name, how it is set (the error says what is wanted), and how it is shown.
    Other(&'static str, fn(&mut Config, &str) -> Result<(), String>, fn(&Config) -> String),
}

use Value::{Choice, Number, Other, Seconds};

const fn setting(name: &'static str, help: &'static str, value: Value) -> Setting {
    Setting { name, help, value }
}

const MOST_CLIENTS: usize = 15_000;
const MOST_SECONDS: u64 = 86_400;

const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        "address and port to listen on, such as 0.0.0.0:2121, or [::]:2121 for IPv6 and IPv4; may be repeated",
        Other("ADDR", set_listen, |config| {
            config.listen.iter().map(SocketAddr::to_string).collect()
        }),
    ),
    setting(
        "dir",
        "folder that holds users, log.txt and workdir/",
        Other("DIR", set_dir, |config| match config.dir.to_str() {
            Some(".") => "the current folder".to_string(),
            _ => config.dir.display().to_string(),
        }),
    ),
    setting(
        "registration",
        "who may create an account: anybody, nobody, or who knows SECRET",
        Other("open|closed|code:SECRET", set_registration, |config| match &config.registration {
            Registration::Open => "open".to_string(),
            Registration::Closed => "closed".to_string(),
            Registration::Code(code) => format!("code:{code}"),
        }),
    ),
    setting(
        "hash-iterations",
        "PBKDF2 iterations of new password hashes",
        Number(1..=MOST_ITERATIONS, |config| &mut config.hash_iterations),
    ),
    setting(
        "min-password",
        "fewest characters of a new password",
        Number(1..=1000, |config| &mut config.min_password),
    ),
    setting(
        "max-clients",
        "most clients at once",
        Number(1..=MOST_CLIENTS, |config| &mut config.max_clients),
    ),
    setting(
        "idle-timeout",
        "how long a client may be silent",
        Seconds(|config| &mut config.idle_timeout),
    ),
    setting(
        "login-timeout",
        "how long a client may take to log in",
        Seconds(|config| &mut config.login_timeout),
    ),
    setting(
        "max-failures",
        "failed logins in a row that end a session; after this number from one address, further ones wait longer and longer",
        Number(1..=1000, |config| &mut config.max_failures),
    ),
    setting(
        "max-per-address",
        "most clients from one address",
        Other("N", set_max_per_address, |config| match config.max_per_address {
            None => "half of max-clients; no limit for loopback".to_string(),
            Some(most) => most.to_string(),
        }),
    ),
    setting(
        "quota",
        "most bytes an account may store, such as 500M, if the users file sets no other limit",
        Other("SIZE", set_quota, |config| {
            config.quota.map_or("none".to_string(), |bytes| bytes.to_string())
        }),
    ),
    setting(
        "sync",
        "sync a file and its folder to the disk before an upload is acknowledged; --sync alone is on",
        Choice(["on", "off"], |config| &mut config.sync),
    ),
    setting(
        "partial-uploads",
        "what becomes of an upload under a new name that breaks off",
        Choice(["keep", "discard"], |config| &mut config.keep_partial),
    ),
    setting(
        "stall-timeout",
        "how long a transfer may stand still",
        Seconds(|config| &mut config.stall_timeout),
    ),
    setting(
        "passive-ports",
        "ports for passive data connections, to open in a firewall",
        Other("A-B", set_passive_ports, |config| match &config.passive_ports {
            None => "random ones from 49152 up".to_string(),
            Some(ports) => format!("{}-{}", ports.start(), ports.end()),
        }),
    ),
    setting(
        "active",
        "whether PORT and EPRT are obeyed; set it off if clients come through a tunnel",
        Choice(["on", "off"], |config| &mut config.active),
    ),
    setting(
        "public-address",
        "address or name by which clients from outside reach this server, behind a NAT",
        Other("ADDR", set_public_address, |config| {
            config.public_address.clone().unwrap_or("the one they reached".to_string())
        }),
    ),
];

impl Value {
    /// The form of the value, for `--help`.
    fn form(&self) -> String {
        match self {
            Number(..) => "N".to_string(),
            Seconds(_) => "SECONDS".to_string(),
            Choice(words, _) => words.join("|"),
            Other(form, ..) => form.to_string(),
        }
    }

    /// The range of the value, for `--help`.
    fn range(&self) -> String {
        match self {
            Number(range, _) => format!(", {} to {}", range.start(), range.end()),
            Seconds(_) => format!(", 1 to {MOST_SECONDS}"),
            Choice(..) | Other(..) => String::new(),
        }
    }

    /// The value that `config` has, as a person would write it.
    fn show(&self, config: &mut Config) -> String {
        match self {
            Number(_, field) => field(config).to_string(),
            Seconds(field) => field(config).as_secs().to_string(),
            Choice([yes, no], field) => (if *field(config) { yes } else { no }).to_string(),
            Other(_, _, show) => show(config),
        }
    }

    /// Sets it. The error says what is wanted.
    fn set(&self, config: &mut Config, value: &str) -> Result<(), String> {
        match self {
            Number(range, field) => *field(config) = number(value, *range.start(), *range.end())?,
            Seconds(field) => *field(config) = Duration::from_secs(number(value, 1, MOST_SECONDS)?),
            Choice([yes, no], field) if value == *yes || value == *no => {
                *field(config) = value == *yes
            }
            Choice(words, _) => return Err(words.join(" or ")),
            Other(_, set, _) => set(config, value)?,
        }
        Ok(())
    }
}

fn set_listen(config: &mut Config, value: &str) -> Result<(), String> {
    let addresses = value
        .to_socket_addrs()
        .map_err(|_| "an address with a port, such as 0.0.0.0:2121 or [::1]:2121".to_string())?;
    config.listen.extend(addresses);
    Ok(())
}

fn set_dir(config: &mut Config, value: &str) -> Result<(), String> {
    config.dir = PathBuf::from(not_empty(value, "a folder")?);
    Ok(())
}

fn set_registration(config: &mut Config, value: &str) -> Result<(), String> {
    config.registration = match (value, value.strip_prefix("code:")) {
        ("open", _) => Registration::Open,
        ("closed", _) => Registration::Closed,
        (_, Some(code)) if !code.is_empty() => Registration::Code(code.to_string()),
        _ => return Err("open, closed or code:SECRET".to_string()),
    };
    Ok(())
}

fn set_max_per_address(config: &mut Config, value: &str) -> Result<(), String> {
    config.max_per_address = Some(number(value, 1, MOST_CLIENTS)?);
    Ok(())
}

fn set_quota(config: &mut Config, value: &str) -> Result<(), String> {
    config.quota = match value {
        "none" => None,
        _ => Some(parse_size(value).ok_or("a size such as 500M, or none")?),
    };
    Ok(())
}

fn set_passive_ports(config: &mut Config, value: &str) -> Result<(), String> {
    let wanted = || "two ports from 1 to 65535, such as 40000-40100".to_string();
    let (first, last) = value.split_once('-').ok_or_else(wanted)?;
    let (first, last) = (number(first, 1, u16::MAX)?, number(last, 1, u16::MAX)?);
    if first > last {
        return Err(wanted());
    }
    config.passive_ports = Some(first..=last);
    Ok(())
}

fn set_public_address(config: &mut Config, value: &str) -> Result<(), String> {
    config.public_address = Some(not_empty(value, "an address or a name")?.to_string());
    Ok(())
}

fn not_empty<'v>(value: &'v str, wanted: &str) -> Result<&'v str, String> {
    if value.is_empty() { Err(wanted.to_string()) } else { Ok(value) }
}

fn number<T>(value: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    match value.parse::<T>() {
        Ok(n) if n >= least && n <= most => Ok(n),
        _ => Err(format!("a number from {least} to {most}")),
    }
}

/// Reads the arguments that follow the program's name.
pub fn from_args(args: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let args: Result<Vec<String>, OsString> = args.map(OsString::into_string).collect();
    let args = args.map_err(|arg| format!("not UTF-8: {}", arg.to_string_lossy()))?;
    let mut args = args.into_iter();
    let (mut given, mut file, mut hash_password) = (Vec::new(), None, false);
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix("--") else {
            return Err(format!("unknown argument \"{arg}\"; see --help"));
        };
        let (name, attached) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (flag, None),
        };
        match (name, attached.is_some()) {
            ("help", false) => return Ok(Request::Help),
            ("version", false) => return Ok(Request::Version),
            ("hash-password", false) => {
                hash_password = true;
                continue;
            }
            _ => {}
        }
        if name != "config" && find(name).is_none() {
            return Err(format!("unknown flag --{name}; see --help"));
        }
        let bare = (name == "sync" && attached.is_none()).then(|| "on".to_string());
        let Some(value) = attached.or(bare).or_else(|| args.next()) else {
            return Err(format!("--{name} needs a value; see --help"));
        };
        if name == "config" { file = Some(value) } else { given.push((name.to_string(), value)) }
    }

    let mut config = Config::default();
    if let Some(path) = file {
        let lines = read_file(&path)?;
        apply(&mut config, &lines, |line| format!("{path}:{line}: "), "")?;
    }
    let given: Vec<_> = given.into_iter().map(|(name, value)| (0, name, value)).collect();
    apply(&mut config, &given, |_| String::new(), "--")?;
    let config = Box::new(config);
    Ok(if hash_password { Request::HashPassword(config) } else { Request::Serve(config) })
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The `name = value` lines of the file, with their line numbers.
fn read_file(path: &str) -> Result<Vec<(usize, String, String)>, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration file {path}: {error}"))?;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("{path}:{}: not of the form name = value", index + 1));
        };
        lines.push((index + 1, name.trim().to_string(), value.trim().to_string()));
    }
    Ok(lines)
}

/// Applies one source of settings over what the sources before it said. `listen` may be repeated
/// within a source, and replaces what came before it.
fn apply(
    config: &mut Config,
    pairs: &[(usize, String, String)],
    place: impl Fn(usize) -> String,
    dashes: &str,
) -> Result<(), String> {
    if pairs.iter().any(|(_, name, _)| name == "listen") {
        config.listen.clear();
    }
    for (line, name, value) in pairs {
        let place = place(*line);
        let Some(setting) = find(name) else {
            return Err(format!("{place}unknown setting {name}; see --help"));
        };
        setting
            .value
            .set(config, value)
            .map_err(|wanted| format!("{place}{dashes}{name} needs {wanted}, not \"{value}\""))?;
    }
    Ok(())
}

/// Bytes from a number with an optional suffix K, M, G or T, powers of 1,024.
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.strip_suffix(['K', 'M', 'G', 'T']) {
        None => (text, 0),
        Some(digits) if text.ends_with('K') => (digits, 10),
        Some(digits) if text.ends_with('M') => (digits, 20),
        Some(digits) if text.ends_with('G') => (digits, 30),
        Some(digits) => (digits, 40),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "plainftpd: a file server for telnet, netcat and every FTP client\n\n\
         Usage: plainftpd [FLAG]...\n\nFlags, with their defaults in brackets:\n",
    );
    let mut defaults = Config::default();
    for Setting { name, help, value } in SETTINGS {
        let (form, range, default) = (value.form(), value.range(), value.show(&mut defaults));
        text.push_str(&format!("  --{name} {form}\n        {help}{range} [{default}]\n"));
    }
    text.push_str(
        "  --config FILE\n        read the same names from FILE, a line each: name = value; a flag wins\n\
         \x20 --hash-password\n        read a password from standard input, print its hash for the users file\n\
         \x20 --help, --version\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(args: &[&str]) -> Result<Request, String> {
        from_args(args.iter().map(OsString::from))
    }

    fn config(args: &[&str]) -> Config {
        match request(args) {
            Ok(Request::Serve(config)) => *config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_flags_the_defaults_hold() {
        let config = config(&[]);
        assert_eq!(config, Config::default());
        assert_eq!(config.listen, ["127.0.0.1:2121".parse().unwrap()]);
    }

    #[test]
    fn flags_are_read_in_both_spellings_and_listen_repeats() {
        let config = config(&["--listen", "[::1]:0", "--listen=127.0.0.1:7", "--idle-timeout=5"]);
        assert_eq!(config.listen, ["[::1]:0".parse().unwrap(), "127.0.0.1:7".parse().unwrap()]);
        assert_eq!(config.idle_timeout, Duration::from_secs(5));
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "# comment\n\nlisten = 127.0.0.1:1\n max-clients=9 \nregistration = code:a b=c\n",
        )
        .unwrap();
        let path = file.path().to_str().unwrap();
        let config = config(&["--max-clients", "3", "--config", path]);
        assert_eq!(config.max_clients, 3);
        assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(config.registration, Registration::Code("a b=c".to_string()));
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        for (args, text) in [
            (&["--nonsense"][..], "unknown flag --nonsense; see --help"),
            (&["2121"], "unknown argument \"2121\"; see --help"),
            (&["--dir"], "--dir needs a value; see --help"),
            (&["--max-clients", "0"], "--max-clients needs a number from 1 to 15000, not \"0\""),
            (
                &["--max-clients", "many"],
                "--max-clients needs a number from 1 to 15000, not \"many\"",
            ),
            (
                &["--registration", "code:"],
                "--registration needs open, closed or code:SECRET, not \"code:\"",
            ),
            (
                &["--listen", "2121"],
                "--listen needs an address with a port, such as 0.0.0.0:2121 or [::1]:2121, not \"2121\"",
            ),
        ] {
            assert_eq!(request(args), Err(text.to_string()));
        }
    }

    #[test]
    fn mistakes_in_the_file_name_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (text, mistake) in [
            ("\nwhat", "2: not of the form name = value"),
            (
                "passive-ports = 9-8",
                "1: passive-ports needs two ports from 1 to 65535, such as 40000-40100, not \"9-8\"",
            ),
            ("what = 1", "1: unknown setting what; see --help"),
            ("config = x", "1: unknown setting config; see --help"),
            ("min-password = x", "1: min-password needs a number from 1 to 1000, not \"x\""),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(request(&["--config", path]), Err(format!("{path}:{mistake}")));
        }
    }

    #[test]
    fn help_names_every_flag() {
        assert_eq!(request(&["--max-clients", "--help"]).unwrap_err().lines().count(), 1);
        assert_eq!(request(&["--help"]), Ok(Request::Help));
        for setting in SETTINGS {
            assert!(help().contains(&format!("  --{} {}\n", setting.name, setting.value.form())));
        }
    }
}
