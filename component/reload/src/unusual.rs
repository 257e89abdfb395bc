//! Certificates that webpki takes for nobody's but the original (Go's crypto/x509) does: those of X.509 version 1, as
//! `openssl x509 -req` made them for decades, those that say they are an authority's, as `openssl req -x509` makes
//! them, and those that are themselves trusted.
//!
//! They count where an authority has signed them itself; chains over intermediates are left to webpki.
use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client tells who it is.
    Client,
    /// A server does.
    Server,
}

/// The verdict on such a certificate, names aside; none for any other.
pub fn verdict(
    leaf: &CertificateDer<'_>,
    authorities: &[CertificateDer<'static>],
    purpose: Purpose,
    now: UnixTime,
) -> Option<Result<(), CertificateError>> {
    let is_trusted = authorities.iter().any(|authority| authority.as_ref() == leaf.as_ref());
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let is_first = parsed.version == X509Version::V1;
    if !is_trusted && !is_first && !parsed.is_ca() {
        return None;
    }
    Some(is_timely(&parsed, now).and_then(|()| is_for(&parsed, purpose)).and_then(|()| {
        let signed = || authorities.iter().any(|authority| has_signed(authority, &parsed, now));
        if is_trusted || signed() { Ok(()) } else { Err(CertificateError::UnknownIssuer) }
    }))
}

fn is_timely(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let seconds = i64::try_from(now.as_secs()).map_err(|_| CertificateError::BadEncoding)?;
    let time = ASN1Time::from_timestamp(seconds).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    if time < validity.not_before {
        return Err(CertificateError::NotValidYet);
    }
    if time > validity.not_after { Err(CertificateError::Expired) } else { Ok(()) }
}

fn is_for(certificate: &X509Certificate<'_>, purpose: Purpose) -> Result<(), CertificateError> {
    let usage = certificate.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    let fits = usage.is_none_or(|usage| {
        usage.value.any
            || match purpose {
                Purpose::Client => usage.value.client_auth,
                Purpose::Server => usage.value.server_auth,
            }
    });
    if fits { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
}

fn has_signed(authority: &CertificateDer<'_>, leaf: &X509Certificate<'_>, now: UnixTime) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority) else { return false };
    authority.subject().as_raw() == leaf.issuer().as_raw()
        && (authority.is_ca() || authority.version == X509Version::V1)
        && is_timely(&authority, now).is_ok()
        && leaf.verify_signature(Some(authority.public_key())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    /// In 2026.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000));

    fn params(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        change(&mut params);
        params
    }

    #[test]
    fn who_vouches_for_authorities() {
        let key = KeyPair::generate().unwrap();
        let named = |name: &str| params(|params| params.distinguished_name.push(DnType::CommonName, name));
        let root = named("root").self_signed(&key).unwrap().der().clone();
        let other = named("root").self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        let issuer = Issuer::new(named("root"), key);
        let check = |change: fn(&mut CertificateParams), purpose: Purpose, expected: &str| {
            let leaf = params(change).signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
            let told = verdict(leaf.der(), &[other.clone(), root.clone()], purpose, NOW);
            assert_eq!(format!("{told:?}"), expected);
        };
        check(|_| (), Purpose::Client, "Some(Ok(()))");
        check(|params| params.is_ca = IsCa::ExplicitNoCa, Purpose::Client, "None");
        check(|params| params.not_after = date_time_ymd(2021, 1, 1), Purpose::Client, "Some(Err(Expired))");
        check(
            |params| params.not_before = date_time_ymd(2039, 1, 1),
            Purpose::Client,
            "Some(Err(NotValidYet))",
        );
        let of_servers = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        };
        check(of_servers, Purpose::Client, "Some(Err(InvalidPurpose))");
        check(of_servers, Purpose::Server, "Some(Ok(()))");
        let foreign = params(|_| ()).self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        assert_eq!(
            verdict(&foreign, &[root], Purpose::Client, NOW),
            Some(Err(CertificateError::UnknownIssuer))
        );
        assert_eq!(verdict(&foreign, std::slice::from_ref(&foreign), Purpose::Client, NOW), Some(Ok(())));
    }

    /// `openssl req -x509 … -subj /CN=root`, with OpenSSL 3.0.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUBRWcnYtodDTljWxX1chuWPkZczIwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEcm9vdDAgFw0yNjExMjkyMjIwMDlaGA8yMTI2MTEwNTIyMjAw
OVowDzENMAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMk0
69AZEMDnXpYiwU16oFtRZV9sXlIj2Y/2+tx9l8xKhuhsl5aTkjJ3R7RaSD1g6pyk
7Fd1ZVW99JclUQToj+2jUzBRMB0GA1UdDgQWBBTlylgfKb7amSDXmid5DZK6ffro
TzAfBgNVHSMEGDAWgBTlylgfKb7amSDXmid5DZK6ffroTzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQC8u4V/c90DEb96yH1vVyhB2WTNwhkQzdqc
f7HU7q/Z8AIhALDLDuTZBGScqfNofHDaBC5Fi0HJW8RWyIiuGdD3NlEF
-----END CERTIFICATE-----";

    /// `openssl x509 -req -in john.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 36500`.
    const LEAF: &str = "-----BEGIN CERTIFICATE-----
MIIBKTCB0AIUIDXQjsp9cwle+jynq2Hd2qjfx2kwCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEcm9vdDAgFw0yNjExMjkyMjIwMDlaGA8yMTI2MTEwNTIyMjAwOVowHjEN
MAsGA1UEAwwEam9objENMAsGA1UECgwEZGV2czBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABJfc7jn7Q+eEHHVmIca0B1e8v9nlzWcWqFugqFstnlmquf9E/RchUFKa
TOwoAFsul1+wybpJ+j2+TjTidOgYyVcwCgYIKoZIzj0EAwIDSAAwRQIhANFxU+aS
ucBw9GH2C4+e1s79sX3dE+lnA1isq7207Mb9AiA/L5Y+8A2vv1o6Gf+FtHB6izcd
SCRSVOkDNyO6WiJ4Rg==
-----END CERTIFICATE-----";

    #[test]
    fn version_one() {
        let [authority, leaf] =
            [AUTHORITY, LEAF].map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        // In 2030.
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
        assert_eq!(verdict(&leaf, &[authority], Purpose::Client, now), Some(Ok(())));
        assert_eq!(verdict(&leaf, &[], Purpose::Client, now), Some(Err(CertificateError::UnknownIssuer)));
    }
}
