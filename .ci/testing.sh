# shellcheck shell=bash
# What only the project's own tests need.

buildkit_image=multiarch-ci/buildkit
assemblers=(binutils-{aarch64,i686,powerpc64le,riscv64,s390x,x86-64}-linux-gnu binutils-arm-linux-gnueabi binutils-mips64el-linux-gnuabi64)

# --- packages

install_test_packages() { # PACKAGE...
  knows_package "$1" || apt_update
  apt_install "$@"
  if [[ -d /run/systemd/system ]]; then systemctl disable --now docker-registry || true; fi
}

ensure_test_packages() {
  local missing
  mapfile -t missing < <(missing_packages "${assemblers[@]}" busybox docker-registry iproute2 mksh)
  ((${#missing[@]})) || return 0
  need_packages 'the tests compare with cross assemblers, speak to several shells and push to a registry of their own' "${missing[@]}"
  step 'install cross assemblers, shells and a registry for the tests' install_test_packages "${missing[@]}"
}

# --- BuildKit, where its image can't be pulled

has_go() { # is there a Go that compiles this BuildKit?
  have go && [[ $(printf '%s\n' go1.26.8 "$(go env GOVERSION)" | sort -V | head -n 1) == go1.26.8 ]]
}

install_go() {
  add_newer_suites
  apt_install golang-go
}

compile_buildkit() { # FOLDER VERSION: from the Go module proxy; `go install` refuses a module with excludes, a tool of one's own doesn't
  local work=$1.work version=$2 module=github.com/moby/buildkit
  mkdir -p "$work"
  cd "$work"
  export GOMODCACHE=$work/modules GOCACHE=$work/objects GOFLAGS='-buildvcs=false -modcacherw' CGO_ENABLED=0
  printf 'module buildkit.local\n\ngo 1.26\n' >go.mod
  go get -tool "$module/cmd/buildkitd@$version" "$module/cmd/buildctl@$version"
  [[ $(go list -m -f '{{.Version}}' "$module") == "$version" ]]
  go build -trimpath -ldflags "-s -w -X $module/version.Version=$version" -o "$1.new/" "$module/cmd/buildkitd" "$module/cmd/buildctl"
  cd "$cache"
  rm -rf "$work"
  mv "$1.new" "$1"
}

import_buildkit() { # BINARIES NAME: an image of BuildKit, runc with its libraries, busybox and the certificates
  local root native blob file
  root=$(mktemp -d)
  native=$(dpkg --print-architecture)
  blob=$(sed -E 's/.*"alpine": \{[^}]*"digest": "sha256:([0-9a-f]+)".*/\1/' "${base_list%/*}/$native.json")
  tar -xf "${base_list%/*}/alpine/blobs/sha256/$blob" -C "$root" bin etc tmp
  mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/var/lib/buildkit" "$root/run"
  cp "$1"/* "$root/usr/bin/"
  cp "$(command -v runc)" "$root/usr/bin/buildkit-runc"
  ldd "$(command -v runc)" | grep -o '/[^ ]*' | while read -r file; do cp -L --parents "$file" "$root"; done
  [[ ! -e /etc/ssl/certs/ca-certificates.crt ]] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  tar -C "$root" -c . | docker import --change 'ENTRYPOINT ["buildkitd"]' --change 'ENV PATH=/usr/bin:/bin' - "$2"
  rm -rf "$root"
}

ensure_buildkit() { # VERSION ENGINE...: the image of that version in each of these engines
  local version=$1 binaries=$cache/buildkit/$1 engine
  shift
  if [[ ! -d $binaries ]]; then
    if ! has_go; then
      need_packages "BuildKit's image can't be pulled, so it is compiled, and that takes Go 1.26.8 or later" golang-go
      step 'install Go' install_go
    fi
    mkdir -p "${binaries%/*}"
    step "compile BuildKit $version from Go modules (once; two minutes)" compile_buildkit "$binaries" "$version"
  fi
  for engine; do
    DOCKER_HOST=$engine docker image inspect "$buildkit_image:$version" >/dev/null 2>&1 ||
      DOCKER_HOST=$engine step "make an image of BuildKit $version in $engine" import_buildkit "$binaries" "$buildkit_image:$version"
  done
}

provide_buildkit() { # FILE PIN ENGINE...: leave in FILE the name of an image that stands in for the pinned one, nothing where that can be pulled
  local file=$cache/$1 image version
  image=$(pin "$2")
  version=${image%@*}
  version=${version##*:}
  shift 2
  : >"$file.new"
  if [[ $base_list != /dev/null ]]; then
    ensure_buildkit "$version" "$@"
    printf '%s\n' "$buildkit_image:$version" >"$file.new"
  fi
  mv "$file.new" "$file"
}

# --- everything

ensure_testing() {
  local default classic
  ensure_test_packages
  default=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}')}
  classic=$("$project/.ci/engine" start classic classic)
  printf '%s\n' "$classic" >"$cache/engine-classic"
  provide_buildkit buildkit-image BUILDKIT_IMAGE "$default" "$classic"
  provide_buildkit oldest-buildkit-image OLDEST_BUILDKIT_IMAGE "$default" "$classic"
}
