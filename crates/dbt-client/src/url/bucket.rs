//! Places in S3 buckets: `s3://bucket/prefix`, and the URLs that Amazon and the reference write
//! (wire formats, 5.9).

use std::fmt;
use std::str::FromStr;

use super::{Origin, Reason, Scheme, escaped, unescaped};

/// A bucket, and how it is reached.
///
/// Equal buckets that are written differently are equal here; a bucket of the same name at another
/// endpoint is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket {
    name: String,
    region: Option<Region>,
    endpoint: Option<Origin>,
    style: Option<Style>,
    profile: Option<String>,
}

/// A region of AWS, or what another store calls so: safe to be a part of a host's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(String);

/// Where a request names the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Style {
    /// In its path: `https://endpoint/bucket/key`.
    Path,
    /// In its host: `https://bucket.endpoint/key`.
    Host,
}

/// The options that may stand in the query of an `s3` URL.
const OPTIONS: [&str; 4] = ["region", "endpoint", "style", "profile"];

impl Bucket {
    /// Reads what stands after `s3:`; returns the bucket and the path in it, escaped as written.
    pub(super) fn read(rest: &str) -> Result<(Self, &str), Reason> {
        let rest = rest.strip_prefix("//").ok_or(Reason::NoBucket)?;
        if rest.contains('#') {
            return Err(Reason::Fragment);
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        if name.contains('@') {
            return Err(Reason::UserInfo);
        }
        let mut bucket = Self::named(name)?;
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').ok_or(Reason::BucketOption)?;
            bucket.set(key, value)?;
        }
        Ok((bucket, path))
    }

    /// Reads a host of Amazon's and the path behind it; nothing where the host is not one of S3's.
    pub(super) fn of_host<'a>(
        host: &str,
        path: &'a str,
    ) -> Option<Result<(Self, &'a str), Reason>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let (host, _china) = match host.strip_suffix(".cn") {
            Some(host) => (host, true),
            None => (host, false),
        };
        let labels: Vec<&str> = host.strip_suffix(".amazonaws.com")?.split('.').collect();
        let at = labels.iter().rposition(|label| is_service(label))?;
        let (before, rest) = (labels.get(..at)?, labels.get(at..)?);
        Some(Self::of_labels(before, rest, path))
    }

    fn of_labels<'a>(
        before: &[&str],
        rest: &[&str],
        path: &'a str,
    ) -> Result<(Self, &'a str), Reason> {
        let (mut bucket, path) = if before.is_empty() {
            let path = path.strip_prefix('/').unwrap_or(path);
            let (name, path) = path.split_at(path.find('/').unwrap_or(path.len()));
            (Self::named(name)?, path)
        } else {
            (Self::named(&before.join("."))?, path)
        };
        match rest {
            ["s3"] => {}
            ["s3", region] => bucket.region = Some(region.parse()?),
            ["s3", "dualstack", region] => {
                let region: Region = region.parse()?;
                let host = format!("s3.dualstack.{region}.{}", region.domain());
                bucket.endpoint = Some(Origin::parse(Scheme::Https, &host)?);
                bucket.style = Some(Style::Host);
                bucket.region = Some(region);
            }
            [legacy] => {
                let region = legacy.strip_prefix("s3-").ok_or(Reason::NoBucket)?;
                bucket.region = Some(region.parse()?);
            }
            _ => return Err(Reason::BucketHost),
        }
        Ok((bucket, path))
    }

    fn named(name: &str) -> Result<Self, Reason> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !begins_well || name.len() > 255 || !name.bytes().all(legal) || name.contains("..") {
            return Err(Reason::NoBucket);
        }
        let name = name.to_owned();
        Ok(Self { name, region: None, endpoint: None, style: None, profile: None })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Reason> {
        let value = unescaped(value).and_then(|value| String::from_utf8(value).ok());
        let value = value.ok_or(Reason::BadEscape)?;
        if !OPTIONS.contains(&key) || value.is_empty() || value.chars().any(char::is_control) {
            return Err(Reason::BucketOption);
        }
        match key {
            "region" => self.region = Some(value.parse()?),
            "endpoint" => self.endpoint = Some(endpoint(&value)?),
            "profile" => self.profile = Some(value),
            _ => {
                self.style = Some(match value.as_str() {
                    "path" => Style::Path,
                    "host" => Style::Host,
                    _ => return Err(Reason::BucketOption),
                });
            }
        }
        Ok(())
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is, if the URL says so.
    pub const fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Returns the store that has it, if it is not Amazon's.
    pub const fn endpoint(&self) -> Option<&Origin> {
        self.endpoint.as_ref()
    }

    /// Returns the profile of the shared configuration whose credentials are for it, if the URL
    /// says so.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// Returns where requests name it, at its own endpoint or at another one. Certificates of
    /// Amazon's are for names without a dot; other stores often have no names for buckets at all.
    pub fn style_at(&self, endpoint: Option<&Origin>) -> Style {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits_a_host = self.name.len() <= 63 && self.name.bytes().all(fits);
        match (self.style, endpoint) {
            (Some(style), _) if style == Style::Path || fits_a_host => style,
            (_, None) if fits_a_host => Style::Host,
            _ => Style::Path,
        }
    }

    /// Writes it with a path in it, which is escaped.
    pub(super) fn write(&self, path: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, region, endpoint, style, profile } = self;
        // As the reference writes it: tools that it starts read that.
        if let (Some(region), None, None, None) = (region, endpoint, style, profile)
            && self.style_at(None) == Style::Host
        {
            return write!(f, "https://{name}.s3.{region}.{}{path}", region.domain());
        }
        write!(f, "s3://{name}{path}")?;
        let style = style.map(|style| match style {
            Style::Path => "path".to_owned(),
            Style::Host => "host".to_owned(),
        });
        let values = [
            region.as_ref().map(ToString::to_string),
            endpoint.as_ref().map(ToString::to_string),
            style,
            profile.clone(),
        ];
        let mut mark = '?';
        for (key, value) in OPTIONS.iter().zip(values) {
            if let Some(value) = value {
                let value = escaped(value.as_bytes()).replace('&', "%26").replace('+', "%2B");
                write!(f, "{mark}{key}={value}")?;
                mark = '&';
            }
        }
        Ok(())
    }
}

/// Says whether a label of a host is S3's name: `s3`, or `s3-us-west-2` as it was once written.
fn is_service(label: &str) -> bool {
    let is_region = |text: &str| {
        let last = text.rsplit('-').next().unwrap_or_default();
        text.split('-').count() >= 3 && last.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_site = |rest: &str| rest.starts_with("website");
    label == "s3" || label.strip_prefix("s3-").is_some_and(|rest| !is_site(rest) && is_region(rest))
}

/// Reads the endpoint of a store: scheme, host and port, and nothing behind them.
pub(crate) fn endpoint(text: &str) -> Result<Origin, Reason> {
    let (scheme, rest) = text.split_once("://").ok_or(Reason::BucketEndpoint)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(Reason::BucketEndpoint),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(Reason::UserInfo);
    }
    if authority.contains(['/', '?', '#']) {
        return Err(Reason::BucketEndpoint);
    }
    Origin::parse(scheme, authority)
}

impl Region {
    /// Returns what is asked where nobody says anything else.
    pub fn usual() -> Self {
        Self("us-east-1".to_owned())
    }

    /// Returns its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the domain of Amazon's services in it.
    pub fn domain(&self) -> &'static str {
        if self.0.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
    }
}

impl FromStr for Region {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !begins_well || text.len() > 63 || !text.bytes().all(legal) {
            return Err(Reason::BucketRegion);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
