//! The manifests for Kubernetes, as kubectl renders them: they are valid, they name what the server
//! has, and a server that is started as they say answers the probes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::Parser as _;
use dbt_server::args::Arguments;
use serde_json::{Value, json};

use crate::world::{Place, Reply, Server};

/// Each overlay that there is, and whether reading needs a credential there.
const OVERLAYS: [(&str, bool); 2] = [("base", false), ("overlays/example", true)];

const TO_JSON: &str = "import json, sys, yaml
print(json.dumps([document for document in yaml.safe_load_all(sys.stdin) if document]))";

fn peer(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let file = target.join("peers/bin").join(name);
    assert!(file.exists(), "`{}` is missing; see scripts/install-peers", file.display());
    file
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kubernetes")
}

fn rendered_text(directory: &Path) -> String {
    let output = Command::new(peer("kubectl")).arg("kustomize").arg(directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // Deprecated words are named there.
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of an overlay.
struct Rendered(Vec<Value>);

impl Rendered {
    fn of(overlay: &str) -> Self {
        let mut python = Command::new(peer("python"));
        let python = python.args(["-c", TO_JSON]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        let text = rendered_text(&directory().join(overlay));
        python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}");
        all[0]
    }

    fn service(&self, name: &str) -> &Value {
        let all = self.all("Service");
        let found = all.into_iter().find(|service| service["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{name}"))
    }

    fn pod(&self) -> &Value {
        &self.one("StatefulSet")["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        let containers = self.pod()["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        assert!(self.pod().get("initContainers").is_none());
        &containers[0]
    }

    fn arguments(&self) -> Vec<&str> {
        let list = self.container()["args"].as_array().unwrap();
        list.iter().map(|it| it.as_str().unwrap()).collect()
    }

    fn configuration(&self) -> Value {
        let text = self.one("ConfigMap")["data"]["reposerver.json"].as_str().unwrap();
        serde_json::from_str(text).unwrap()
    }

    /// Returns the number of a port of the container.
    fn port(&self, name: &Value) -> u64 {
        let ports = self.container()["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == *name);
        port.unwrap_or_else(|| panic!("{name}"))["containerPort"].as_u64().unwrap()
    }

    fn mounted_at(&self, name: &str) -> &str {
        let mounts = self.container()["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == name);
        mount.unwrap_or_else(|| panic!("{name}"))["mountPath"].as_str().unwrap()
    }
}

fn validated(text: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rendered.yaml");
    fs::write(&file, text).unwrap();
    let mut validate = Command::new(peer("kubernetes-validate"));
    validate.args(["-k", "1.34", "--strict"]).arg(file).output().unwrap()
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    for (overlay, _) in OVERLAYS {
        let text = rendered_text(&directory().join(overlay));
        let output = validated(&text);
        assert!(output.status.success(), "{overlay}: {output:?}");
        for (was, is) in [("replicas: 1", "replicas: one"), ("containerPort:", "containrPort:")] {
            assert!(text.contains(was), "{was}");
            let output = validated(&text.replace(was, is));
            assert_eq!(output.status.code(), Some(1), "{is}: {output:?}");
        }
    }
}

#[test]
fn the_image_is_the_one_that_is_named_and_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let base = format!("reposerver:{version}");
    assert_eq!(Rendered::of("base").container()["image"], *base);
    let own = format!("registry.example.com/dbt/reposerver:{version}");
    assert_eq!(Rendered::of("overlays/example").container()["image"], *own);
}

#[test]
fn the_pod_may_do_nothing_that_it_need_not() {
    for (overlay, _) in OVERLAYS {
        let rendered = Rendered::of(overlay);
        let (pod, container) = (rendered.pod(), rendered.container());
        assert_eq!(pod["automountServiceAccountToken"], false);
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "serviceAccountName"] {
            assert!(pod.get(forbidden).is_none(), "{forbidden}");
        }
        let group = json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(pod["securityContext"], group, "{overlay}");
        let context = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], context, "{overlay}");
        let resources = &container["resources"];
        for path in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            assert!(resources.pointer(path).is_some(), "{path}");
        }
        let labels = &rendered.one("Namespace")["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        // With one replica a budget would only keep nodes from being drained.
        assert_eq!(rendered.one("StatefulSet")["spec"]["replicas"], 1);
        assert!(rendered.all("PodDisruptionBudget").is_empty(), "{overlay}");
    }
}

#[test]
fn tree_and_state_are_kept_and_secrets_are_files_of_a_secret() {
    for (overlay, _) in OVERLAYS {
        let rendered = Rendered::of(overlay);
        let set = &rendered.one("StatefulSet")["spec"];
        let claims = set["volumeClaimTemplates"].as_array().unwrap();
        let names: Vec<_> = claims.iter().map(|it| &it["metadata"]["name"]).collect();
        assert_eq!(names, ["data", "state"]);
        let kept = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
        assert_eq!(set["persistentVolumeClaimRetentionPolicy"], kept);
        assert_eq!(rendered.mounted_at("data"), "/var/dbt");
        // Where the server looks for its state without being told.
        assert_eq!(rendered.mounted_at("state"), "/var/lib/reposerver");
        let volumes = rendered.pod()["volumes"].as_array().unwrap();
        let source = |name: &str| volumes.iter().find(|it| it["name"] == name).unwrap();
        assert_eq!(source("secrets")["secret"]["secretName"], "reposerver");
        assert_eq!(source("config")["configMap"]["name"], "reposerver");
        assert_eq!(rendered.one("ConfigMap")["metadata"]["name"], "reposerver");
        let data = rendered.one("ConfigMap")["data"].as_object().unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["reposerver.json"], "{overlay}");
        // Nothing in the configuration is a secret: they are named by file.
        let text = rendered.configuration().to_string().to_lowercase();
        for word in ["statictoken\"", "password", "sha256", "secret\""] {
            assert!(!text.contains(word), "{overlay}: {word}");
        }
    }
    // Nobody can publish with the base alone, and an organisation's own secrets are not in its files.
    let base = Rendered::of("base");
    let secret = base.one("Secret");
    assert_eq!(secret["metadata"]["name"], "reposerver");
    let given = fs::read_to_string(directory().join("base/htpasswd")).unwrap();
    assert!(given.lines().all(|line| line.starts_with('#')), "{given}");
    assert_eq!(secret["data"].as_object().unwrap().len(), 1);
    assert!(Rendered::of("overlays/example").all("Secret").is_empty());
}

