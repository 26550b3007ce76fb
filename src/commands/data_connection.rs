//! Commands that prepare transfers: TYPE, MODE, STRU, and the data connection (RFC 959 §4.1.2, RFC
//! 2428).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::data::{self, DataSetup, HostPort};
use crate::reply::Reply;
use crate::session::{Failure, Outcome, Session};

use super::args::Args;
use super::{Command, Parsed};

/// TYPE: `A`, `A N`, `I`, `L 8`, in any case and spacing.
pub fn parse_type(args: Args<'_>) -> Parsed {
    let letters: Vec<u8> =
        args.bytes.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
    match letters.to_ascii_uppercase().as_slice() {
        b"A" | b"AN" => Ok(Command::Representation { ascii: true }),
        b"I" | b"L8" => Ok(Command::Representation { ascii: false }),
        b"" => Err(args.usage()),
        _ => {
            let text = "TYPE is A (line endings are converted) or I (bytes stay as they are).";
            Err(Reply::new(504, text))
        }
    }
}

/// MODE and STRU. This server has one value of each, and refuses the others by 504 (RFC 959 §5.4).
pub fn parse_only(args: Args<'_>, letter: &[u8], text: &'static str) -> Parsed {
    match args.bytes.trim_ascii() {
        b"" => Err(args.usage()),
        given if given.eq_ignore_ascii_case(letter) => Ok(Command::Answer(200, text)),
        _ => Err(Reply::new(504, format!("Only this is possible: {text}")).because(text)),
    }
}

/// PORT and EPRT; `parse` reads the address.
pub fn parse_active(args: Args<'_>, parse: fn(&[u8]) -> Option<HostPort>) -> Parsed {
    parse(&args.rest_of_line()?).map(Command::Active).ok_or_else(|| args.usage())
}

/// EPSV: alone, with the number of an address family, or with `ALL`.
pub fn parse_epsv(args: Args<'_>) -> Parsed {
    match args.bytes.trim_ascii() {
        b"" => Ok(Command::ExtendedPassive(None)),
        all if all.eq_ignore_ascii_case(b"ALL") => Ok(Command::ExtendedPassiveOnly),
        _ => args.first_number().map(|family| Command::ExtendedPassive(Some(family))),
    }
}

/// TYPE.
pub fn representation(session: &mut Session, ascii: bool) -> Outcome {
    session.settings.ascii = ascii;
    let form = if ascii { "A: line endings are converted" } else { "I: bytes stay as they are" };
    Ok(Reply::new(200, format!("TYPE is {form}.")))
}

/// ABOR without a transfer: closes the prepared data connection; one 226.
pub fn abort(session: &mut Session) -> Outcome {
    session.settings.data = DataSetup::Unset;
    Ok(Reply::new(226, "Nothing to stop."))
}

/// Refuses all other commands of this kind after EPSV ALL (RFC 2428 §4).
fn not_after_epsv_all(session: &Session) -> Result<(), Failure> {
    if session.settings.only_epsv {
        return Err(Reply::new(501, "After EPSV ALL, only EPSV is possible.").into());
    }
    Ok(())
}

/// Whether data goes past the balancer, to the public address of this server.
fn is_apart(session: &Session) -> bool {
    session.is_proxied && session.server.config.public_address.is_some()
}

/// The server's address on the control connection, with the scope of an IPv6 link-local address.
/// All addresses for the client of a balancer if there is a public address, because the client
/// connects to that one.
fn local(session: &mut Session) -> Result<SocketAddr, Failure> {
    if is_apart(session) {
        return Ok(match session.peer.ip() {
            IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        });
    }
    let local = session.control.local().map_err(Failure::Lost)?;
    Ok(data::canonical(local))
}

