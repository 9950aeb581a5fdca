#!/bin/sh
# Fetches @INSTALLER@, compares it with the checksums that were published in this script, and runs
# it. What is not that is not run, and nothing is installed.
#
# The flags of the older script of this name are understood where the installer has them, too; all
# others are the installer's own: --help shows them.
set -eu

repository='@REPOSITORY@'
has_settings='@HAS_SETTINGS@'
systems='@SYSTEMS@'
checksums='@CHECKSUMS@'

# Nothing happens before the last line, so that half of this script does nothing.
main() {
    count=$#
    while [ "$count" -gt 0 ]; do
        word=$1
        shift
        count=$((count - 1))
        case $word in
        --url | --name | --install-dir | --oidc-username)
            [ "$count" -gt 0 ] || stop 80 "$word needs a value"
            value=$1
            shift
            count=$((count - 1))
            case $word in
            --url) repository=$(repository_of "$value") ;;
            --name) set -- "$@" --name "$value" ;;
            --install-dir) set -- "$@" --directory "$value" ;;
            --oidc-username) set -- "$@" --user "$value" ;;
            esac
            ;;
        # A server is added to those that are there in any case.
        --add) ;;
        --use-keychain)
            say 'sign-ins are kept in the keychain where "tokenStore" of the configuration is "keychain"'
            ;;
        --default | --replace | --oidc-* | --connector-id | --s3-region | --tools-url)
            stop 80 "$word is not known any more: whoever administers the server puts it into the settings of the installer"
            ;;
        *) set -- "$@" "$word" ;;
        esac
    done
    [ -n "$repository" ] || stop 80 "--url URL says where the server is"
    # An installer without settings is told which server it is for.
    if [ "$has_settings" = no ] && [ "${1-}" != uninstall ]; then
        case $repository in
        */@REPOSITORY_PATH@) set -- --from "${repository%/*}" "$@" ;;
        esac
    fi
    platform=$(platform)
    expected=$(checksum_of "$platform")
    if [ -z "$expected" ] && [ "$platform" = darwin/arm64 ]; then
        platform=darwin/amd64
        say "the installer for $platform is used"
        expected=$(checksum_of "$platform")
    fi
    [ -n "$expected" ] || stop 84 "there is no installer for $platform"

    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    url=$repository/installer/$platform/@INSTALLER@
    fetch "$url" "$place/@INSTALLER@" || stop 82 "$url could not be fetched"
    found=$(sha256 "$place/@INSTALLER@")
    [ "$found" = "$expected" ] ||
        stop 86 "$url is not what was published with this script: its SHA-256 is ${found:-not known} and should be $expected"
    chmod 700 "$place/@INSTALLER@"
    "$place/@INSTALLER@" "$@"
}

# The older script took the address of the server, and that of its repository.
repository_of() {
    case ${1%/} in
    */@REPOSITORY_PATH@) printf '%s' "${1%/}" ;;
    http://* | https://*) printf '%s' "${1%/}/@REPOSITORY_PATH@" ;;
    *) stop 80 "--url is $1, and not an address with https://" ;;
    esac
}

platform() {
    system=$(uname -s) machine=$(uname -m)
    case $system in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    *) os= ;;
    esac
    case " $systems " in
    *" $os "*) ;;
    *) stop 84 "this script is for $systems, and this is $system" ;;
    esac
    case $machine in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) stop 84 "there is no installer for machines of the kind $machine" ;;
    esac
    printf '%s/%s' "$os" "$arch"
}

checksum_of() {
    printf '%s\n' "$checksums" | while read -r sum platform; do
        if [ "$platform" = "$1" ]; then printf '%s' "$sum"; fi
    done
}

fetch() {
    if has curl; then
        curl -fsSL -o "$2" "$1"
    elif has wget; then
        wget -q -t 1 -O "$2" "$1"
    else
        say 'neither curl nor wget is there'
        return 1
    fi
}

sha256() {
    if has sha256sum; then
        sum=$(sha256sum <"$1")
    elif has shasum; then
        sum=$(shasum -a 256 <"$1")
    elif has openssl; then
        sum=$(openssl dgst -sha256 -r <"$1")
    else
        stop 86 'nothing was installed: none of sha256sum, shasum and openssl is there to compare with'
    fi
    printf '%s' "${sum%% *}"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

say() {
    printf '@SCRIPT@: %s\n' "$1" >&2
}

stop() {
    say "$2"
    exit "$1"
}

main "$@"