#[test]
fn services_policies_and_probes_name_ports_that_there_are() {
    for (overlay, _) in OVERLAYS {
        let rendered = Rendered::of(overlay);
        let (container, service) = (rendered.container(), rendered.service("reposerver"));
        let arguments = rendered.arguments();
        let typed = ["reposerver"].into_iter().chain(arguments.iter().copied());
        let typed = Arguments::try_parse_from(typed).unwrap();
        assert_eq!(u64::from(typed.flags.port.unwrap()), rendered.port(&json!("http")));
        let metrics = rendered.configuration()["listen"]["metrics"].clone();
        let number = metrics.as_str().unwrap().rsplit(':').next().unwrap().parse::<u64>();
        assert_eq!(number.unwrap(), rendered.port(&json!("metrics")));
        // Only the port for everybody is in the service that everybody uses.
        assert_eq!(service["spec"]["ports"].as_array().unwrap().len(), 1);
        assert_eq!(service["spec"]["ports"][0]["targetPort"], "http");
        let name = &rendered.one("StatefulSet")["spec"]["serviceName"];
        assert_eq!(*name, service["metadata"]["name"]);
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "http", "{probe}");
        }
        let labels = &rendered.one("StatefulSet")["spec"]["template"]["metadata"]["labels"];
        assert_eq!(service["spec"]["selector"], *labels);
        // The monitor's has the other, also while the server is not ready, under the name that the
        // page tells the monitor.
        let beside = rendered.service("reposerver-metrics");
        assert_eq!(rendered.all("Service").len(), 2, "{overlay}");
        assert_eq!(beside["spec"]["publishNotReadyAddresses"], true);
        assert_eq!(beside["spec"]["selector"], *labels);
        assert_eq!(beside["spec"]["ports"].as_array().unwrap().len(), 1);
        assert_eq!(beside["spec"]["ports"][0]["targetPort"], "metrics");
        let (name, port) = (&beside["metadata"]["name"], &beside["spec"]["ports"][0]["port"]);
        let target = format!("\"{}.dbt.svc:{port}\"", name.as_str().unwrap());
        assert!(page().contains(&target), "{target}");
        let policy = &rendered.one("NetworkPolicy")["spec"];
        assert_eq!(policy["podSelector"]["matchLabels"], *labels);
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        for rule in policy["ingress"].as_array().unwrap() {
            let port = &rule["ports"][0]["port"];
            rendered.port(port);
            // Metrics have no sign-in there, so that not everybody may ask.
            assert!(*port == "http" || rule.get("from").is_some(), "{rule}");
        }
        for ingress in rendered.all("Ingress") {
            let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
            assert_eq!(backend["name"], service["metadata"]["name"]);
            assert_eq!(backend["port"]["name"], service["spec"]["ports"][0]["name"]);
        }
    }
}

