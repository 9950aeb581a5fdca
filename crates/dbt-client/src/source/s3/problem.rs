//! What a store says instead of an answer, and what that means.

use ureq::http::StatusCode;

use crate::source::error::{Class, Failure};
use crate::source::xml;
use crate::url::bucket::Region;

/// Why a store does not do what it is asked for: credentials, permission, region, or absence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BucketProblem {
    /// Nobody in particular asks, and not everybody may.
    #[error("no AWS credentials were found, and the bucket `{bucket}` is not public ({code})")]
    NoCredentials {
        /// The bucket.
        bucket: String,
        /// The store's word.
        code: String,
    },
    /// Whoever asks is not known, or no longer.
    #[error("the store does not accept the AWS key `{key}` ({code})")]
    BadCredentials {
        /// Which key it is; no secret.
        key: String,
        /// The store's word.
        code: String,
    },
    /// Whoever asks is known under another key since then.
    #[error("the AWS key `{key}` expired while it was used; there is another one")]
    Renewed {
        /// Which key it was; no secret.
        key: String,
    },
    /// Whoever asks may not.
    #[error(
        "the AWS key `{key}` has no permission `{permission}` in the bucket `{bucket}` ({code})"
    )]
    Denied {
        /// Which key it is; no secret.
        key: String,
        /// What is needed.
        permission: &'static str,
        /// The bucket.
        bucket: String,
        /// The store's word.
        code: String,
    },
    /// The bucket is in another region than its URL says.
    #[error("the bucket `{bucket}` is in the region `{is}`, not in `{said}`")]
    Region {
        /// The bucket.
        bucket: String,
        /// What the URL says.
        said: String,
        /// Where it is.
        is: String,
    },
    /// The bucket is in another region than was supposed; where it is, is known now.
    #[error("the bucket `{bucket}` is in the region `{is}`")]
    Moved {
        /// The bucket.
        bucket: String,
        /// Where it is.
        is: String,
    },
    /// There is no such bucket.
    #[error("there is no bucket `{bucket}`")]
    NoBucket {
        /// The bucket.
        bucket: String,
    },
    /// This machine's clock and the store's differ.
    #[error("the store's clock and this machine's differ too much ({code})")]
    Clock {
        /// The store's word.
        code: String,
    },
    /// Somebody else writes the same at this moment.
    #[error("somebody else writes the same at this moment ({code})")]
    Conflict {
        /// The store's word.
        code: String,
    },
    /// The store cannot do what it was asked for.
    #[error("the store does not know what it is asked for ({code})")]
    Unknown {
        /// The store's word.
        code: String,
    },
    /// The store says no, in its own words.
    #[error("the store refuses it: {code} ({status})")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// Its word.
        code: String,
    },
}

impl BucketProblem {
    /// Returns the row of the outage table that this is.
    pub(in crate::source) fn class(&self) -> Class {
        match self {
            Self::NoCredentials { .. } | Self::BadCredentials { .. } | Self::Clock { .. } => {
                Class::SignIn
            }
            Self::Denied { .. } => Class::Forbidden,
            Self::Renewed { .. }
            | Self::Region { .. }
            | Self::Moved { .. }
            | Self::NoBucket { .. }
            | Self::Conflict { .. }
            | Self::Unknown { .. }
            | Self::Refused { .. } => Class::Outage,
        }
    }

    /// Returns what the user can do about it, if anything.
    pub(in crate::source) fn hint(&self) -> Option<String> {
        match self {
            Self::NoCredentials { .. } => Some(
                "set `AWS_PROFILE`, or `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or sign in \
                 with `aws sso login`"
                    .to_owned(),
            ),
            Self::BadCredentials { .. } => Some(
                "`aws sts get-caller-identity` says whether the credentials are still good".to_owned(),
            ),
            Self::Denied { permission, .. } if *permission == "s3:GetObject" => Some(
                "its policy must allow `s3:GetObject` and `s3:ListBucket`: without the second, S3 says \
                 this of what is not there too"
                    .to_owned(),
            ),
            Self::Denied { permission, .. } => {
                Some(format!("its policy must allow `{permission}`"))
            }
            Self::Region { is, .. } => {
                Some(format!("write `{is}` into the URL in the configuration"))
            }
            Self::NoBucket { .. } => Some("is its name, or its endpoint, spelt right?".to_owned()),
            Self::Clock { .. } => Some("check this machine's clock".to_owned()),
            Self::Renewed { .. }
            | Self::Moved { .. }
            | Self::Conflict { .. }
            | Self::Unknown { .. }
            | Self::Refused { .. } => None,
        }
    }
}

/// What an answer says that is none of success.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: u16,
    /// The store's word; empty where it has none.
    code: String,
    /// Where the bucket is, if the answer says so.
    pub(super) region: Option<Region>,
}

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) bucket: &'a str,
    pub(super) permission: &'static str,
    /// Which key signed; nothing where nobody did.
    pub(super) key: Option<&'a str>,
    /// Whether the bucket as a whole is asked.
    pub(super) root: bool,
}

impl Said {
    /// Reads an answer: its status, the region that its head says, and its body.
    pub(super) fn read(status: u16, region: Option<&str>, body: &[u8]) -> Self {
        let leaves = xml::leaves(body).unwrap_or_default();
        let leaf = |name: &str| {
            let found = leaves.iter().find(|leaf| leaf.path == format!("Error/{name}"));
            found.map(|leaf| leaf.text.as_str())
        };
        let is_word = |code: &&str| {
            !code.is_empty()
                && code.len() <= 80
                && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        };
        let code = leaf("Code").filter(is_word).unwrap_or_default().to_owned();
        let region = region.or_else(|| leaf("Region")).and_then(|region| region.parse().ok());
        Self { status, code, region }
    }