/// Opens a port in place of the previous one; returns its number.
fn listen(session: &mut Session, local: SocketAddr) -> Result<u16, Failure> {
    session.settings.data = DataSetup::Unset; // frees the old port before it takes another
    let server = Arc::clone(&session.server);
    let account = session.account().map_or("", |account| &account.name);
    match server.passive_ports.listen(local, account) {
        Ok(Some((setup, port))) => {
            session.settings.data = setup;
            Ok(port)
        }
        Ok(None) => Err(Reply::new(425, HALF_HELD).into()),
        Err(error) => {
            let why = format!("no passive port could be opened: {error}");
            session.log_context.why = Some(why);
            Err(Reply::new(425, "No port could be opened; try again, or use PORT.").into())
        }
    }
}

const HALF_HELD: &str = "Your account holds half of the passive ports already; \
                         wait until a transfer of another session ends.";

/// PASV.
pub fn passive(session: &mut Session) -> Outcome {
    not_after_epsv_all(session)?;
    let local = local(session)?;
    let server = Arc::clone(&session.server);
    let public = server.config.public_address.as_deref();
    let peer = (!session.is_proxied).then_some(session.peer.ip());
    let Some(address) = data::announced(local.ip(), peer, public) else {
        if local.is_ipv4() {
            session.log_context.why = Some("the public address could not be resolved".to_string());
        }
        return Err(Reply::new(425, "PASV has no IPv4 address to offer; use EPSV.").into());
    };
    let port = listen(session, local)?;
    let ([a, b, c, d], [high, low]) = (address.octets(), port.to_be_bytes());
    Ok(Reply::new(227, format!("Entering Passive Mode ({a},{b},{c},{d},{high},{low}).")))
}

/// EPSV. `family` is the number of the address family that the client asks for.
pub fn extended_passive(session: &mut Session, family: Option<u64>) -> Outcome {
    if is_apart(session) && session.peer.is_ipv4() {
        // Its reply has no address (RFC 2428 §3), so the client would connect to the balancer.
        let text = "EPSV would lead you to the balancer; send PASV.";
        return Err(Reply::new(502, text).into());
    }
    let local = local(session)?;
    let own = family_of(local);
    if family.is_some_and(|family| family != u64::from(own)) {
        return Err(wrong_family(own));
    }
    let port = listen(session, local)?;
    Ok(Reply::new(229, format!("Entering Extended Passive Mode (|||{port}|)")))
}

/// EPSV ALL: the client will use no other command to set up a data connection (RFC 2428 §4).
pub fn extended_passive_only(session: &mut Session) -> Outcome {
    session.settings.only_epsv = true;
    Ok(Reply::new(200, "Only EPSV from now on."))
}

/// The number of the address family (RFC 2428 §2).
fn family_of(address: SocketAddr) -> u8 {
    if address.ip().to_canonical().is_ipv4() { 1 } else { 2 }
}

/// The 522 reply of RFC 2428 §2.
fn wrong_family(supported: u8) -> Failure {
    let reply = Reply::new(522, format!("Network protocol not supported, use ({supported})"));
    reply.because("not the address family of this connection").into()
}

/// PORT, EPRT: accepts only the client's own address, and no port below 1024 (RFC 2577 §3, §4).
pub fn active(session: &mut Session, place: HostPort) -> Outcome {
    not_after_epsv_all(session)?;
    if !session.server.config.active {
        let text =
            "The owner of this server has switched active connections off; send EPSV or PASV.";
        return Err(Reply::new(502, text).into());
    }
    let peer = session.peer;
    let family = family_of(peer);
    let HostPort::At(address) = place else { return Err(wrong_family(family)) };
    if family_of(address) != family {
        return Err(wrong_family(family));
    }
    let Some(own) = data::own_address(peer, address) else {
        session.log_context.why = Some(format!("asked to connect to {address}"));
        let text = "The server connects only to your own address, and to a port from 1024 up.";
        return Err(Reply::new(504, text).into());
    };
    session.settings.data = DataSetup::Active(own);
    Ok(Reply::new(200, format!("Port {} accepted.", own.port())))
}
