"""What the older program's client does: its requests in its order, and its comparisons to the byte.

    older_client.py CONFIG run TOOL ARGUMENT...     updates itself, updates the tool, becomes the tool
    older_client.py CONFIG catalog                  prints each tool, its newest version, what it is for
    older_client.py CONFIG versions TOOL            prints what a purge would choose from

CONFIG is JSON: `home`, `program` (the installed dbt), `repository`, `truststore`, `toolsRepository`,
`platform` and `requests`, the file that gets a line for each request.
"""

import gzip
import hashlib
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

BLOCK_END = "-----END PGP PUBLIC KEY BLOCK-----"
VERSION = re.compile(r"^\d+\.\d+\.\d+$")
# Subpackets of signatures that its library knows. A critical one of another kind is an error.
KNOWN_SUBPACKETS = {2, 3, 6, 9, 11, 12, 16, 21, 22, 24, 25, 26, 27, 29, 30, 32, 33}
# RSA, DSA, ECDSA, EdDSA; no key of the newest standard.
KNOWN_ALGORITHMS = {1, 2, 3, 17, 19, 22}


class Unusable(Exception):
    pass


class Links(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.names = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        href = dict(attributes).get("href") if tag == "a" else None
        if href and href != "../":
            self.names.append(href.rstrip("/"))


class Client:
    def __init__(self, config):
        self.repository = config["repository"]
        self.truststore = config["truststore"]
        self.tools = config["toolsRepository"]
        self.platform = config["platform"]
        self.program = pathlib.Path(config["program"])
        self.files = pathlib.Path(config["home"]) / ".dbt"
        self.requests = open(config["requests"], "a", encoding="utf-8")

    # --- what it asks ----------------------------------------------------------------------

    def ask(self, method, url):
        headers = {"User-Agent": "Go-http-client/1.1"}
        if method == "GET":
            headers["Accept-Encoding"] = "gzip"
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status, head, body, at = answer.status, answer.headers, answer.read(), answer.url
        except urllib.error.HTTPError as answer:
            status, head, body, at = answer.code, answer.headers, answer.read(), answer.url
        if at != url:
            raise Unusable(f"{url} was redirected to {at}")
        path = "/" + url.split("/", 3)[3]
        self.requests.write(f"{method} {path} {status}\n")
        self.requests.flush()
        if head.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return status, body, head

    def get(self, url):
        return self.ask("GET", url)[1]

    def exists(self, url):
        return self.ask("GET", url)[0] == 200

    def names(self, url):
        return Links(self.get(url).decode()).names

    def newest(self, url):
        # It asks once whether there is anything, and again for what there is.
        if not self.exists(url):
            raise Unusable("failed to find latest version: tool not in repo")
        versions = [name for name in self.names(url) if VERSION.match(name)]
        return max(versions, key=lambda name: [int(number) for number in name.split(".")])

    def fetch(self, url, file):
        # The length of the bar of progress comes from an answer without a body.
        status, _, head = self.ask("HEAD", url)
        status_of_body, body, _ = self.ask("GET", url)
        if (status, status_of_body) != (200, 200) or int(head["Content-Length"]) != len(body):
            raise Unusable(f"{url}: {status}, {status_of_body}, {head['Content-Length']}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        file.chmod(0o755)

    # --- what it does ----------------------------------------------------------------------

    def run(self, tool, arguments):
        # It starts itself again after each update. One must be enough.
        for _ in range(3):
            truststore = self.get(self.truststore)
            self.write_truststore(truststore)
            newest = self.newest(f"{self.repository}/")
            url = f"{self.repository}/{newest}/{self.platform}/dbt"
            if self.is_current(self.program, f"{url}.sha256"):
                break
            self.upgrade()
        else:
            raise Unusable("it would start itself again for ever")
        newest = self.newest(f"{self.tools}/{tool}/")
        url = f"{self.tools}/{tool}/{newest}/{self.platform}/{tool}"
        file = self.files / "tools" / tool
        if not file.exists() or not self.is_current(file, f"{url}.sha256"):
            for ending in ("", ".sha256", ".asc"):
                self.fetch(url + ending, file.with_name(tool + ending))
        self.verify(file)
        environment = dict(os.environ)
        environment["DBT_REPO"] = self.repository
        environment["DBT_TOOLS_REPO"] = self.tools
        sys.stdout.flush()
        os.execve(file, [tool, *arguments], environment)

    def upgrade(self):
        newest = self.newest(f"{self.repository}/")
        url = f"{self.repository}/{newest}/{self.platform}/dbt"
        candidate = self.program.with_name("dbt.new")
        self.fetch(url, candidate)
        if not self.is_current(candidate, f"{url}.sha256"):
            raise Unusable("upgrade in place failed")
        candidate.replace(self.program)

    def is_current(self, file, url):
        return self.get(url) == digest(file)

    def write_truststore(self, content):
        file = self.files / "trust" / "truststore"
        # Its directory is made by nobody here.
        file.write_bytes(content)

    def verify(self, file):
        if file.with_name(f"{file.name}.sha256").read_bytes() != digest(file):
            raise Unusable(f"checksum of {file.name} failed to verify")
        signature = file.with_name(f"{file.name}.asc")
        check_packets(signature.read_text())
        with tempfile.TemporaryDirectory() as place:
            ring = pathlib.Path(place) / "ring"
            truststore = (self.files / "trust" / "truststore").read_text()
            ring.write_bytes(b"".join(self.certificates(truststore)))
            checked = subprocess.run(
                ["gpgv", "--quiet", "--keyring", ring, signature, file], capture_output=True
            )
        if checked.returncode != 0:
            raise Unusable("signing entity not in truststore")

    def certificates(self, truststore):
        block = []
        for line in truststore.splitlines():
            block.append(line)
            if line == BLOCK_END:
                armored = "\n".join(block) + "\n"
                check_packets(armored)
                yield gpg("--dearmor", armored)
                block = []

    def catalog(self):
        for tool in self.names(f"{self.tools}/"):
            newest = self.newest(f"{self.tools}/{tool}/")
            description = self.get(f"{self.tools}/{tool}/{newest}/description.txt")
            print(tool, newest, description.decode().strip())

    def versions(self, tool):
        root = self.tools.rsplit("/", 1)[0]
        for version in json.loads(self.get(f"{root}/-/api/tools/{tool}/versions")):
            print(version["version"], version["modifiedAt"][:10])


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest().encode()


def gpg(command, text):
    done = subprocess.run(["gpg", "--batch", command], input=text.encode(), capture_output=True)
    if done.returncode != 0:
        raise Unusable(f"failed to read cert from truststore: {done.stderr.decode()}")
    return done.stdout


def check_packets(armored):
    """Its library is of 2020: packets of the fourth version, which name the key that signed."""
    text = gpg("--list-packets", armored).decode()
    if re.search(r"^\tversion (?!4\b)", text, re.M):
        raise Unusable("a packet of another version")
    for packet in re.split(r"(?m)^(?=:)", text):
        algorithm = re.search(r"\balgo (\d+)", packet)
        if packet.startswith((":signature", ":public")) and (
            int(algorithm[1]) not in KNOWN_ALGORITHMS
        ):
            raise Unusable(f"unknown algorithm:\n{packet}")
        critical = {int(number) for number in re.findall(r"critical.*subpkt (\d+)", packet)}
        if critical - KNOWN_SUBPACKETS:
            raise Unusable(f"unknown critical subpacket:\n{packet}")
        if packet.startswith(":signature") and "subpkt 16 " not in packet:
            raise Unusable(f"signature doesn't have an issuer:\n{packet}")


def main():
    client = Client(json.loads(pathlib.Path(sys.argv[1]).read_text()))
    command, words = sys.argv[2], sys.argv[3:]
    try:
        if command == "run":
            client.run(words[0], words[1:])
        elif command == "catalog":
            client.catalog()
        else:
            client.versions(words[0])
    except Unusable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
