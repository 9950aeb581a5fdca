//! nginx and Apache in front of the server, as many run it.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::curl::publishes_and_reads;
use crate::world::Server;

const NGINX: &str = "
daemon off;
master_process off;
pid pid;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen 127.0.0.1:[PORT];
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    location / { proxy_pass http://[BACKEND]; proxy_set_header Host $http_host; }
  }
}
";

const APACHE: &str = "
ServerName localhost
ServerRoot \"[PLACE]\"
PidFile \"[PLACE]/pid\"
ErrorLog \"[PLACE]/errors\"
Listen 127.0.0.1:[PORT]
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPreserveHost On
ProxyPass / http://[BACKEND]/ nocanon
";

/// A proxy, killed when this goes.
struct Proxy {
    process: Child,
    port: u16,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited = self.process.wait();
    }
}

/// Starts a program with this configuration in front of the server.
fn start(server: &Server, config: &str, words: &[&str]) -> Proxy {
    let place = server.outside().join("proxy");
    fs::create_dir(&place).unwrap();
    // Another test may take the port first: then the program ends, and the next one is tried.
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = config
            .replace("[PORT]", &port.to_string())
            .replace("[PLACE]", place.to_str().unwrap())
            .replace("[BACKEND]", server.url().trim_start_matches("http://"));
        fs::write(place.join("server.conf"), config).unwrap();
        let process = Command::new(words[0])
            .args(&words[1..])
            .current_dir(&place)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut proxy = Proxy { process, port };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if fs::read(place.join("pid")).is_ok_and(|text| !text.is_empty()) {
                return proxy;
            }
            if proxy.process.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let said = fs::read_to_string(place.join("errors")).unwrap_or_default();
    panic!("{words:?} does not start: {said}");
}

fn works_behind(config: &str, words: &[&str]) {
    let server = Server::start();
    let proxy = start(&server, config, words);
    publishes_and_reads(&format!("http://127.0.0.1:{}", proxy.port), server.outside());
}

#[test]
fn nginx_in_front_changes_nothing() {
    works_behind(NGINX, &["nginx", "-p", ".", "-e", "errors", "-c", "server.conf"]);
}

#[test]
fn apache_in_front_changes_nothing() {
    works_behind(APACHE, &["apache2", "-X", "-d", ".", "-f", "server.conf"]);
}
