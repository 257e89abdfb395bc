//! `--token-auth-file`: lines of `token,user,uid[,"group1,group2"]`.
use super::authenticated;
use crate::user::User;
use std::collections::HashMap;
use std::sync::Arc;

/// Reads the file's text.
///
/// # Errors
/// The line that has fewer than three columns or an empty token.
pub fn parse(text: &str) -> Result<HashMap<String, Arc<User>>, String> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let columns = columns(line);
        let [token, name, uid, rest @ ..] = &columns[..] else {
            return Err(format!("line {}: token, user name and uid are required", number + 1));
        };
        if token.is_empty() {
            return Err(format!("line {}: the token is empty", number + 1));
        }
        let groups = rest.first().map(String::as_str).unwrap_or_default();
        let groups = groups.split(',').map(str::trim).filter(|g| !g.is_empty()).map(str::to_owned).collect();
        let user = User { name: name.clone(), uid: uid.clone(), groups, ..User::default() };
        users.insert(token.clone(), Arc::new(authenticated(user)));
    }
    Ok(users)
}

/// Comma-separated columns; a quoted one may hold commas.
fn columns(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c => columns.last_mut().into_iter().for_each(|column| column.push(c)),
        }
    }
    columns.into_iter().map(|column| column.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let users = parse("t1,ann,1,\"dev,ops\"\n\nt2, bob ,2\n").unwrap();
        assert_eq!(users["t1"].groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!((users["t2"].name.as_str(), users["t2"].uid.as_str()), ("bob", "2"));
        assert!(parse("t1,ann").is_err() && parse(",ann,1").is_err());
    }
}
