//! A certificate in DER, with the subject and key of a request byte for byte.
//!
//! Source: RFC 5280, section 4; X.690 for the encoding.

use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
};

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;

/// What a certificate says beside what the request says.
pub(super) struct Contents<'a> {
    /// A positive number, big end first.
    pub serial: [u8; 16],
    /// Name of the authority in DER.
    pub issuer: &'a [u8],
    /// Key identifier of the authority, if it has one.
    pub authority: Option<&'a [u8]>,
    pub from: Timestamp,
    pub until: Timestamp,
    pub usages: &'a [&'a str],
}

/// One value with its tag and length.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|first| *first >= 0x80) {
        content.insert(0, 0);
    }
    value(INTEGER, &content)
}

/// Years from 2050 on have four digits.
fn time(at: Timestamp) -> Vec<u8> {
    let long = at.strftime("%Y%m%d%H%M%SZ").to_string();
    match long.as_str() < "2050" {
        true => value(0x17, &long.as_bytes()[2..]),
        false => value(0x18, long.as_bytes()),
    }
}

fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let flag = if critical { value(0x01, &[0xff]) } else { Vec::new() };
    sequence(&[value(OID, oid), flag, value(OCTETS, content)])
}

/// Bits of a set of numbers, the first bit being the highest.
fn bits(set: &[u32]) -> Vec<u8> {
    let word = set.iter().fold(0_u16, |word, bit| word | (0x8000 >> bit));
    let highest = set.iter().max().copied().unwrap_or_default();
    let length = (highest / 8 + 1) as usize;
    let unused = (length as u32 * 8 - 1 - highest) as u8;
    let mut content = vec![unused];
    content.extend_from_slice(&word.to_be_bytes()[..length]);
    value(BITS, &content)
}

/// The bit of a basic usage.
fn basic_usage(usage: &str) -> Option<u32> {
    Some(match usage {
        "signing" | "digital signature" => 0,
        "content commitment" => 1,
        "key encipherment" => 2,
        "data encipherment" => 3,
        "key agreement" => 4,
        "cert sign" => 5,
        "crl sign" => 6,
        "encipher only" => 7,
        "decipher only" => 8,
        _ => return None,
    })
}

/// The identifier of an extended usage.
fn extended_usage(usage: &str) -> Option<Vec<u8>> {
    let purpose = |last: u8| vec![0x2b, 6, 1, 5, 5, 7, 3, last];
    Some(match usage {
        "any" => vec![0x55, 0x1d, 0x25, 0],
        "server auth" => purpose(1),
        "client auth" => purpose(2),
        "code signing" => purpose(3),
        "email protection" | "s/mime" => purpose(4),
        "ipsec end system" => purpose(5),
        "ipsec tunnel" => purpose(6),
        "ipsec user" => purpose(7),
        "timestamping" => purpose(8),
        "ocsp signing" => purpose(9),
        "microsoft sgc" => vec![0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3],
        "netscape sgc" => vec![0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1],
        _ => return None,
    })
}

/// The alternative names that a request may be given: names, addresses, mail addresses and URIs.
fn names(request: &X509CertificationRequest<'_>) -> Vec<u8> {
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(found) = extension else { continue };
        for name in &found.general_names {
            match name {
                GeneralName::RFC822Name(text) => names.extend(value(0x81, text.as_bytes())),
                GeneralName::DNSName(text) => names.extend(value(0x82, text.as_bytes())),
                GeneralName::URI(text) => names.extend(value(0x86, text.as_bytes())),
                GeneralName::IPAddress(address) => names.extend(value(0x87, address)),
                _ => {}
            }
        }
    }
    names
}

