//! Apache as the server of a repository, with and without its fancy listings.

use std::path::Path;

use crate::life;
use crate::recipe::Notations;
use crate::web_server::{Plan, WebServer};

const CONFIG: &str = r#"
ServerRoot [PLACE]
ServerName localhost
Listen 127.0.0.1:[PORT]
PidFile [PLACE]/pid
ErrorLog [PLACE]/errors
DefaultRuntimeDir [PLACE]
Mutex file:[PLACE] default
# Who is not root stays who he is, and Apache says so.
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule autoindex_module /usr/lib/apache2/modules/mod_autoindex.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /etc/mime.types
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
GracefulShutdownTimeout 1
LogFormat "%m %U%q %s" lines
CustomLog [PLACE]/requests lines
DocumentRoot [ROOT]
<Directory [ROOT]>
  Options Indexes
  [INDEX]
  Require all granted
</Directory>
"#;

/// Starts Apache with these words about how directories are shown.
pub(crate) fn apache(directory: &Path, world: &Path, index: &str) -> WebServer {
    let config = CONFIG.replace("[INDEX]", index);
    let arguments = ["-f", "[PLACE]/server.conf", "-D", "FOREGROUND"];
    let plan = Plan { program: "apache2", arguments: &arguments, config: &config };
    WebServer::serve(directory, world, &plan)
}

fn serves_all_a_users_life(index: &str) {
    let (world, handmade) = life::begin(Notations::Written);
    let server = apache(&handmade.root(), world.directory(), index);
    life::is_lived(&world, &handmade, &server);
    drop(server);
    life::goes_on_without_its_server(&world);
}

#[test]
fn apache_serves_a_repository_by_its_plain_listings() {
    serves_all_a_users_life("IndexOptions -FancyIndexing");
}

#[test]
fn apache_serves_a_repository_by_its_fancy_listings() {
    serves_all_a_users_life("IndexOptions FancyIndexing HTMLTable VersionSort NameWidth=20");
}
