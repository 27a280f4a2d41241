//! Which proxy is asked.

use ureq::{Proxy, ProxyProtocol};

use super::HttpError;

/// The variables, the first that is set counts. As curl has it, for a server that is asked by TLS.
const PROXY: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// Who is asked without.
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Returns the proxy that the environment names.
///
/// # Errors
/// It is of another kind than HTTP.
pub(crate) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, HttpError> {
    let first = |names: &[&'static str]| {
        let set = names.iter().map(|name| (*name, variable(name).unwrap_or_default()));
        set.into_iter().find(|(_, value)| !value.trim().is_empty())
    };
    let without = first(&NO_PROXY).map(|(_, value)| value).unwrap_or_default();
    let without: Vec<&str> = without.split([',', ' ']).filter(|host| !host.is_empty()).collect();
    let Some((name, value)) = first(&PROXY).filter(|_| !without.contains(&"*")) else { return Ok(None) };
    let unusable = |_| HttpError::Proxy(name);
    let named = Proxy::new(value.trim()).map_err(unusable)?;
    if !matches!(named.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(HttpError::Proxy(name));
    }
    let mut proxy = Proxy::builder(named.protocol()).host(named.host()).port(named.port());
    if let Some(user) = named.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = named.password() {
        proxy = proxy.password(password);
    }
    // curl: a name is that of all hosts below it too.
    for host in without {
        let host = host.trim_start_matches("*.").trim_start_matches('.');
        proxy = proxy.no_proxy(host).no_proxy(&format!(".{host}"));
    }
    proxy.build().map(Some).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Result<Option<Proxy>, HttpError> {
        of_environment(|name| {
            set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn asked(set: &[(&str, &str)]) -> Option<String> {
        of(set).unwrap().map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn the_proxy_is_the_one_that_curl_would_ask() {
        let all = ("ALL_PROXY", "http://all:1");
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&[("http_proxy", "http://plain:1"), ("https_proxy", "")]), None);
        assert_eq!(asked(&[all]).as_deref(), Some("all:1"));
        assert_eq!(asked(&[all, ("https_proxy", "tls:2")]).as_deref(), Some("tls:2"));
        assert_eq!(asked(&[all, ("no_proxy", "*")]), None);
        let named =
            of(&[("all_proxy", "http://u:p%40@a:1"), ("no_proxy", "b.org, .c.org")]).unwrap().unwrap();
        assert_eq!((named.username(), named.password()), (Some("u"), Some("p@")));
        let directly = |host: &str| named.is_no_proxy(&format!("https://{host}/x").parse().unwrap());
        assert!(["b.org", "a.b.org", "c.org", "a.c.org"].into_iter().all(directly));
        assert!(!["xb.org", "org", "a"].into_iter().any(directly));
    }

    #[test]
    fn a_proxy_that_cannot_be_asked_is_not_passed_over() {
        for value in ["socks5://127.0.0.1:1080", "socks5h://a", "ftp://a", "http://", "://"] {
            let refused = of(&[("all_proxy", value)]).unwrap_err().to_string();
            assert!(refused.contains("all_proxy") && refused.contains("http://"), "{value}: {refused}");
            assert!(asked(&[("all_proxy", value), ("no_proxy", "*")]).is_none());
        }
    }
}
