# shellcheck shell=bash
# The engine and QEMU from Debian's packages, where no engine answers.

engine_answers() { have docker && timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

newer_suites() { # print the suites to take the engine and QEMU from, beside the machine's own
  # shellcheck source=/dev/null
  case $(. /etc/os-release && printf '%s' "$VERSION_CODENAME") in
    bookworm) printf 'forky bookworm-backports' ;;
    trixie) printf 'forky' ;;
  esac
}

add_newer_suites() { # for the named packages only; everything else stays with the machine's own release
  local suites
  suites=$(newer_suites)
  [[ -n $suites ]] || return 0
  cat >/etc/apt/sources.list.d/multiarch-ci.sources <<SOURCES
Types: deb
URIs: $(debian_mirror)
Suites: $suites
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  cat >/etc/apt/preferences.d/multiarch-ci <<'PINS'
Package: *
Pin: release n=forky
Pin-Priority: 50

Package: docker.io docker-cli docker-buildx containerd golang-go golang-src
Pin: release n=forky
Pin-Priority: 600

Package: qemu-user-static qemu-user qemu-user-binfmt
Pin: release n=bookworm-backports
Pin-Priority: 600
PINS
  apt_update
}

prefer_containerd_store() { # a new engine of ours uses the containerd image store; an existing configuration is kept
  [[ -e /etc/docker/daemon.json ]] && return
  mkdir -p /etc/docker
  printf '{"features":{"containerd-snapshotter":true}}\n' >/etc/docker/daemon.json
}

install_engine() {
  add_newer_suites
  knows_package docker-buildx || apt_update
  prefer_containerd_store
  apt_install docker.io docker-cli docker-buildx containerd runc iptables qemu-user-static qemu-user qemu-user-binfmt
}

mount_binfmt() {
  [[ -e /proc/sys/fs/binfmt_misc/status ]] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
}

start_engine() {
  mount_binfmt || true
  "$project/.ci/engine" start default
}

ensure_engine() {
  engine_answers && return
  if [[ -n ${DOCKER_HOST:-} ]]; then
    die "no container engine answers at DOCKER_HOST=$DOCKER_HOST. Start that engine, or unset DOCKER_HOST to use this machine's own."
  fi
  if ! have dockerd || ! docker buildx version >/dev/null 2>&1; then
    need_packages 'no container engine answers on this machine' docker.io docker-buildx qemu-user-static
    [[ -n $(debian_mirror) ]] || die 'no container engine answers, and apt has no source for this release of Debian or Ubuntu to install one from. Add one to /etc/apt/sources.list.d, or install Docker with buildx, then run this again.'
    step 'install a container engine and QEMU from packages' install_engine
  fi
  ((EUID == 0)) || die 'a container engine is installed but does not answer, and starting it takes root. Start it (for example: systemctl start docker), or add yourself to the group "docker", then run this again.'
  engine_answers || step 'start the container engine' start_engine
}
