//! Reads the flags and the configuration file into one [`Config`].
//!
//! The defaults, and the limits that more than one module needs, are here with their reasons. The
//! file has lines `name = value`, with the names of the flags; `#` begins a comment line. A flag
//! wins over the file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

mod settings;

pub use settings::parse_size;
use settings::{SETTINGS, Setting};

/// Longest command line in bytes, without its line end. RFC 959 sets no limit. A path may have
/// 4,096 bytes on Linux (PATH_MAX), and the line of `mv` must hold two of them.
pub const LINE_LIMIT: usize = 8 * 1024;
/// If a client sends content of an announced length for a refused command, up to this many bytes
/// are read and thrown away, so that the session can go on. If it is more, the server closes the
/// connection instead.
pub const DISCARD_LIMIT: u64 = 1024 * 1024;
/// A session ends after this many lines in a row that were no commands, or were not allowed before
/// the login.
pub const BAD_LINES: u32 = 10;
/// The most log lines that a session may cause by what it says before it is logged in. The log line
/// of its end says how many more there were. Ten bad lines end a session, so this is enough for a
/// person.
pub const UNAUTHENTICATED_LOG_LINES: u32 = 20;
/// The most refusals that a logged-in session may have in the log. A backup of a tree with unusual
/// names can have hundreds.
pub const REFUSAL_LOG_LINES: u32 = 1_000;
/// The most log lines that all unauthenticated clients together may cause at once.
pub const UNAUTHENTICATED_LOG_BURST: u32 = 20_000;
/// How many log lines per second all unauthenticated clients together may cause after
/// [`UNAUTHENTICATED_LOG_BURST`]: at most about 50 MB per day.
pub const UNAUTHENTICATED_LOG_RATE: u32 = 5;
/// The longest wait of a transfer for its data connection. A firewall may drop packets silently,
/// and a user who waits wants to know.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// How often a transfer checks the control connection for ABOR and STAT.
pub const TICK: Duration = Duration::from_millis(250);
/// How long a client of the owner's listener may take to send the token.
pub const OWNER_LOGIN: Duration = Duration::from_secs(2);
/// How long transfers may go on after the request to stop, by default.
pub const STOP_WAIT: Duration = Duration::from_secs(10);
/// The stack of a client's thread in bytes. 128 KiB is enough, because buffers are on the heap and
/// no walk is recursive. A thread costs only the pages that it touches.
pub const STACK_SIZE: usize = 128 * 1024;
/// What the names of the server's own files in the users' folders begin with.
pub const RESERVED_PREFIX: &str = ".plainftpd-";
/// Longest virtual path in bytes. An idle session keeps the path of its folder in memory.
pub const PATH_LIMIT: usize = 64 * 1024;
/// The most levels of a virtual path. Each command opens one folder per level, which takes a few
/// milliseconds for this many.
pub const LEVEL_LIMIT: usize = 1000;

/// The most PBKDF2 iterations of a password hash. A login with more would take minutes, so a line
/// of the users file with more is malformed.
pub const MOST_ITERATIONS: usize = 100_000_000;

/// Which clients may create an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// Every client that can connect.
    Open,
    /// None. Only the owner of the server adds accounts, in the users file.
    Closed,
    /// A client that sends this code.
    Code(String),
}

/// When the log begins a new file, and how many old ones stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The most bytes of the file. `None` means no limit.
    pub size: Option<u64>,
    /// How many old files stay: `log.txt.1` is the newest.
    pub keep: usize,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { size: None, keep: 5 }
    }
}

/// The settings of the owner of the server. [`Config::default`] has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The addresses to listen on; empty only with `listen_stdin`.
    pub listen: Vec<SocketAddr>,
    /// Whether standard input is a listening socket, which a supervisor has opened.
    pub listen_stdin: bool,
    /// Whether the server stops when standard input ends.
    pub stop_with_stdin: bool,
    /// Whether the log goes to standard output and not to `log.txt`.
    pub log_to_stdout: bool,
    pub rotation: Rotation,
    /// The folder that holds `users`, the log and `workdir/`.
    pub dir: PathBuf,
    /// The name of this server among several that share `dir`.
    pub node: Option<String>,
    /// Which clients may register.
    pub registration: Registration,
    /// The PBKDF2 iterations of new password hashes. OWASP recommends 600,000 for HMAC-SHA256
    /// (Password Storage Cheat Sheet, 2023).
    pub hash_iterations: usize,
    /// The fewest characters of a new password.
    pub min_password: usize,
    /// The most clients at once. The thread of a client costs about 16 KiB, so a small machine can
    /// serve this many.
    pub max_clients: usize,
    /// How long a client may be silent between two commands. RFC 1123 §4.1.3.2 asks for at least
    /// five minutes.
    pub idle_timeout: Duration,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// A session ends after this many failed logins in a row. After this many from one address,
    /// each further attempt waits longer.
    pub max_failures: usize,
    /// The most clients from one address, where an IPv6 network of 64 bits counts as one. `None`
    /// means half of `max_clients`, and no limit for loopback, because all clients that use a
    /// tunnel come from there.
    pub max_per_address: Option<usize>,
    /// The most bytes that an account may store, if the users file sets no other limit. `None`
    /// means no limit.
    pub quota: Option<u64>,
    /// Whether a file and its folder are synced to the disk before an upload is acknowledged.
    pub sync: bool,
    /// Whether an interrupted upload under a new name keeps what has been received.
    pub keep_partial: bool,
    /// How long a transfer may make no progress: the client takes not one byte, or sends none. A
    /// slow transfer that makes progress is never ended.
    pub stall_timeout: Duration,
    /// The ports for passive data connections. `None` means random ports from 49152 up (RFC 6335
    /// §6).
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// Whether PORT and EPRT are allowed. A client that uses a tunnel comes from loopback, and
    /// could make the server connect to other services of its own machine (RFC 2577 §3).
    pub active: bool,
    /// The address, or its name, that PASV's reply gives to clients from outside.
    pub public_address: Option<String>,
    /// The balancers: a connection from one of these addresses begins with a line that names the
    /// client.
    pub proxy_from: Vec<IpAddr>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 2121))],
            listen_stdin: false,
            stop_with_stdin: false,
            log_to_stdout: false,
            rotation: Rotation::default(),
            dir: PathBuf::from("."),
            node: None,
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
            proxy_from: Vec::new(),
        }
    }
}

