//! Bringing commands to the kernel, and asking it what is there.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinError;

use super::command::{Commands, What};
use super::message::{self, chain, element, rule, set};
use super::ruleset::{Family, RuleSet};
use crate::netfilter::{Attributes, Message, Socket, attribute, attributes, text_of};

/// Why commands were not carried out, none of them, or why the kernel did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel cannot be asked.
    #[error("cannot speak to the kernel's nftables")]
    Socket(#[source] io::Error),
    /// The kernel refused a command, and with it all.
    #[error("the kernel refused `{command}`{words}")]
    Refused {
        /// The command as nft writes it.
        command: String,
        /// What else the kernel said, behind a blank.
        words: String,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// The thread that waits for the kernel ended.
    #[error("cannot wait for the kernel")]
    Thread(#[source] JoinError),
}

/// The kernel's nftables, in the network namespace of the thread that opened it.
///
/// It is opened once and kept: when such a socket is closed after a change, the kernel waits until all processors have
/// seen the change, which takes a hundred times as long as the change itself.
#[derive(Clone)]
pub struct Nft(Arc<Mutex<Socket>>);

/// A chain of somebody else, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Whether it drops what its rules do not decide.
    pub drops: bool,
    /// Numbers of its rules, with their comments.
    pub rules: Vec<(u64, String)>,
}

/// How much is in a table: rules by chain and elements by set, without sets that have no name of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Number of rules of each chain.
    pub chains: BTreeMap<String, usize>,
    /// Number of elements of each set.
    pub sets: BTreeMap<String, usize>,
}

impl Content {
    /// What a family's table has once the rules are there. What rules add to sets is not known.
    pub fn of(rules: &RuleSet, family: Family) -> Content {
        let mut content = Content::default();
        for fragment in rules.fragments() {
            let chains = fragment.chains.iter().filter(|((of, _), _)| *of == family);
            content.chains.extend(chains.map(|((_, name), chain)| (name.to_string(), chain.rules.len())));
            let sets = fragment.sets.iter().filter(|((of, _), set)| *of == family && set.timeout.is_none());
            content.sets.extend(sets.map(|((_, name), _)| (name.to_string(), 0)));
        }
        for (of, set, _) in rules.fragments().flat_map(|fragment| fragment.elements.keys()) {
            if *of == family {
                *content.sets.entry(set.to_string()).or_default() += 1;
            }
        }
        content
    }
}

impl Nft {
    /// Opens a way to the kernel.
    pub fn open() -> Result<Nft, Error> {
        Ok(Nft(Arc::new(Mutex::new(Socket::open().map_err(Error::Socket)?))))
    }

    /// Whether the kernel has nftables, and this process may change rules.
    pub fn check() -> Result<(), Error> {
        let socket = Socket::open().map_err(Error::Socket)?;
        // There is no such table, and an error that says so is what a kernel with nftables answers.
        let request = request(message::GET_TABLE, Family::V4, |a| a.text(1, "knarr-none"));
        match socket.get(&request) {
            Err(error) if error.raw_os_error() != Some(nix::libc::ENOENT) => Err(Error::Socket(error)),
            _ => Ok(()),
        }
    }

    /// Carries out all commands or none.
    pub async fn apply(&self, commands: &Commands<'_>) -> Result<(), Error> {
        if commands.is_empty() {
            return Ok(());
        }
        let batch = message::encode(commands);
        let refusals = self.wait(move |socket| socket.transact(&batch)).await?;
        // The kernel reports what follows from the first refusal, too.
        let Some(first) = refusals.into_iter().next() else { return Ok(()) };
        let text = usize::try_from(first.sequence).map(|at| commands.text(at)).unwrap_or_default();
        Err(Error::Refused {
            command: if text.is_empty() { "all of the rules together".to_owned() } else { text },
            words: if first.text.is_empty() { String::new() } else { format!(" ({})", first.text) },
            source: io::Error::from_raw_os_error(first.errno),
        })
    }

    /// Whether a chain exists.
    pub async fn has_chain(&self, family: Family, table: &str, name: &str) -> Result<bool, Error> {
        let request = request(message::GET_CHAIN, family, |a| {
            a.text(chain::TABLE, table);
            a.text(chain::NAME, name);
        });
        Ok(self.get(request).await?.is_some())
    }

    /// Deletes a table of both families, if it is there.
    pub async fn delete_table(&self, table: &str) -> Result<(), Error> {
        let mut commands = Commands::new(table);
        for family in Family::ALL {
            let request = request(message::GET_TABLE, family, |a| a.text(1, table));
            if self.get(request).await?.is_some() {
                // Made first, as somebody else may delete it meanwhile.
                commands.push(family, What::AddTable);
                commands.push(family, What::DeleteTable);
            }
        }
        self.apply(&commands).await
    }

