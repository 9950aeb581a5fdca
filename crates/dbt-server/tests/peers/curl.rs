//! curl, as scripts of publishers use it.

use std::process::{Command, Output};

use crate::world::{AUTHORIZED, Server, sha256};

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

impl Server {
    /// Returns `http://ADDRESS`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Runs curl and returns the status of the last answer.
pub(crate) fn status(words: &[&str]) -> String {
    let output = curl(&[&["-w", "%{http_code}", "-o", "/dev/null"], words].concat());
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn curl(words: &[&str]) -> Output {
    let output = Command::new("curl").args(["-sS", "--max-time", "60"]).args(words).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Publishes a platform as the older program's script and as gomason do, and reads it back.
pub(crate) fn publishes_and_reads(base: &str, directory: &std::path::Path) {
    let file = directory.join("file");
    let large = vec![7; 3_000_000];
    let uploads = [
        (X.to_owned(), large.clone()),
        (format!("{X}.asc"), b"signature".to_vec()),
        (format!("{X}.md5"), b"0".to_vec()),
        (format!("{X}.sha256"), sha256(&large).into_bytes()),
    ];
    for (index, (path, bytes)) in uploads.iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        let (url, file) = (format!("{base}{path}"), file.display().to_string());
        let sum = format!("X-Checksum-Sha256: {}", sha256(bytes));
        // Chunked, as gomason sends files; and of known length.
        let framing = if index % 2 == 0 { "Transfer-Encoding: chunked" } else { "X-Other: x" };
        let words = ["-T", &file, "-H", AUTHORIZED, "-H", &sum, "-H", framing, "-H"];
        let blank = "X-Checksum-Md5;";
        assert_eq!(status(&[&words[..], &[blank, &url]].concat()), "201", "{path}");
    }
    for (path, bytes) in &uploads {
        let output = curl(&["-f", &format!("{base}{path}")]);
        assert!(output.stdout == *bytes, "{path}");
    }
    let part = curl(&["-f", "-r", "10-19", &format!("{base}{X}")]);
    assert_eq!(part.stdout, [7; 10]);
    let wrong = format!("X-Checksum-Sha256: {}", sha256(b"other"));
    let url = format!("{base}/dbt/latest");
    let words = ["-T", file.to_str().unwrap(), "-H", AUTHORIZED, "-H", &wrong, &url];
    assert_eq!(status(&words), "422");
    assert_eq!(status(&["-T", file.to_str().unwrap(), &url]), "401");
    let listing = curl(&["-f", &format!("{base}/dbt-tools/x/")]).stdout;
    assert!(String::from_utf8(listing).unwrap().contains("<a href=\"1.0.0/\">"));
}

#[test]
fn curl_publishes_and_reads() {
    let server = Server::start();
    publishes_and_reads(&server.url(), server.outside());
}

#[test]
fn curl_sends_a_token_as_a_password() {
    let server = Server::start();
    // Not in the world of the server, which looks for the token.
    let directory = tempfile::tempdir().unwrap();
    let (file, netrc) = (directory.path().join("file"), directory.path().join("netrc"));
    std::fs::write(&file, b"1.0.0").unwrap();
    std::fs::write(&netrc, "machine 127.0.0.1 login any password open-sesame\n").unwrap();
    let [file, netrc] = [file, netrc].map(|path| path.display().to_string());
    let chunked = ["-T", &file, "-H", "Transfer-Encoding: chunked"];
    let [to_user, to_netrc, to_wrong] = ["//dbt/by-user", "/dbt//by-netrc", "/dbt/wrong"]
        .map(|path| format!("{}{path}", server.url()));
    let by_user = [&chunked[..], &["-u", "any:open-sesame", &to_user]].concat();
    assert_eq!(status(&by_user), "201");
    let by_netrc = [&chunked[..], &["--netrc-file", &netrc, &to_netrc]].concat();
    assert_eq!(status(&by_netrc), "201");
    let wrong = [&chunked[..], &["-u", "open-sesame:any", &to_wrong]].concat();
    assert_eq!(status(&wrong), "401");
    assert_eq!(server.tree(), ["dbt", "dbt/by-netrc", "dbt/by-user"]);
}

#[test]
fn curl_is_refused_before_it_sends_a_large_file() {
    let server = Server::start();
    let file = server.outside().join("large");
    std::fs::File::create(&file).unwrap().set_len(3 << 30).unwrap();
    let words = [
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_upload}",
        "-H",
        "Expect: 100-continue",
        "-T",
        file.to_str().unwrap(),
        &format!("{}/dbt/large", server.url()),
    ];
    let output = Command::new("curl").args(words).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "401 0");
}
