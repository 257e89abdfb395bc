//! A database whose values are encrypted.
use super::super::backend::{Applied, BackendError, Extent, LogRow, Outcome, Range, Row};
use super::super::{Backend, CommitError, Group, Key, Reads, Revision, Write};
use super::Encryption;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::SystemTime;

/// Any database behind a configuration.
pub struct Encrypted {
    inner: Arc<dyn Backend>,
    encryption: Arc<Encryption>,
}

impl Encrypted {
    /// A database whose values are encrypted as the configuration says.
    pub fn new(inner: Arc<dyn Backend>, encryption: Arc<Encryption>) -> Self {
        Self { inner, encryption }
    }

    /// The text of what is stored, which is noted; nothing where it cannot be read.
    async fn seen(&self, key: &Key, revision: Revision, stored: &Bytes) -> Option<Bytes> {
        let opened = self.encryption.open(key, stored).await;
        match opened {
            Ok((text, label)) => {
                self.encryption.ledger.seen(key, revision, Ok(label));
                Some(text)
            }
            Err(error) => {
                tracing::error!(key = key.as_str(), error, "a stored object cannot be decrypted");
                self.encryption.ledger.seen(key, revision, Err(error));
                None
            }
        }
    }

    /// The same of a value that is not the newest.
    async fn former(&self, key: &Key, stored: &Bytes) -> Option<Bytes> {
        self.encryption.open(key, stored).await.ok().map(|(text, _)| text)
    }

    /// Rows in the clear; what cannot be read is empty, which is no object.
    async fn rows(&self, mut rows: Vec<Row>) -> Vec<Row> {
        for row in &mut rows {
            row.value = self.seen(&row.key, row.revision, &row.value).await.unwrap_or_default();
        }
        rows
    }

    /// The group with its values sealed, and the label of each write.
    async fn sealed(&self, group: &Group) -> Result<(Group, Vec<Arc<str>>), CommitError> {
        let mut group = group.clone();
        let mut labels = Vec::with_capacity(group.writes.len());
        for write in &mut group.writes {
            let label = match write {
                Write::Put { key, value, .. } => {
                    let sealed = self.encryption.seal(key, value).await;
                    let (sealed, label) = sealed.map_err(CommitError::Invalid)?;
                    *value = sealed;
                    label
                }
                Write::Delete { .. } => "".into(),
            };
            labels.push(label);
        }
        Ok((group, labels))
    }

    /// Notes what a committed group has left.
    fn written(&self, group: &Group, labels: &[Arc<str>], applied: &[Applied]) {
        let ledger = &self.encryption.ledger;
        for ((write, label), applied) in group.writes.iter().zip(labels).zip(applied) {
            match write {
                Write::Put { key, .. } => ledger.seen(key, applied.revision, Ok(label.clone())),
                Write::Delete { key } => ledger.gone(key),
            }
        }
    }
}

#[async_trait]
impl Reads for Encrypted {
    async fn get(&self, key: &Key) -> Result<Option<Row>, BackendError> {
        let Some(mut row) = self.inner.get(key).await? else { return Ok(None) };
        row.value = self.encryption.open(key, &row.value).await.map_err(BackendError::Unavailable)?.0;
        Ok(Some(row))
    }

    async fn list(&self, range: &Range) -> Result<Vec<Row>, BackendError> {
        Ok(self.rows(self.inner.list(range).await?).await)
    }

    async fn list_at(&self, range: &Range, at: Revision) -> Result<Vec<Row>, BackendError> {
        Ok(self.rows(self.inner.list_at(range, at).await?).await)
    }

    async fn value(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        let value = match self.inner.value(revision).await? {
            Some(value) if value.starts_with(super::ENVELOPE) => value,
            other => return Ok(other),
        };
        // The key is in the log: only it opens the value.
        let before = Revision(revision.0.saturating_sub(1));
        let rows = self.inner.changes(before, 1).await?;
        match rows.first().filter(|row| row.revision == revision) {
            Some(row) => Ok(self.former(&row.key, &value).await),
            None => Ok(None),
        }
    }

    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<LogRow>, BackendError> {
        let mut rows = self.inner.changes(after, limit).await?;
        for row in &mut rows {
            match row.value.take() {
                // An object that can no longer be read is as good as gone.
                Some(value) => row.value = self.seen(&row.key, row.revision, &value).await,
                None => self.encryption.ledger.gone(&row.key),
            }
            if let Some((revision, value)) = row.previous.take() {
                row.previous = self.former(&row.key, &value).await.map(|text| (revision, text));
            }
        }
        Ok(rows)
    }

    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<Row>, BackendError> {
        let mut rows = self.inner.expired(now, limit).await?;
        for row in &mut rows {
            row.value = self.former(&row.key, &row.value).await.unwrap_or_default();
        }
        Ok(rows)
    }
}

#[async_trait]
impl Backend for Encrypted {
    async fn commit(&self, groups: &[Group]) -> Vec<Outcome> {
        let mut sealed = Vec::with_capacity(groups.len());
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(groups.len());
        let mut labels = Vec::with_capacity(groups.len());
        for group in groups {
            match self.sealed(group).await {
                Ok((group, of_writes)) => {
                    sealed.push(group);
                    labels.push(of_writes);
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        let committed = if sealed.is_empty() { Vec::new() } else { self.inner.commit(&sealed).await };
        for ((group, labels), outcome) in sealed.iter().zip(&labels).zip(&committed) {
            if let Ok(applied) = outcome {
                self.written(group, labels, applied);
            }
        }
        let mut committed = committed.into_iter();
        let lost = || Err(CommitError::Invalid("the database gave no outcome".to_owned()));
        outcomes
            .into_iter()
            .map(|outcome| outcome.or_else(|| committed.next()).unwrap_or_else(lost))
            .collect()
    }

    async fn extent(&self) -> Result<Extent, BackendError> {
        self.inner.extent().await
    }

    fn exclusive(&self) -> bool {
        self.inner.exclusive()
    }

    async fn notified(&self) {
        self.inner.notified().await;
    }

    async fn compact(&self, upto: Revision, limit: usize) -> Result<Revision, BackendError> {
        self.inner.compact(upto, limit).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.inner.probe().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
