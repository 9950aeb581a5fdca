"""Our updates of signed metadata beside those of python-tuf, on repositories that python-tuf makes.

    tuf_differential.py CLIENT CASES SEED

Each case is a repository that changes at random between updates: honest releases, rotated keys,
older versions, missing signatures, damaged files. After each change both clients update and look
for a target, each with a directory of its own. They have to agree on the outcome and on the bytes
that are trusted after it; or ours refuses for one of the reasons of STRICTER, and the case ends.

Prints what was compared, as JSON. Ends with 1 when the two disagree.
"""

import copy
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib import parse

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import Updater

# Why ours may refuse what python-tuf takes.
STRICTER = {
    "lists one key under two names": "a key that is written in two ways would count twice",
    "lists no keys": "a text is no list, though its letters can be counted",
    "is not a whole number above 0": "`true` is no number",
    "lists a key twice": "the list of keys is ambiguous",
    "`expires` is not a time": "only one notation of times",
    "it does not list `targets.json`": "a snapshot without the top-level targets is of no use",
    "`spec_version` is not 1.N": "only versions that are numbers",
    "is no kind of key for": "a key of one kind and a scheme of another",
    "either `paths` or": "a delegation says in one way what it is for",
}

# Why ours may take what python-tuf refuses: fewer keys sign, and none does that should not.
LENIENT = {
    "Unsupported public key": "a key of an unknown kind signs nothing, and does no harm beside others",
}

# Where the specification (5.3.11) wants stored lists to be deleted, python-tuf drops only what the
# new keys did not sign; so it may refuse as older what ours takes.
FORGETS = "the keys of timestamp or snapshot were rotated"

# A repository that serves other bytes under the version that is stored: ours compares what is stored
# with the digest that is listed now, python-tuf does not.
AGAIN = "a stored snapshot is not the one of that version any more"

EXPIRES = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
GOOD, BAD = EXPIRES + datetime.timedelta(days=30), EXPIRES - datetime.timedelta(days=1)
TOP_LEVEL = [Root.type, Timestamp.type, Snapshot.type, Targets.type]


class Server(ThreadingHTTPServer):
    """Serves what is in `files`."""

    def __init__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                data = server.files.get(parse.unquote(self.path.lstrip("/")))
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.files = {}
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, place):
        return f"http://127.0.0.1:{self.server_port}/{place}/"


def new_signer(chance):
    kind = chance.random()
    if kind < 0.6:
        return CryptoSigner.generate_ed25519()
    if kind < 0.97:
        return CryptoSigner.generate_ecdsa()
    return CryptoSigner.generate_rsa()