    /// Says whether the bucket has to be asked for in another region.
    pub(super) fn is_elsewhere(&self) -> bool {
        let moved = matches!(self.status, 301 | 307)
            || matches!(
                self.code.as_str(),
                "AuthorizationHeaderMalformed"
                    | "PermanentRedirect"
                    | "IllegalLocationConstraintException"
            );
        moved && self.region.is_some()
    }

    /// Says whether the credentials were good once.
    pub(super) fn is_expired(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired"
        )
    }

    /// Says whether the store does not know the condition of a write.
    pub(super) fn is_not_implemented(&self) -> bool {
        self.status == 501 || self.code == "NotImplemented"
    }

    /// Returns what it means.
    pub(super) fn failure(&self, asked: Asked<'_>) -> Failure {
        let bucket = || asked.bucket.to_owned();
        let code = self.word();
        let problem = match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket") => BucketProblem::NoBucket { bucket: bucket() },
            (_, "RequestTimeTooSkewed") => BucketProblem::Clock { code },
            (_, "SlowDown" | "RequestLimitExceeded") | (429, _) => {
                return Failure::Busy { retry_after: None };
            }
            (_, "BadDigest" | "XAmzContentSHA256Mismatch") => return Failure::Garbled,
            (
                _,
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "ExpiredToken"
                | "ExpiredTokenException"
                | "TokenRefreshRequired"
                | "InvalidSecurity"
                | "AuthorizationHeaderMalformed",
            )
            | (401, _) => match asked.key {
                Some(key) => BucketProblem::BadCredentials { key: key.to_owned(), code },
                None => BucketProblem::NoCredentials { bucket: bucket(), code },
            },
            (403, _) => match asked.key {
                Some(key) => BucketProblem::Denied {
                    key: key.to_owned(),
                    permission: asked.permission,
                    bucket: bucket(),
                    code,
                },
                None => BucketProblem::NoCredentials { bucket: bucket(), code },
            },
            (404 | 410, _) if asked.root => return Failure::RootMissing,
            (404 | 410, _) => return Failure::NotFound,
            (_, "ConditionalRequestConflict" | "OperationAborted") => {
                BucketProblem::Conflict { code }
            }
            (412, _) => return Failure::Exists,
            (501, _) => BucketProblem::Unknown { code },
            (507, _) => return Failure::Full,
            (status @ 500..=599, _) => return Failure::Server { status, retry_after: None },
            (status, "") => return Failure::Status { status },
            (status, _) => BucketProblem::Refused { status, code },
        };
        problem.into()
    }

    fn word(&self) -> String {
        if !self.code.is_empty() {
            return self.code.clone();
        }
        let status = StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|status| status.canonical_reason());
        format!("{} {}", self.status, reason.unwrap_or_default()).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, code: &str, key: Option<&str>, class: Class, words: &str) {
        let body = format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>no &amp; no</Message></Error>"
        );
        let said = Said::read(status, None, body.as_bytes());
        let asked = Asked { bucket: "tools", permission: "s3:ListBucket", key, root: false };
        let failure = said.failure(asked);
        assert_eq!((failure.to_string().as_str(), failure.class()), (words, class));
    }

    #[test]
    fn credentials_permission_and_absence_are_told_apart() {
        let key = Some("AKID");
        check(
            403,
            "AccessDenied",
            key,
            Class::Forbidden,
            "the AWS key `AKID` has no permission `s3:ListBucket` in the bucket `tools` (AccessDenied)",
        );
        check(
            403,
            "",
            key,
            Class::Forbidden,
            "the AWS key `AKID` has no permission `s3:ListBucket` in the bucket `tools` (403 Forbidden)",
        );
        check(
            403,
            "AccessDenied",
            None,
            Class::SignIn,
            "no AWS credentials were found, and the bucket `tools` is not public (AccessDenied)",
        );
        check(
            403,
            "InvalidAccessKeyId",
            key,
            Class::SignIn,
            "the store does not accept the AWS key `AKID` (InvalidAccessKeyId)",
        );
        check(
            400,
            "ExpiredToken",
            key,
            Class::SignIn,
            "the store does not accept the AWS key `AKID` (ExpiredToken)",
        );
        check(
            403,
            "RequestTimeTooSkewed",
            key,
            Class::SignIn,
            "the store's clock and this machine's differ too much (RequestTimeTooSkewed)",
        );
        check(404, "NoSuchKey", key, Class::NotFound, "there is no such file or directory (404)");
        check(404, "NoSuchBucket", key, Class::Outage, "there is no bucket `tools`");
        check(503, "SlowDown", key, Class::Outage, "the server is asked too often (429)");
        check(500, "InternalError", key, Class::Outage, "the server failed (500)");
        check(
            400,
            "InvalidBucketName",
            key,
            Class::Outage,
            "the store refuses it: InvalidBucketName (400)",
        );
        check(
            400,
            "not a word \u{1b}[0m",
            key,
            Class::Outage,
            "the server gave an unexpected answer (400)",
        );
        check(412, "PreconditionFailed", key, Class::Refused, "it exists already");
    }

    #[test]
    fn a_store_says_in_its_head_or_its_body_where_a_bucket_is() {
        let body =
            b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        let said = Said::read(400, None, body);
        assert!(said.is_elsewhere());
        assert_eq!(said.region, "eu-west-1".parse().ok());
        assert!(Said::read(301, Some("eu-west-1"), b"").is_elsewhere());
        assert!(!Said::read(301, Some("evil.example.com/"), b"").is_elsewhere());
        assert!(!Said::read(403, Some("eu-west-1"), b"").is_elsewhere());
    }
}
