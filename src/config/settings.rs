//! The settings, one row each: the name of the flag, its help text, and how its value is read and
//! shown.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Config, MOST_ITERATIONS, Registration};

/// A setting: a flag with a value, and a name in the configuration file.
pub struct Setting {
    /// The name of the flag, without its dashes.
    pub name: &'static str,
    /// What it sets, for `--help`.
    pub help: &'static str,
    /// How its value is read and shown.
    pub value: Value,
}

/// How a setting is read and shown.
pub enum Value {
    /// A number within a range.
    Number(RangeInclusive<usize>, fn(&mut Config) -> &mut usize),
    /// Whole seconds, from 1 to a day.
    Seconds(fn(&mut Config) -> &mut Duration),
    /// A number of bytes with an optional suffix, or `none`.
    Size(fn(&mut Config) -> &mut Option<u64>),
    /// One of two words. The first one sets true.
    Choice([&'static str; 2], fn(&mut Config) -> &mut bool),
    /// Any other form: its name, how it is set (an error says what is wanted), and how it is shown.
    Other(&'static str, fn(&mut Config, &str) -> Result<(), String>, fn(&Config) -> String),
}

use Value::{Choice, Number, Other, Seconds, Size};

const fn setting(name: &'static str, help: &'static str, value: Value) -> Setting {
    Setting { name, help, value }
}

const MOST_CLIENTS: usize = 15_000;
const MOST_SECONDS: u64 = 86_400;

pub const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        "address and port to listen on, such as 0.0.0.0:2121, or [::]:2121 for IPv6 and IPv4; \
         stdin if standard input is a listening socket; may be repeated",
        Other("ADDR", set_listen, |config| {
            let stdin = config.listen_stdin.then(|| "stdin".to_string());
            let addresses = config.listen.iter().map(SocketAddr::to_string);
            addresses.chain(stdin).collect::<Vec<_>>().join(", ")
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
        "node",
        "name of this server, if several servers share the folder; its log is log.NAME.txt",
        Other("NAME", set_node, |config| config.node.clone().unwrap_or("none".to_string())),
    ),
    setting(
        "registration",
        "who may create an account: every client, none, or those that know SECRET",
        Other("open|closed|code:SECRET", set_registration, |config| match &config.registration {
            Registration::Open => "open".to_string(),
            Registration::Closed => "closed".to_string(),
            Registration::Code(_) => "code:(not shown)".to_string(),
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
        "failed logins in a row that end a session; after this number from one address, each \
         further one waits longer",
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
        Size(|config| &mut config.quota),
    ),
    setting(
        "sync",
        "whether a file and its folder are synced to the disk before an upload is acknowledged; \
         --sync alone means on",
        Choice(["on", "off"], |config| &mut config.sync),
    ),
    setting(
        "partial-uploads",
        "what happens to an interrupted upload under a new name",
        Choice(["keep", "discard"], |config| &mut config.keep_partial),
    ),
    setting(
        "stall-timeout",
        "how long a transfer may make no progress",
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
        "whether PORT and EPRT are allowed; set it to off if clients come through a tunnel",
        Choice(["on", "off"], |config| &mut config.active),
    ),
    setting(
        "log",
        "where the log goes: the file log.txt, or - for standard output",
        Choice(["-", "log.txt"], |config| &mut config.log_to_stdout),
    ),
    setting(
        "log-size",
        "size, such as 10M, at which log.txt becomes log.txt.1",
        Size(|config| &mut config.rotation.size),
    ),
    setting(
        "log-keep",
        "how many old log files stay",
        Number(1..=1000, |config| &mut config.rotation.keep),
    ),
    setting(
        "stop-with-stdin",
        "whether the server stops when standard input ends, for test runners and supervisors; \
         --stop-with-stdin alone means on",
        Choice(["on", "off"], |config| &mut config.stop_with_stdin),
    ),
    setting(
        "public-address",
        "address or name by which clients from outside reach this server behind a NAT",
        Other("ADDR", set_public_address, |config| {
            config.public_address.clone().unwrap_or("the one they reached".to_string())
        }),
    ),
    setting(
        "proxy-from",
        "address of a balancer, such as HAProxy or stunnel, whose connections begin with a line of \
         the PROXY protocol, version 1; may be repeated",
        Other("ADDR", set_proxy_from, |config| match config.proxy_from.as_slice() {
            [] => "no address".to_string(),
            balancers => balancers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
        }),
    ),
];

impl Value {
    /// The form of the value, and its range, for `--help`.
    pub fn form(&self) -> (String, String) {
        match self {
            Number(range, _) => ("N".into(), format!(", {} to {}", range.start(), range.end())),
            Seconds(_) => ("SECONDS".into(), format!(", 1 to {MOST_SECONDS}")),
            Size(_) => ("SIZE".into(), String::new()),
            Choice(words, _) => (words.join("|"), String::new()),
            Other(form, ..) => (form.to_string(), String::new()),
        }
    }

    /// The value that `config` has, in the form in which the owner of the server would write it.
    pub fn show(&self, config: &mut Config) -> String {
        match self {
            Number(_, field) => field(config).to_string(),
            Seconds(field) => field(config).as_secs().to_string(),
            Size(field) => field(config).map_or("none".to_string(), |bytes| bytes.to_string()),
            Choice([yes, no], field) => (if *field(config) { yes } else { no }).to_string(),
            Other(_, _, show) => show(config),
        }
    }

    /// Sets the value in `config`. An error says what is wanted.
    pub fn set(&self, config: &mut Config, value: &str) -> Result<(), String> {
        match self {
            Number(range, field) => *field(config) = number(value, *range.start(), *range.end())?,
            Seconds(field) => *field(config) = Duration::from_secs(number(value, 1, MOST_SECONDS)?),
            Size(field) if value == "none" => *field(config) = None,
            Size(field) => {
                *field(config) = Some(parse_size(value).ok_or("a size such as 500M, or none")?);
            }
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
    if value == "stdin" {
        config.listen_stdin = true;
        return Ok(());
    }
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

fn set_node(config: &mut Config, value: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if value.is_empty() || value.len() > 32 || !value.bytes().all(is_allowed) {
        return Err("a name of up to 32 letters, digits, _ and -".to_string());
    }
    config.node = Some(value.to_string());
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

fn set_proxy_from(config: &mut Config, value: &str) -> Result<(), String> {
    let address: Result<IpAddr, _> = value.parse();
    config.proxy_from.push(address.map_err(|_| "an IP address, such as 10.0.0.2")?.to_canonical());
    Ok(())
}

fn not_empty<'v>(value: &'v str, wanted: &str) -> Result<&'v str, String> {
    if value.is_empty() { Err(wanted.to_string()) } else { Ok(value) }
}

fn number<T>(value: &str, least: T, most: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    match value.parse::<T>() {
        Ok(n) if n >= least && n <= most => Ok(n),
        _ => Err(format!("a number from {least} to {most}")),
    }
}

/// Reads a number of bytes with an optional suffix K, M, G or T (powers of 1,024).
pub fn parse_size(text: &str) -> Option<u64> {
    let suffixes = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
    let found =
        suffixes.iter().find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?, *shift)));
    let (digits, shift) = found.unwrap_or((text, 0));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