class Repository:
    """A repository that may do anything."""

    def __init__(self, chance, files):
        self.chance, self.files = chance, files
        files.clear()
        self.roles = {
            Root.type: Root(expires=GOOD),
            Timestamp.type: Timestamp(expires=GOOD),
            Snapshot.type: Snapshot(expires=GOOD),
            Targets.type: Targets(expires=GOOD),
        }
        self.signers = {role: [] for role in TOP_LEVEL}
        self.rotated = False
        self.made, self.roots = {}, {}
        for role in TOP_LEVEL:
            self.add_key(role)
        self.add_target(Targets.type, "file")
        self.serve_root()
        self.publish()

    def add_key(self, role):
        signer = new_signer(self.chance)
        self.roles[Root.type].add_key(signer.public_key, role)
        self.signers[role].append(signer)

    def add_target(self, role, path):
        data = f"{role} {path} {self.chance.random()}".encode()
        target = TargetFile.from_data(path, data, self.chance.choice([["sha256"], ["sha512", "sha256"], ["sha512"]]))
        self.roles[role].targets[path] = target
        self.files[f"targets/{path}"] = data
        for digest in target.hashes.values():
            self.files[f"targets/{digest}.{path}"] = data

    def signed(self, role):
        """Signs a role, once: who signs the same again has other bytes under the old version."""
        metadata = Metadata(copy.deepcopy(self.roles[role]))
        ids = tuple(signer.public_key.keyid for signer in self.signers[role])
        what = (role, json.dumps(metadata.signed.to_dict(), sort_keys=True), ids)
        if what not in self.made:
            for signer in self.signers[role]:
                metadata.sign(signer, append=True)
            self.made[what] = metadata.to_bytes(JSONSerializer())
        return self.made[what]

    def name(self, role):
        if role == Timestamp.type or not self.roles[Root.type].consistent_snapshot:
            return f"metadata/{role}.json"
        return f"metadata/{self.roles[role].version}.{role}.json"

    def serve(self, role):
        self.files[self.name(role)] = self.signed(role)

    def serve_root(self):
        name = f"metadata/{self.roles[Root.type].version}.root.json"
        self.files[name] = self.roots[name] = self.signed(Root.type)

    def serve_bad_root(self, data=None):
        """Serves the root as it is as the next one. The next good one takes its place."""
        root = self.roles[Root.type]
        root.version += 1
        self.files[f"metadata/{root.version}.root.json"] = data or self.signed(Root.type)
        root.version -= 1

    def next_root(self):
        self.roles[Root.type].version += 1
        self.serve_root()

    def listed(self, role):
        data = self.files[self.name(role)]
        if self.chance.random() < 0.3:
            return MetaFile.from_data(self.roles[role].version, data, ["sha256"])
        return MetaFile(self.roles[role].version)

    def publish(self):
        snapshot, timestamp = self.roles[Snapshot.type], self.roles[Timestamp.type]
        for role in self.roles:
            if role not in TOP_LEVEL[:3]:
                self.serve(role)
                snapshot.meta[f"{role}.json"] = self.listed(role)
        self.serve(Snapshot.type)
        timestamp.snapshot_meta = self.listed(Snapshot.type)
        self.serve(Timestamp.type)

    def release(self):
        for role in self.roles:
            if role != Root.type:
                self.roles[role].version += 1
        self.publish()

    def change(self):
        """Does one thing, honest or not; returns its name."""
        what = self.chance.choice([name for name in dir(self) if name.startswith("do_")])
        getattr(self, what)()
        return what

    def any_role(self, roles=TOP_LEVEL[1:]):
        return self.chance.choice(list(roles))

    def do_release(self):
        self.release()

    def do_nothing(self):
        pass

    def do_refresh_timestamp(self):
        self.roles[Timestamp.type].version += 1
        self.serve(Timestamp.type)

    def do_new_target(self):
        self.add_target(self.any_role([r for r in self.roles if r not in TOP_LEVEL[:3]]), self.chance.choice("abc"))
        self.release()

    def do_delegate(self):
        delegator = self.any_role([r for r in self.roles if r not in TOP_LEVEL[:3]])
        role = self.chance.choice("ABCDE")
        if self.roles[delegator].delegations is None:
            self.roles[delegator].delegations = Delegations({}, {})
        terminating = self.chance.random() < 0.3
        paths = self.chance.choice([["*"], ["a"], ["[ab]", "c"], ["?"], ["x/*"]])
        delegations = self.roles[delegator].delegations
        delegations.roles[role] = DelegatedRole(role, [], 1, terminating, paths)
        if role not in self.roles:
            self.roles[role] = Targets(expires=GOOD)
            self.signers[role] = [new_signer(self.chance)]
        for signer in self.signers[role]:
            self.roles[delegator].add_key(signer.public_key, role)
        self.release()

    def do_next_root(self):
        self.next_root()

    def do_several_roots(self):
        for _ in range(3):
            self.next_root()

    def do_rotate(self):
        role = self.any_role(TOP_LEVEL)
        old, before = self.signers[role], copy.deepcopy(self.roles[Root.type])
        self.roles[Root.type].roles[role].keyids.clear()
        self.signers[role] = []
        for _ in range(self.roles[Root.type].roles[role].threshold):
            self.add_key(role)
        new = self.signers[role]
        if role == Root.type:
            if self.chance.random() < 0.2:
                self.serve_bad_root()
                self.roles[role], self.signers[role] = before, old
                return
            self.signers[role] = old + new
        self.rotated |= role in (Timestamp.type, Snapshot.type)
        self.next_root()
        self.signers[role] = new
        if self.chance.random() < 0.8:
            self.release()

    def do_add_key(self):
        role = self.any_role(TOP_LEVEL)
        self.add_key(role)
        if self.chance.random() < 0.5:
            self.roles[Root.type].roles[role].threshold += 1
        self.next_root()
        if self.chance.random() < 0.8:
            self.release()

    def do_toggle_consistent(self):
        root = self.roles[Root.type]
        root.consistent_snapshot = not root.consistent_snapshot
        self.next_root()
        self.publish()

    def do_older(self):
        role = self.any_role(r for r in self.roles if r != Root.type)
        version = self.roles[role].version
        self.roles[role].version = max(1, version - self.chance.choice([1, 2]))
        if self.chance.random() < 0.5:
            self.roles[Timestamp.type].version += 1
            self.roles[Snapshot.type].version += 1
        self.publish()

    def do_far(self):
        self.roles[self.any_role()].version += 1000
        self.publish()

    def do_leave_out(self):
        self.roles[Snapshot.type].meta.pop(self.any_role(self.roles[Snapshot.type].meta), None)
        self.roles[Snapshot.type].version += 1
        self.serve(Snapshot.type)
        self.roles[Timestamp.type].snapshot_meta = MetaFile(self.roles[Snapshot.type].version)
        self.roles[Timestamp.type].version += 1
        self.serve(Timestamp.type)

    def do_expire(self):
        role = self.any_role(self.roles)
        self.roles[role].expires = BAD
        if role == Root.type:
            self.next_root()
        else:
            self.release()

    def do_recover(self):
        self.recover()

    def recover(self):
        """Everything is honest again, and newer than whatever was there."""
        self.files.update(self.roots)
        for name, role in self.roles.items():
            role.expires = GOOD
            if name != Root.type:
                role.version += 2000
        self.next_root()
        self.publish()
        for target in ("file", "a"):
            self.add_target(Targets.type, target)
        self.release()

    def do_sign_with_others(self):
        role = self.any_role(self.roles)
        kept = self.signers[role]
        self.signers[role] = [new_signer(self.chance)] + kept[1:]
        if role == Root.type:
            self.serve_bad_root()
        else:
            self.release()
        self.signers[role] = kept

    def do_damage(self):
        name = self.any_role(name for name in self.files if name.startswith("metadata/"))
        data = bytearray(self.files[name])
        for _ in range(self.chance.choice([1, 1, 3])):
            data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
        self.files[name] = bytes(data)

    def do_edit_and_sign(self):
        """Changes a value anywhere in what is signed, and signs it."""
        role = self.any_role(self.roles)
        self.roles[role].version += 1
        signed = json.loads(json.dumps(self.roles[role].to_dict()))
        places = []

        def walk(value):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                places.append((value, key))
                if isinstance(item, (dict, list)):
                    walk(item)

        walk(signed)
        where, key = self.chance.choice(places)
        where[key] = self.chance.choice([0, -1, 1, 2, 1.5, "", "x", None, True, [], {}, where[key]])
        from securesystemslib.formats import encode_canonical

        try:
            canonical = encode_canonical(signed).encode()
        except Exception:  # What has no canonical form cannot be signed.
            canonical = b""
        signatures = [signer.sign(canonical).to_dict() for signer in self.signers[role]]
        data = json.dumps({"signatures": signatures, "signed": signed}).encode()
        if role == Root.type:
            # What may not be readable cannot be followed by anything.
            self.roles[role].version -= 1
            self.serve_bad_root(data)
            return
        self.publish()
        self.files[self.name(role)] = data

    def do_remove(self):
        name = self.any_role(name for name in self.files if "root" not in name)
        del self.files[name]

    def do_put_older_file(self):
        names = [name for name in self.files if name.startswith("metadata/")]
        self.files[self.any_role(names)] = self.files[self.any_role(names)]

    def do_other_target(self):
        names = [name for name in self.files if name.startswith("targets/")]
        if names:
            self.files[self.any_role(names)] = self.chance.choice([b"", b"evil", b"x" * 100000])