fn page() -> String {
    fs::read_to_string(directory().join("README.md")).unwrap()
}

#[test]
fn the_pod_of_the_page_that_brings_out_a_backup_is_one_that_kubernetes_takes() {
    let page = page();
    let mut blocks = page.split("```yaml\n").map(|rest| rest.split("```").next().unwrap());
    let pod = blocks.find(|block| block.contains("kind: Pod\n")).unwrap();
    let output = validated(pod);
    assert!(output.status.success(), "{output:?}");
    let wrong = validated(&pod.replace("claimName:", "clameName:"));
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    // It mounts what the server does.
    let rendered = Rendered::of("base");
    let claims = rendered.one("StatefulSet")["spec"]["volumeClaimTemplates"].as_array().unwrap();
    assert_eq!(pod.matches("claimName:").count(), claims.len());
    for claim in claims {
        let name = claim["metadata"]["name"].as_str().unwrap();
        assert!(pod.contains(&format!("claimName: {name}-reposerver-0 ")), "{name}");
    }
}

/// Starts a server as the manifests say, with its files in a place of ours and on ports of ours.
fn started(rendered: &Rendered) -> Server {
    let place = Place::new();
    let secrets = place.beside("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("htpasswd"), "# nobody\n").unwrap();
    place.put_beside("secrets/publisher-token", b"a-token-of-the-publisher\n");
    let own = [
        (rendered.mounted_at("secrets"), secrets.clone()),
        (rendered.mounted_at("config"), place.beside(".")),
        (rendered.mounted_at("data"), place.root()),
    ];
    let moved = |text: &str| {
        own.iter().fold(text.to_owned(), |text, (was, is)| {
            text.replace(&format!("{was}/"), &format!("{}/", is.display()))
                .replace(&format!("\"{was}\""), &format!("\"{}\"", is.display()))
        })
    };
    let mut configuration = rendered.configuration();
    configuration["listen"]["metrics"] = json!("127.0.0.1:0");
    fs::write(place.beside("reposerver.json"), moved(&configuration.to_string())).unwrap();
    let mut command = place.bare_command();
    for argument in rendered.arguments() {
        let argument = match argument {
            "0.0.0.0" => "127.0.0.1".to_owned(),
            "9999" => "0".to_owned(),
            other => moved(&format!("\"{other}\"")).trim_matches('"').to_owned(),
        };
        command.arg(argument);
    }
    let process = command.spawn().unwrap();
    Server::started(place, process)
}

#[test]
fn a_server_that_is_started_so_answers_the_probes_whoever_may_read() {
    for (overlay, needs_credential) in OVERLAYS {
        let rendered = Rendered::of(overlay);
        let mut server = started(&rendered);
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = rendered.container()[probe]["httpGet"]["path"].as_str().unwrap();
            server.eventually(probe, |server| server.get(path).status == 200);
        }
        assert_eq!(server.get_beside("/-/metrics").status, 200);
        let read = |server: &Server| -> Reply { server.get("/dbt/latest") };
        assert_eq!(read(&server).status, if needs_credential { 401 } else { 404 }, "{overlay}");
        assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 401);
        if overlay == "overlays/example" {
            let token = "Authorization: Bearer a-token-of-the-publisher";
            let reply = server.send("PUT", "/dbt/latest", &[token], b"1.0.0");
            assert_eq!(reply.status, 201, "{reply:?}");
        }
        // The pod is given longer than the server takes.
        let grace = rendered.pod()["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > 5 + 25, "{grace}");
        server.signal(rustix::process::Signal::INT);
        assert!(server.wait().success(), "{}", server.log());
    }
}