fn extensions(request: &X509CertificationRequest<'_>, contents: &Contents<'_>) -> Result<Vec<u8>, String> {
    let (mut basic, mut extended, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for usage in contents.usages {
        match (basic_usage(usage), extended_usage(usage)) {
            (Some(bit), _) => basic.push(bit),
            (None, Some(oid)) => extended.extend(value(OID, &oid)),
            (None, None) => unknown.push(format!("{usage:?}")),
        }
    }
    if !unknown.is_empty() {
        return Err(format!("unrecognized usage values: [{}]", unknown.join(" ")));
    }
    let mut all = Vec::new();
    if !basic.is_empty() {
        all.push(extension(&[0x55, 0x1d, 0x0f], true, &bits(&basic)));
    }
    if !extended.is_empty() {
        all.push(extension(&[0x55, 0x1d, 0x25], false, &value(SEQUENCE, &extended)));
    }
    // No authority.
    all.push(extension(&[0x55, 0x1d, 0x13], true, &sequence(&[])));
    if let Some(key) = contents.authority {
        all.push(extension(&[0x55, 0x1d, 0x23], false, &sequence(&[value(0x80, key)])));
    }
    let names = names(request);
    if !names.is_empty() {
        // Critical where the subject is empty, since then nothing else says whose it is.
        let subject = request.certification_request_info.subject.as_raw();
        all.push(extension(&[0x55, 0x1d, 0x11], subject == [SEQUENCE, 0], &value(SEQUENCE, &names)));
    }
    Ok(value(0xa3, &sequence(&all)))
}

/// The identifier of the algorithm by which a key signs.
fn algorithm(key: &KeyPair) -> Result<Vec<u8>, String> {
    let ecdsa = |last: u8| sequence(&[value(OID, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last])]);
    let known = key.algorithm();
    if known == &rcgen::PKCS_ECDSA_P256_SHA256 {
        Ok(ecdsa(2))
    } else if known == &rcgen::PKCS_ECDSA_P384_SHA384 {
        Ok(ecdsa(3))
    } else if known == &rcgen::PKCS_ED25519 {
        Ok(sequence(&[value(OID, &[0x2b, 0x65, 0x70])]))
    } else if known == &rcgen::PKCS_RSA_SHA256 {
        let oid = value(OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]);
        Ok(sequence(&[oid, value(0x05, &[])]))
    } else {
        Err("the authority's key is of a kind that is not supported".to_string())
    }
}

/// The certificate of a request.
pub(super) fn certificate(
    request: &X509CertificationRequest<'_>,
    contents: &Contents<'_>,
    key: &KeyPair,
) -> Result<Vec<u8>, String> {
    let info = &request.certification_request_info;
    let algorithm = algorithm(key)?;
    let body = sequence(&[
        value(0xa0, &integer(&[2])),
        integer(&contents.serial),
        algorithm.clone(),
        contents.issuer.to_vec(),
        sequence(&[time(contents.from), time(contents.until)]),
        info.subject.as_raw().to_vec(),
        info.subject_pki.raw.to_vec(),
        extensions(request, contents)?,
    ]);
    let signature = key.sign(&body).map_err(|error| error.to_string())?;
    let mut signature_bits = vec![0];
    signature_bits.extend_from_slice(&signature);
    Ok(sequence(&[body, algorithm, value(BITS, &signature_bits)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_numbers_and_times() {
        assert_eq!(value(OCTETS, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(value(OCTETS, &[7; 200])[..4], [4, 0x81, 200, 7]);
        assert_eq!(value(OCTETS, &[7; 300])[..5], [4, 0x82, 1, 44, 7]);
        assert_eq!(integer(&[0, 0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 1, 2]), [2, 2, 1, 2]);
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(bits(&[0, 2]), [3, 2, 5, 0xa0]);
        assert_eq!(bits(&[8]), [3, 3, 7, 0, 0x80]);
        let text = |at: &str| time(at.parse().unwrap());
        assert_eq!(text("2049-12-31T23:59:59Z"), value(0x17, b"491231235959Z"));
        assert_eq!(text("2050-01-01T00:00:00Z"), value(0x18, b"20500101000000Z"));
    }
}
