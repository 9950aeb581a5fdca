//! A real directory server (slapd), over each kind of connection, and one that lets people sign in
//! without a password.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_testkit::tls::Authority;

use crate::world::{Reply, Server};

/// How long the directory may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many pairs of ports are tried: between choosing one and using it, another may take it.
const TRIES: u32 = 10;

const CONFIG: &str = "
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile [PLACE]/pid
allow bind_anon_cred bind_anon_dn
TLSCACertificateFile [PLACE]/ca.pem
TLSCertificateFile [PLACE]/server.pem
TLSCertificateKeyFile [PLACE]/server.key
database mdb
maxsize 10485760
suffix \"dc=example,dc=test\"
rootdn \"cn=admin,dc=example,dc=test\"
rootpw secret
directory [PLACE]/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=\"cn=search,dc=example,dc=test\" read by anonymous auth by * none
";

const PEOPLE: &str = "
dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: cn=search,dc=example,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: search
userPassword: canary-search

dn: ou=people,dc=example,dc=test
objectClass: organizationalUnit
ou: people

dn: ou=guests,ou=people,dc=example,dc=test
objectClass: organizationalUnit
ou: guests

dn: ou=groups,dc=example,dc=test
objectClass: organizationalUnit
ou: groups

dn: uid=alice,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
userPassword: canary-wonderland

dn: uid=bob,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
userPassword: canary-builder

dn: cn=Weird \\2C \\22Name\\22 (x)*,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: weird
cn: Weird , \"Name\" (x)*
sn: W
userPassword: canary-weird

dn: cn=Other,ou=guests,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: twin
cn: Other
sn: O
userPassword: canary-builder

dn: uid=twin,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: canary-builder

dn: uid=joiner,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: joiner
cn: Joiner
sn: J
userPassword: canary-joiner

dn: ou=elsewhere,ou=people,dc=example,dc=test
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://192.0.2.1/ou=people,dc=example,dc=test

dn: cn=writers,ou=groups,dc=example,dc=test
objectClass: groupOfNames
cn: writers
member: uid=alice,ou=people,dc=example,dc=test
member: cn=Weird \\2C \\22Name\\22 (x)*,ou=people,dc=example,dc=test
";

/// A program. It is killed when this goes.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _already_waited = self.0.wait();
    }
}

/// A directory service.
struct Slapd {
    place: tempfile::TempDir,
    _process: Process,
    port: u16,
    tls_port: u16,
}

impl Slapd {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let authority = Authority::new("an organisation");
        authority.write_to(&place.path().join("ca.pem"));
        let (certificate, key) = authority.server_files("127.0.0.1");
        fs::write(place.path().join("server.pem"), certificate).unwrap();
        fs::write(place.path().join("server.key"), key).unwrap();
        fs::create_dir(place.path().join("data")).unwrap();
        let config = CONFIG.replace("[PLACE]", place.path().to_str().unwrap());
        fs::write(place.path().join("slapd.conf"), config).unwrap();
        let people = PEOPLE.to_owned() + &groups_of_joiner();
        fs::write(place.path().join("people.ldif"), people).unwrap();
        let loaded = program("slapadd", place.path()).args(["-l", "people.ldif"]).output().unwrap();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        for _ in 0..TRIES {
            if let Some((process, port, tls_port)) = listening(place.path()) {
                return Self { place, _process: process, port, tls_port };
            }
        }
        panic!("{}", fs::read_to_string(place.path().join("words")).unwrap_or_default());
    }

    /// Returns a server that believes this directory.
    fn server(&self, connection: &str) -> Server {
        let file = self.place.path().join("password");
        fs::write(&file, "canary-search\n").unwrap();
        Server::with(&format!(
            r#""authTypePut": "basic-ldap", "ldap": {{{connection},
                "bindDn": "cn=search,dc=example,dc=test", "bindPasswordFile": "{}",
                "userBase": "ou=people,dc=example,dc=test", "groupBase": "ou=groups,dc=example,dc=test"}},
            "policies": [
                {{"name": "writers", "subjects": ["group:writers"], "paths": ["/dbt/**"],
                  "actions": ["create"]}},
                {{"name": "bob", "subjects": ["ldap:uid=bob,ou=people,dc=example,dc=test"],
                  "paths": ["/dbt-tools/bob/**"], "actions": ["create"]}}
            ]"#,
            file.display()
        ))
    }
}

