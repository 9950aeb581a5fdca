//! How connections leave this machine: what programs know from everywhere else, so that the
//! variables have common names. The same for every program of ours, and written down once.

use std::fmt;
use std::path::PathBuf;

use super::Aws;
use crate::config::Variables;

/// A variable about connections: its name, and what it means.
pub const NETWORK_VARIABLES: [(&str, &str); 9] = [
    (HTTPS_PROXY.0, "the proxy for `https` URLs"),
    (HTTPS_PROXY.1, "the same; `HTTPS_PROXY` wins"),
    (
        HTTP_PROXY.0,
        "the proxy for `http` URLs; ignored where `REQUEST_METHOD` is set, because there a remote client chose it",
    ),
    (HTTP_PROXY.1, "the same; `HTTP_PROXY` wins"),
    (
        NO_PROXY.0,
        "hosts that are reached directly, separated by commas: domains with their subdomains, addresses, ranges such as `10.0.0.0/8`, each perhaps with a port, or `*`; this machine always is",
    ),
    (NO_PROXY.1, "the same; `NO_PROXY` wins"),
    (REQUEST_METHOD, "set by web servers for the programs they start"),
    (
        SSL_CERT_FILE,
        "a PEM file of certificate authorities, trusted beside the system's; one that cannot be used is named by `doctor`, and stops nothing",
    ),
    (SSL_CERT_DIR, "directories of such files, separated as in `PATH`; the same"),
];

const HTTPS_PROXY: (&str, &str) = ("HTTPS_PROXY", "https_proxy");
const HTTP_PROXY: (&str, &str) = ("HTTP_PROXY", "http_proxy");
const NO_PROXY: (&str, &str) = ("NO_PROXY", "no_proxy");
const REQUEST_METHOD: &str = "REQUEST_METHOD";
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
const SSL_CERT_DIR: &str = "SSL_CERT_DIR";

/// Proxies and certificates.
#[derive(Clone, Default)]
pub struct Network {
    /// The proxy for `https` URLs.
    pub https_proxy: Option<String>,
    /// The proxy for `http` URLs.
    pub http_proxy: Option<String>,
    /// Hosts that are reached directly: domains with their subdomains, addresses, CIDR ranges,
    /// or `*`.
    pub no_proxy: Vec<String>,
    /// The certificate authorities named by `SSL_CERT_FILE`, beside the system's.
    pub ssl_cert_file: Option<PathBuf>,
    /// Directories of certificate authorities named by `SSL_CERT_DIR`, beside the system's.
    pub ssl_cert_dirs: Vec<PathBuf>,
    /// Where a macOS build without the system's framework keeps what `security` said.
    pub remembered_roots: Option<PathBuf>,
    /// What repositories in S3 are asked with.
    pub aws: Aws,
}

impl fmt::Debug for Network {
    /// Shows whether there are proxies, not their URLs: passwords stand in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("https_proxy", &self.https_proxy.is_some())
            .field("http_proxy", &self.http_proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .field("ssl_cert_file", &self.ssl_cert_file)
            .field("ssl_cert_dirs", &self.ssl_cert_dirs)
            .field("remembered_roots", &self.remembered_roots)
            .field("aws", &self.aws)
            .finish()
    }
}

impl Network {
    /// Decides from a program's environment. A variable that is set to nothing counts as not set.
    pub fn of(variables: &dyn Variables) -> Result<Self, NotText> {
        let path = |name| variables.variable(name).filter(|value| !value.is_empty());
        let text = |name: &'static str| -> Result<Option<String>, NotText> {
            let text = path(name).map(|value| value.to_str().ok_or(NotText { name }));
            Ok(text.transpose()?.map(str::to_owned))
        };
        let first = |(upper, lower)| Ok(text(upper)?.or(text(lower)?));
        let no_proxy = first(NO_PROXY)?.unwrap_or_default();
        let hosts = no_proxy.split(',').map(str::trim).filter(|host| !host.is_empty());
        let directories = path(SSL_CERT_DIR).into_iter().flat_map(std::env::split_paths);
        Ok(Self {
            https_proxy: first(HTTPS_PROXY)?,
            // A web server turns the header `Proxy` of any request into this variable.
            http_proxy: if path(REQUEST_METHOD).is_some() {
                text(HTTP_PROXY.1)?
            } else {
                first(HTTP_PROXY)?
            },
            no_proxy: hosts.map(str::to_owned).collect(),
            ssl_cert_file: path(SSL_CERT_FILE).map(PathBuf::from),
            ssl_cert_dirs: directories.filter(|path| !path.as_os_str().is_empty()).collect(),
            remembered_roots: None,
            aws: Aws::of(variables),
        })
    }
}

/// A variable is not text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable `{name}` is not UTF-8 text")]
pub struct NotText {
    /// Its name.
    pub name: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use super::*;

    fn network(variables: &[(&'static str, &str)]) -> Network {
        let set = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        Network::of(&set.collect::<BTreeMap<_, _>>()).unwrap()
    }

    #[test]
    fn upper_case_wins_and_nothing_is_nothing() {
        let found = network(&[
            ("HTTPS_PROXY", ""),
            ("https_proxy", "lower"),
            ("HTTP_PROXY", "upper"),
            ("http_proxy", "lower"),
            ("NO_PROXY", " a.test ,, b.test"),
            ("SSL_CERT_FILE", ""),
            ("SSL_CERT_DIR", "/one::/two"),
        ]);
        assert_eq!(found.https_proxy.as_deref(), Some("lower"));
        assert_eq!(found.http_proxy.as_deref(), Some("upper"));
        assert_eq!(found.no_proxy, ["a.test", "b.test"]);
        assert_eq!(found.ssl_cert_file, None);
        assert_eq!(found.ssl_cert_dirs, ["/one", "/two"].map(PathBuf::from));
    }

    #[test]
    fn what_a_remote_client_can_set_is_not_taken_from_a_web_server() {
        let set = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "evil"), ("http_proxy", "good")];
        assert_eq!(network(&set).http_proxy.as_deref(), Some("good"));
        assert_eq!(network(&set[..2]).http_proxy, None);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_text_is_named() {
        use std::os::unix::ffi::OsStringExt as _;
        let set = BTreeMap::from([("no_proxy".to_owned(), OsString::from_vec(vec![0xFF]))]);
        assert_eq!(Network::of(&set).unwrap_err(), NotText { name: "no_proxy" });
    }
}
