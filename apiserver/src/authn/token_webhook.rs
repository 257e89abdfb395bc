//! Tokens that a webhook knows (`--authentication-token-webhook-config-file`): it is sent a TokenReview.
use super::cache::Verdicts;
use crate::outbound::review::Webhook;
use crate::user::User;
use knarr_api::Value;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Time for all attempts of one review.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who it is and for which audiences; none: it is nobody's token.
type Verdict = Option<(Arc<User>, Vec<String>)>;

/// The webhook with what it said.
pub struct TokenWebhook {
    webhook: Webhook,
    version: String,
    hold: Duration,
    verdicts: Verdicts<Verdict>,
}

impl TokenWebhook {
    /// A webhook that is sent reviews of `version` and whose verdicts hold for `hold`.
    pub fn new(webhook: Webhook, version: &str, hold: Duration) -> Self {
        Self { webhook, version: version.to_owned(), hold, verdicts: Verdicts::default() }
    }

    /// The user of a token and the audiences of `wanted` it is for; `own` are those of this server, which a webhook
    /// that knows of no audiences means.
    ///
    /// # Errors
    /// The webhook did not answer, or says what is wrong with the token.
    pub async fn authenticate(
        &self,
        token: &str,
        wanted: &[String],
        own: &[String],
    ) -> Result<Verdict, String> {
        let key = self.verdicts.key(token, wanted);
        if let Some(verdict) = self.verdicts.get(&key) {
            return Ok(verdict);
        }
        let api_version = format!("authentication.k8s.io/{}", self.version);
        let mut review = json!({"kind": "TokenReview", "apiVersion": api_version,
            "metadata": {}, "spec": {"token": token}, "status": {"user": {}}});
        if !wanted.is_empty() {
            review["spec"]["audiences"] = json!(wanted);
        }
        let answer = self.webhook.review(&review, TIMEOUT).await?;
        let verdict = read(&answer["status"], wanted, own)?;
        self.verdicts.put(key, verdict.clone(), self.hold);
        Ok(verdict)
    }
}

fn read(status: &Value, wanted: &[String], own: &[String]) -> Result<Verdict, String> {
    if status["authenticated"] != true {
        return match status["error"].as_str().filter(|error| !error.is_empty()) {
            Some(error) => Err(error.to_owned()),
            None => Ok(None),
        };
    }
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let told = texts(&status["audiences"]);
    let meant = if told.is_empty() { own } else { &told };
    let common: Vec<String> = wanted.iter().filter(|audience| meant.contains(audience)).cloned().collect();
    if common.is_empty() && !wanted.is_empty() {
        return Ok(None);
    }
    let user = &status["user"];
    let text = |field: &str| user[field].as_str().unwrap_or_default().to_owned();
    let extra = user["extra"].as_object().into_iter().flatten();
    let user = User {
        name: text("username"),
        uid: text("uid"),
        groups: texts(&user["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    };
    Ok(Some((Arc::new(super::authenticated(user)), common)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let list = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let check = |status: Value, wanted: &[&str], expected: Result<Option<&[&str]>, &str>| {
            let found = read(&status, &list(wanted), &list(&["api"]));
            let found = found.map(|verdict| verdict.map(|(_, audiences)| audiences));
            let expected = expected.map(|all| all.map(list)).map_err(str::to_owned);
            assert_eq!(found, expected, "{status}");
        };
        let yes = |audiences: &[&str]| json!({"authenticated": true, "user": {"username": "u"}, "audiences": audiences});
        check(yes(&[]), &["api"], Ok(Some(&["api"])));
        check(yes(&["other"]), &["api"], Ok(None));
        check(yes(&["api", "other"]), &["other", "third"], Ok(Some(&["other"])));
        check(json!({"authenticated": false}), &["api"], Ok(None));
        check(json!({"error": "expired", "user": {"username": "u"}}), &["api"], Err("expired"));
    }
}