    /// A chain of somebody else, if there is one.
    pub async fn foreign(&self, family: Family, table: &str, name: &str) -> Result<Option<Foreign>, Error> {
        let of_chain = |a: &mut Attributes<'_>| {
            a.text(chain::TABLE, table);
            a.text(chain::NAME, name);
        };
        let Some(found) = self.get(request(message::GET_CHAIN, family, of_chain)).await? else {
            return Ok(None);
        };
        let policy = attribute(&found.attributes, chain::POLICY).and_then(number);
        let of_rules = |a: &mut Attributes<'_>| {
            a.text(rule::TABLE, table);
            a.text(rule::CHAIN, name);
        };
        let rules = self.dump(request(message::GET_RULE, family, of_rules)).await?;
        let rules = rules.iter().filter_map(|found| {
            let handle = attribute(&found.attributes, rule::HANDLE)?;
            let handle = u64::from_be_bytes(handle.try_into().ok()?);
            let data = attribute(&found.attributes, rule::USER_DATA).unwrap_or_default();
            Some((handle, comment(data).unwrap_or_default()))
        });
        Ok(Some(Foreign { drops: policy == Some(chain::POLICY_DROP), rules: rules.collect() }))
    }

    /// How much is in a family's table; nothing if there is no such table.
    pub async fn content(&self, family: Family, table: &str) -> Result<Content, Error> {
        let mut content = Content::default();
        let of_table = |a: &mut Attributes<'_>| a.text(1, table);
        if self.get(request(message::GET_TABLE, family, of_table)).await?.is_none() {
            return Ok(content);
        }
        let ours = |found: &Message| attribute(&found.attributes, 1).map(text_of).is_some_and(|t| t == table);
        let name = |found: &Message, kind| attribute(&found.attributes, kind).map(text_of);
        let chains = self.dump(request(message::GET_CHAIN, family, of_table)).await?;
        let chains = chains.iter().filter(|found| ours(found)).filter_map(|found| name(found, chain::NAME));
        content.chains = chains.map(|name| (name, 0)).collect();
        for found in self.dump(request(message::GET_RULE, family, of_table)).await?.iter().filter(|m| ours(m))
        {
            *content.chains.entry(name(found, rule::CHAIN).unwrap_or_default()).or_default() += 1;
        }
        for found in self.dump(request(message::GET_SET, family, of_table)).await? {
            let flags = attribute(&found.attributes, set::FLAGS).and_then(number).unwrap_or_default();
            let Some(set) =
                name(&found, set::NAME).filter(|_| flags & (set::ANONYMOUS | set::EVALUATED) == 0)
            else {
                continue;
            };
            let of_set = |a: &mut Attributes<'_>| {
                a.text(element::TABLE, table);
                a.text(element::SET, &set);
            };
            let found = self.dump(request(message::GET_ELEMENTS, family, of_set)).await?;
            let lists = found.iter().filter_map(|found| attribute(&found.attributes, element::LIST));
            let count = lists.map(|list| attributes(list).count()).sum();
            content.sets.insert(set, count);
        }
        Ok(content)
    }

    /// Whether both tables of a name have as much as these rules.
    pub async fn holds(&self, table: &str, rules: &RuleSet) -> Result<bool, Error> {
        for family in Family::ALL {
            if self.content(family, table).await? != Content::of(rules, family) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn get(&self, request: Message) -> Result<Option<Message>, Error> {
        let get = move |socket: &Socket| match socket.get(&request) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => Ok(None),
            other => other,
        };
        self.wait(get).await
    }

    async fn dump(&self, request: Message) -> Result<Vec<Message>, Error> {
        self.wait(move |socket| socket.dump(&request)).await
    }

    /// Waits for the kernel on a thread that may.
    async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Socket) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let socket = self.0.clone();
        let asked = move || {
            let socket = socket.lock();
            // What is left of a request that failed half-way.
            socket.drain()?;
            work(&socket)
        };
        tokio::task::spawn_blocking(asked).await.map_err(Error::Thread)?.map_err(Error::Socket)
    }
}

fn request(kind: u16, family: Family, write: impl FnOnce(&mut Attributes<'_>)) -> Message {
    let mut attributes = Vec::new();
    write(&mut Attributes(&mut attributes));
    Message { kind, family: family.number(), attributes }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The comment in what nft keeps with a rule: entries of a type, a length and as many bytes.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == rule::COMMENT {
            return Some(text_of(value));
        }
        data = &rest[value.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_among_what_is_kept_with_a_rule() {
        let check = |data: &[u8], expected: Option<&str>| {
            assert_eq!(comment(data).as_deref(), expected, "{data:?}");
        };
        check(&[], None);
        check(b"\x00\x03ab\x00", Some("ab"));
        check(b"\x01\x04\x00\x00\x00\x00\x00\x02k\x00", Some("k"));
        check(b"\x01\x04\x00", None);
        check(b"\x00\x09ab\x00", None);
    }
}
