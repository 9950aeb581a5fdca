//! nginx as the server of a repository, with both kinds of listing.

use std::path::Path;

use crate::life::{self, Served as _};
use crate::recipe::Notations;
use crate::web_server::{Plan, WebServer};

const CONFIG: &str = "
daemon off;
master_process off;
pid pid;
events { worker_connections 64; }
http {
  log_format lines '$request_method $request_uri $status';
  access_log requests lines;
  default_type application/octet-stream;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen 127.0.0.1:[PORT];
    root [ROOT];
    [INDEX]
  }
}
";

/// Starts nginx with these words about how directories are shown.
pub(crate) fn nginx(directory: &Path, world: &Path, index: &str) -> WebServer {
    let config = CONFIG.replace("[INDEX]", index);
    let arguments = ["-p", ".", "-e", "errors", "-c", "server.conf"];
    let plan = Plan { program: "nginx", arguments: &arguments, config: &config };
    WebServer::serve(directory, world, &plan)
}

fn listing(format: &str) -> String {
    format!("autoindex on; autoindex_format {format};")
}

fn serves_all_a_users_life(format: &str, notations: Notations) {
    let (world, handmade) = life::begin(notations);
    let server = nginx(&handmade.root(), world.directory(), &listing(format));
    life::is_lived(&world, &handmade, &server);
    drop(server);
    life::goes_on_without_its_server(&world);
}

#[test]
fn nginx_serves_a_repository_by_its_html_listings() {
    serves_all_a_users_life("html", Notations::Written);
}

#[test]
fn nginx_serves_a_repository_by_its_json_listings() {
    serves_all_a_users_life("json", Notations::Written);
}

#[test]
fn nginx_serves_a_repository_made_by_the_recipe_of_the_older_program() {
    serves_all_a_users_life("html", Notations::Absent);
}

#[test]
fn a_warm_run_downloads_no_truststore_again_from_nginx() {
    let (world, handmade) = life::begin(Notations::Written);
    let server = nginx(&handmade.root(), world.directory(), &listing("html"));
    life::configure(&world, &server.root());
    world.dbt(["hello"]).exits_with(0);
    world.dbt(["hello"]).exits_with(0);
    drop(server.take_requests());
    let log = std::fs::read_to_string(world.directory().join("server/requests")).unwrap();
    let truststore = log.lines().rfind(|line| line.contains("/dbt/truststore "));
    assert_eq!(truststore, Some("GET /dbt/truststore 304"), "{log}");
}
