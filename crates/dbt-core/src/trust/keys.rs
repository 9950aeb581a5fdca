//! Certificates of a truststore.
