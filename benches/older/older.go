// The requests of the older client, and the reading and hashing that it does, in its own language
// and with the same library for HTTP.
//
//	older warm|cold ROOT TOOL VERSION PLATFORM PLACE
//	older catalog ROOT COUNT VERSION
//
// ROOT is what is before /dbt and /dbt-tools; PLACE is the tool's file (warm) or a directory for it
// (cold). The catalog is that of COUNT tools `tool-0000` and so on, without the run of the catalog
// program before it. What it leaves out makes it faster than the real one: configuration, command line, HTML,
// OpenPGP, and everything else that a larger program brings. All requests go over one kept
// connection.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 5 && os.Args[1] == "catalog" {
		catalog(os.Args[2], os.Args[3], os.Args[4])
		return
	}
	if len(os.Args) != 7 {
		stop("usage: older warm|cold ROOT TOOL VERSION PLATFORM PLACE")
	}
	way, root, tool, version := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	platform, place := os.Args[5], os.Args[6]
	artifact := fmt.Sprintf("%s/dbt-tools/%s/%s/%s/%s", root, tool, version, platform, tool)

	survey(root, tool, version, platform)
	file := place
	if way == "cold" {
		file = filepath.Join(place, tool)
		fetch(artifact, file)
		fetch(artifact+".sha256", file+".sha256")
		fetch(artifact+".asc", file+".asc")
	} else if published := string(get(artifact + ".sha256")); published != digest(file) {
		stop("the tool is not current")
	}
	verify(file)
	stop("%v", syscall.Exec(file, []string{tool}, os.Environ()))
}

// One listing, and of each tool two listings and the description, one after the other.
func catalog(root, count, version string) {
	tools, err := strconv.Atoi(count)
	check(err)
	get(root + "/dbt-tools/")
	for number := 0; number < tools; number++ {
		tool := fmt.Sprintf("%s/dbt-tools/tool-%04d/", root, number)
		get(tool)
		get(tool)
		get(tool + version + "/description.txt")
	}
}

// What every run begins with: six requests, and a look at its own file.
func survey(root, tool, version, platform string) {
	get(root + "/dbt/truststore")
	get(root + "/dbt/")
	get(root + "/dbt/")
	get(fmt.Sprintf("%s/dbt/%s/%s/dbt.sha256", root, version, platform))
	self, err := os.Executable()
	check(err)
	digest(self)
	get(root + "/dbt-tools/" + tool + "/")
	get(root + "/dbt-tools/" + tool + "/")
}

// The checksum, and one pass for the only certificate of the truststore, without the arithmetic of
// the signature.
func verify(file string) {
	digest(file)
	opened, err := os.Open(file)
	check(err)
	_, err = io.Copy(sha256.New(), opened)
	check(err)
}

// Reads a file as a whole, as the older client does.
func digest(file string) string {
	content, err := os.ReadFile(file)
	check(err)
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func get(url string) []byte {
	answer, err := http.Get(url)
	check(err)
	body, err := io.ReadAll(answer.Body)
	check(err)
	check(answer.Body.Close())
	if answer.StatusCode != http.StatusOK {
		stop("%s: %s", url, answer.Status)
	}
	return body
}

func fetch(url, file string) {
	answer, err := http.Head(url)
	check(err)
	check(answer.Body.Close())
	answer, err = http.Get(url)
	check(err)
	created, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	check(err)
	_, err = io.Copy(created, answer.Body)
	check(err)
	check(created.Close())
	check(answer.Body.Close())
}

func check(err error) {
	if err != nil {
		stop("%v", err)
	}
}

func stop(format string, words ...any) {
	fmt.Fprintln(os.Stderr, "error: "+strings.TrimSpace(fmt.Sprintf(format, words...)))
	os.Exit(1)
}