/// Returns more groups than this directory names at most where nothing else is configured.
fn groups_of_joiner() -> String {
    let group = |number| {
        format!(
            "\ndn: cn=g{number},ou=groups,dc=example,dc=test\nobjectClass: groupOfNames\n\
             cn: g{number}\nmember: uid=joiner,ou=people,dc=example,dc=test\n"
        )
    };
    (0..501).map(group).collect()
}

fn program(name: &str, place: &Path) -> Command {
    let mut command = Command::new(name);
    command.args(["-f", "slapd.conf"]).current_dir(place);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command
}

/// Starts the directory on free ports; none if another took one meanwhile.
fn listening(place: &Path) -> Option<(Process, u16, u16)> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (one, other) = (free(), free());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let (port, tls_port) = (port(&one), port(&other));
    drop((one, other));
    let words = fs::File::create(place.join("words")).unwrap();
    let urls = format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/");
    let mut command = program("slapd", place);
    command.args(["-d", "0", "-h", &urls]).stdout(words.try_clone().unwrap()).stderr(words);
    let mut process = Process(command.spawn().unwrap());
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if process.0.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", tls_port)).is_ok() {
            return Some((process, port, tls_port));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("slapd does not listen");
}

fn put(server: &Server, user: &str, password: &str, path: &str) -> Reply {
    let line = format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")));
    server.send("PUT", path, &[&line], b"body")
}

#[test]
fn people_of_a_real_directory_sign_in_over_each_kind_of_connection() {
    let slapd = Slapd::start();
    let ca = slapd.place.path().join("ca.pem");
    let ca = ca.display();
    for connection in [
        format!(r#""url": "ldap://127.0.0.1:{}""#, slapd.port),
        format!(r#""url": "ldap://127.0.0.1:{}", "startTls": true, "caFile": "{ca}""#, slapd.port),
        format!(r#""url": "ldaps://127.0.0.1:{}", "caFile": "{ca}""#, slapd.tls_port),
    ] {
        let server = slapd.server(&connection);
        let status = |user, password, path| put(&server, user, password, path).status;
        assert_eq!(status("alice", "canary-wonderland", "/dbt/a"), 201, "{}", server.log());
        assert_eq!(status("weird", "canary-weird", "/dbt/w"), 201, "{}", server.log());
        assert_eq!(status("bob", "canary-builder", "/dbt-tools/bob/1.0.0/linux/amd64/bob"), 201);
        put(&server, "bob", "canary-builder", "/dbt/b").is_refused(403, "forbidden");
        for (user, password) in [
            ("alice", "canary-builder"),
            ("alice", ""),
            ("alice", "\0"),
            ("mallory", "canary-wonderland"),
            ("ali*", "canary-wonderland"),
            ("alice)(uid=*", "canary-wonderland"),
            ("twin", "canary-builder"),
            ("search", "canary-search"),
            ("joiner", "canary-joiner"),
        ] {
            let reply = put(&server, user, password, "/dbt/no");
            reply.is_refused(401, "unauthorised");
            assert_eq!(reply.json()["detail"], "the credential is not valid", "{user:?}");
        }
        assert!(!server.root().join("dbt/no").exists());
        server.eventually("recorded", |server| {
            server.log().contains("several entries for this user")
        });
        let limit = "is in more groups than the 500 that the directory names at most";
        server.eventually("recorded", |server| server.log().contains(limit));
        // Others are not kept waiting for that.
        assert_eq!(status("alice", "canary-wonderland", "/dbt/b"), 201, "{}", server.log());
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_gets_no_password() {
    let slapd = Slapd::start();
    for connection in [
        format!(r#""url": "ldap://127.0.0.1:{}", "startTls": true"#, slapd.port),
        format!(r#""url": "ldaps://127.0.0.1:{}""#, slapd.tls_port),
    ] {
        let server = slapd.server(&connection);
        let reply = put(&server, "alice", "canary-wonderland", "/dbt/a");
        reply.is_refused(401, "unauthorised");
        server.eventually("logged", |server| server.log().contains("the connection is not secure"));
    }
}