impl Config {
    /// The name of one of this server's own files in a folder that several servers may share:
    /// `name`, or `name.NODE`.
    pub fn own_name(&self, name: &str) -> String {
        self.node.as_ref().map_or(name.to_string(), |node| format!("{name}.{node}"))
    }

    /// The name of the log's file.
    pub fn log_name(&self) -> String {
        self.own_name("log") + ".txt"
    }
}

/// The first words of the commands of the shell.
const SHELL_WORDS: [&str; 4] = ["user", "who", "kick", "stop"];
/// The flags of these commands, each with the only one that has it. All but with-files have values.
const SHELL_FLAGS: [(&str, &str); 5] = [
    ("role", "user add"),
    ("quota", "user add"),
    ("folder", "user add"),
    ("with-files", "user remove"),
    ("wait", "stop"),
];

/// What the command line asks the program to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Start the server.
    Serve(Box<Config>),
    /// Say what the server would do, and what is wrong: first these mistakes in the settings.
    Check(Box<Config>, Vec<String>),
    /// Read a password from standard input, and print its hash for the users file.
    HashPassword(Box<Config>),
    /// Run a command of the shell: its words, and the flags that only such commands have.
    Shell(Box<Config>, Vec<String>, HashMap<String, String>),
    /// Print the flags.
    Help,
    /// Print the version.
    Version,
}

/// Reads the arguments after the program's name. An error is one line for the owner of the server.
pub fn from_args(args: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let args: Result<Vec<String>, OsString> = args.map(OsString::into_string).collect();
    let args = args.map_err(|arg| format!("not UTF-8: {}", arg.to_string_lossy()))?;
    let is_shell = args.first().is_some_and(|first| SHELL_WORDS.contains(&first.as_str()));
    let (mut words, mut shell_flags) = (Vec::new(), HashMap::new());
    let mut args = args.into_iter();
    let (mut given, mut file, mut action) = (Vec::new(), None, String::new());
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix("--") else {
            if !is_shell {
                return Err(format!("unknown argument \"{arg}\"; see --help"));
            }
            words.push(arg);
            continue;
        };
        let (name, attached) =
            flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let only = SHELL_FLAGS.iter().find(|(flag, _)| is_shell && *flag == name);
        match flag {
            "help" => return Ok(Request::Help),
            "version" => return Ok(Request::Version),
            "hash-password" | "check" => {
                action = flag.to_string();
                continue;
            }
            _ if only.is_some_and(|(_, command)| words.join(" ").starts_with(command)) => {}
            _ if only.is_none() && (name == "config" || find(name).is_some()) => {}
            _ => return Err(format!("unknown flag --{name}; see --help")),
        }
        let bare = matches!(flag, "sync" | "stop-with-stdin" | "with-files").then_some("on");
        let value = attached.or(bare).map(str::to_string).or_else(|| args.next());
        let value = value.ok_or_else(|| format!("--{name} needs a value; see --help"))?;
        if only.is_some() {
            shell_flags.insert(name.to_string(), value);
        } else if name == "config" {
            file = Some(value);
        } else {
            given.push(("--".to_string(), name.to_string(), value));
        }
    }

    let (mut config, mut mistakes) = (Config::default(), Vec::new());
    let in_file = file.map(|path| read_file(&path, &mut mistakes));
    for source in in_file.iter().chain([&given]) {
        apply(&mut config, source, &mut mistakes);
    }
    if config.listen_stdin && config.stop_with_stdin {
        mistakes.push("--listen stdin and --stop-with-stdin both need standard input".to_string());
    }
    let config = Box::new(config);
    if action != "check" && !mistakes.is_empty() {
        return Err(mistakes.join("\nplainftpd: "));
    }
    Ok(match action.as_str() {
        _ if is_shell => Request::Shell(config, words, shell_flags),
        "check" => Request::Check(config, mistakes),
        "hash-password" => Request::HashPassword(config),
        _ => Request::Serve(config),
    })
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// A setting that was given: where (for an error), its name, and its value.
type Given = (String, String, String);