class Ours:
    def __init__(self, client, server, place, root):
        self.client, self.server, self.place = client, server, place
        self.metadata, self.targets = os.path.join(place, "m"), os.path.join(place, "t")
        trusted = os.path.join(place, "root.json")
        with open(trusted, "wb") as file:
            file.write(root)
        self.run("init", trusted)

    def run(self, *words):
        line = [self.client, "--metadata-dir", self.metadata, *words]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.said = done.stderr.decode(errors="replace")
        assert done.returncode in (0, 1), (done.returncode, self.said)
        return done.returncode == 0

    def download(self, path):
        return self.run(
            "--metadata-url", self.server.url("metadata"), "--target-base-url", self.server.url("targets"),
            "--target-dir", self.targets, "--target-name", path, "download",
        )

    def downloaded(self, path):
        try:
            with open(os.path.join(self.targets, path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


class Theirs:
    def __init__(self, server, place, root):
        self.server, self.place = server, place
        self.metadata, self.targets = os.path.join(place, "m"), os.path.join(place, "t")
        os.makedirs(self.metadata), os.makedirs(self.targets)
        self.root = root

    def download(self, path):
        try:
            updater = Updater(
                self.metadata, self.server.url("metadata"), self.targets, self.server.url("targets"),
                bootstrap=self.root,
            )
            self.root = None
            updater.refresh()
            info = updater.get_targetinfo(path)
            if info is None:
                self.said = "not listed"
                return False
            if updater.find_cached_target(info) is None:
                updater.download_target(info)
            self.said = ""
            return True
        except Exception as error:  # Whatever it is, it was refused.
            self.said = f"{error!r} from {error.__cause__!r}"
            return False


def trusted(place):
    found = {}
    for name in os.listdir(place):
        if name.endswith(".json"):
            with open(os.path.join(place, name), "rb") as file:
                found[name] = file.read()
    return found


def version(data):
    return json.loads(data)["signed"]["version"]


def case(client, server, seed, counts):
    """Plays one repository; returns what the two disagree on, if anything."""
    chance = random.Random(seed)
    repository = Repository(chance, server.files)
    place = tempfile.mkdtemp()
    try:
        root = server.files["metadata/1.root.json"]
        for side in ("ours", "theirs"):
            os.makedirs(os.path.join(place, side))
        ours = Ours(client, server, os.path.join(place, "ours"), root)
        theirs = Theirs(server, os.path.join(place, "theirs"), root)
        history = []
        for _ in range(chance.choice([4, 8, 12])):
            if history and not (mine and other) and chance.random() < 0.7:
                repository.recover()
                history.append("recover")
            else:
                history.append(repository.change())
            path = chance.choice(["file", "file", "a", "b", "c", "none"])
            counts["updates"] += 1
            mine, other = ours.download(path), theirs.download(path)
            counts["accepted by both" if mine and other else "refused by one or both"] += 1
            said = {"seed": seed, "history": history, "path": path, "ours": ours.said, "theirs": theirs.said}
            if mine != other:
                reason = next((why for words, why in STRICTER.items() if words in ours.said), None)
                if mine is False and reason:
                    counts[f"ours is stricter: {reason}"] += 1
                    return None
                lenient = next((why for words, why in LENIENT.items() if words in theirs.said), None)
                if lenient:
                    counts[f"ours is lenient: {lenient}"] += 1
                    return None
                if mine and repository.rotated and "must be >=" in theirs.said:
                    counts[f"ours forgets: {FORGETS}"] += 1
                    return None
                return said
            here, there = trusted(ours.metadata), trusted(theirs.metadata)
            if here != there:
                gone = set(there) - set(here) <= {"timestamp.json", "snapshot.json"}
                if repository.rotated and gone and all(there.get(name) == here[name] for name in here):
                    counts[f"ours forgets: {FORGETS}"] += 1
                    return None
                reason = next((why for words, why in STRICTER.items() if words in ours.said), None)
                if not mine and reason:
                    counts[f"ours is stricter: {reason}"] += 1
                    return None
                lenient = next((why for words, why in LENIENT.items() if words in theirs.said), None)
                if lenient:
                    counts[f"ours is lenient: {lenient}"] += 1
                    return None
                differs = [name for name in set(here) | set(there) if here.get(name) != there.get(name)]
                # Which snapshot is trusted decides what follows from it.
                first = "snapshot.json" if "snapshot.json" in differs else differs[0]
                if first in here and first in there and version(here[first]) == version(there[first]):
                    counts[f"ours fetches again: {AGAIN}"] += 1
                    return None
                said["differs"] = sorted(differs)
                return said
            if mine:
                with open(os.path.join(theirs.targets, path), "rb") as file:
                    assert file.read() == ours.downloaded(path), said
        return None
    finally:
        shutil.rmtree(place)


def main():
    client, cases, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    server, counts, problems = Server(), Counter(), []
    for number in range(cases):
        problem = case(client, server, seed + number, counts)
        if problem:
            problems.append(problem)
            if len(problems) >= 5:
                break
    print(json.dumps({"counts": counts, "problems": problems}, indent=1))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