/// The `name = value` lines of the file. Adds what is wrong with others to `mistakes`.
fn read_file(path: &str, mistakes: &mut Vec<String>) -> Vec<Given> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| {
        mistakes.push(format!("cannot read the configuration file {path}: {error}"));
        String::new()
    });
    let mut given = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (line, place) = (line.trim(), format!("{path}:{}: ", index + 1));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            mistakes.push(format!("{place}not of the form name = value"));
            continue;
        };
        given.push((place, name.trim().to_string(), value.trim().to_string()));
    }
    given
}

/// Applies the settings of one source, the file or the flags, over those of the source before it.
/// `listen` and `proxy-from` may be repeated within a source, and replace the addresses of the
/// source before it. Adds what cannot be applied to `mistakes`.
fn apply(config: &mut Config, given: &[Given], mistakes: &mut Vec<String>) {
    if given.iter().any(|(_, name, _)| name == "listen") {
        config.listen.clear();
        config.listen_stdin = false;
    }
    if given.iter().any(|(_, name, _)| name == "proxy-from") {
        config.proxy_from.clear();
    }
    let mut apply = |(place, name, value): &Given| {
        let setting =
            find(name).ok_or_else(|| format!("{place}unknown setting {name}; see --help"))?;
        let explain = |wanted| format!("{place}{name} needs {wanted}, not \"{value}\"");
        setting.value.set(config, value).map_err(explain)
    };
    mistakes.extend(given.iter().filter_map(|given| apply(given).err()));
}

/// The settings that `config` has, one line each.
pub fn effective(config: &mut Config) -> String {
    let line = |it: &Setting| format!("{} = {}\n", it.name, it.value.show(config));
    SETTINGS.iter().map(line).collect()
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "plainftpd: a file server for telnet, netcat and every FTP client\n\n\
         Usage: plainftpd [FLAG]...\n       plainftpd COMMAND [FLAG]...\n\n\
         Flags, with their defaults in brackets:\n",
    );
    let mut defaults = Config::default();
    for Setting { name, help, value } in SETTINGS {
        let ((form, range), default) = (value.form(), value.show(&mut defaults));
        text.push_str(&format!("  --{name} {form}\n        {help}{range} [{default}]\n"));
    }
    text.push_str(
        "  --config FILE\n        \
         read settings from FILE, one per line: name = value; a flag wins over the file\n  \
         --hash-password\n        \
         read a password from standard input, and print its hash for the users file\n  \
         --check\n        \
         start nothing; print what the server would do, and what is wrong\n  \
         --help, --version\n",
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
    fn without_flags_the_settings_have_their_defaults() {
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
    fn balancers_add_up_in_one_form_and_flags_replace_those_of_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "proxy-from = 10.0.0.1\nproxy-from=::1\n").unwrap();
        let path = file.path().to_str().unwrap();
        let balancers = |args: &[&str]| {
            let from = config(&[&["--config", path], args].concat()).proxy_from;
            from.iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(balancers(&[]), ["10.0.0.1", "::1"]);
        let flags = ["--proxy-from", "::ffff:10.0.0.3", "--proxy-from=2001:DB8::1"];
        assert_eq!(balancers(&flags), ["10.0.0.3", "2001:db8::1"]);
        let mut config = config(&flags);
        assert!(effective(&mut config).contains("\nproxy-from = 10.0.0.3, 2001:db8::1\n"));
        assert!(effective(&mut Config::default()).contains("\nproxy-from = no address\n"));
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
    fn a_mistake_on_the_command_line_is_explained_in_one_line() {
        for (args, text) in [
            (&["--nonsense"][..], "unknown flag --nonsense; see --help"),
            (&["2121"], "unknown argument \"2121\"; see --help"),
            (&["--dir"], "--dir needs a value; see --help"),
            (
                &["--proxy-from", "10.0.0.2:80"],
                "--proxy-from needs an IP address, such as 10.0.0.2, not \"10.0.0.2:80\"",
            ),
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
                "--listen needs an address with a port, such as 0.0.0.0:2121 or [::1]:2121, \
                 not \"2121\"",
            ),
        ] {
            assert_eq!(request(args), Err(text.to_string()));
        }
    }

    #[test]
    fn a_mistake_in_the_file_is_explained_with_its_line_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (text, mistake) in [
            ("\nwhat", "2: not of the form name = value"),
            (
                "passive-ports = 9-8",
                "1: passive-ports needs two ports from 1 to 65535, such as 40000-40100, \
                 not \"9-8\"",
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
    fn help_shows_every_flag() {
        assert_eq!(request(&["--max-clients", "--help"]).unwrap_err().lines().count(), 1);
        assert_eq!(request(&["--help"]), Ok(Request::Help));
        for setting in SETTINGS {
            assert!(help().contains(&format!("  --{} {}\n", setting.name, setting.value.form().0)));
        }
    }
}
