# shellcheck shell=bash
# Base images and sources from local copies, where no image registry or public repository can be reached.

example_ports=(amd64 i386 armel armhf arm64 ppc64el s390x)
test_ports=(mips64el riscv64 loong64)

# read by the conftest files: one NAME=VALUE a line, for `buildx build --build-context`; `-classic` for that store's engine
contexts=$cache/build-contexts
vlmcsd_repository=https://github.com/Wind4/vlmcsd.git
vlmcsd_tarball=${VLMCSD_SOURCE:-$project/../shared/vlmcsd-source.tar.gz}

reached() { # NAME COMMAND...: does the command succeed within seconds? A no is remembered for an hour, a yes for a day
  local answers=$cache/reached.d name=$1
  shift
  mkdir -p "$answers"
  find "$answers" \( -name '*.no' -mmin +60 -o -name '*.yes' -mmin +1440 \) -delete
  if [[ ! -e $answers/$name.no && ! -e $answers/$name.yes ]]; then
    printf '==> try to reach: %s\n' "$*"
    if timeout 10 "$@" >>"$log" 2>&1 </dev/null; then
      touch "$answers/$name.yes"
    else
      touch "$answers/$name.no"
      printf '    no: local copies take its place\n'
    fi
  fi
  [[ -e $answers/$name.yes ]]
}

make_layouts() { # FOLDER OUTPUT PORT...
  local folder=$1 output=$2 mirror
  shift 2
  mirror=$(debian_mirror)
  python3 "$project/.ci/base_images.py" "$folder" "$@" --mirror "$mirror" --optional loong64 >"$output"
}

install_mmdebstrap() {
  knows_package mmdebstrap || apt_update
  apt_install mmdebstrap debian-archive-keyring
}

base_contexts() { # MODE: set base_list to a file with the lines of the base images, making what is missing
  local folder ports=("${example_ports[@]}" "${test_ports[@]}")
  folder=$cache/base-$(sha256sum "$project/.ci/base_images.py" | cut -c1-12)
  base_list=$folder/contexts-tests
  [[ -e $base_list ]] && return
  if [[ $1 != --tests ]]; then
    base_list=$folder/contexts-example ports=("${example_ports[@]}")
    [[ -e $base_list ]] && return
  fi
  mkdir -p "$folder"
  if ! have mmdebstrap; then
    need_packages 'no image registry can be reached, so base images are made from Debian packages, and that takes mmdebstrap' mmdebstrap
    step 'install mmdebstrap' install_mmdebstrap
  fi
  [[ -n $(debian_mirror) ]] || die 'no image registry can be reached, and apt has no Debian source to make base images from instead (Ubuntu has not all of the architectures). Make a registry reachable, or use a Debian machine.'
  step "make base images of ${#ports[@]} architectures from Debian packages" make_layouts "$folder" "$base_list.new" "${ports[@]}"
  mv "$base_list.new" "$base_list"
  find "$cache" -maxdepth 1 -name 'base-*' ! -path "$folder" -mtime +7 -exec rm -rf {} + # of older recipes
}

unpack_vlmcsd() { # FOLDER
  rm -rf "$1.new"
  mkdir -p "$1.new"
  tar -xzf "$vlmcsd_tarball" -C "$1.new" --strip-components=1
  mv "$1.new" "$1"
}

vlmcsd_context() { # set vlmcsd_line to the line of vlmcsd's source, or to nothing
  local folder
  vlmcsd_line=''
  if [[ -e $vlmcsd_tarball ]] && ! reached vlmcsd git ls-remote --quiet "$vlmcsd_repository" HEAD; then
    folder=$cache/vlmcsd-$(sha256sum "$vlmcsd_tarball" | cut -c1-12)
    [[ -d $folder ]] || step 'unpack the local copy of vlmcsd' unpack_vlmcsd "$folder"
    vlmcsd_line=source=$folder
  fi
}

# --- the same layouts for builders that know no oci-layout: the engine's own on the classic image store

registry_answers() { # ADDRESS
  local answer
  [[ -n $1 ]] && { exec {connection}<>"/dev/tcp/${1/://}"; } 2>/dev/null || return 1
  printf 'HEAD /v2/alpine/manifests/latest HTTP/1.1\r\nConnection: close\r\n\r\n' >&"$connection"
  read -r -t 5 answer <&"$connection" || true
  exec {connection}>&-
  [[ ${answer:-} == *' 200 '* ]]
}

start_registry() { # FOLDER
  local tries=100
  rm -f "$1/registry"
  setsid nohup python3 "$project/.ci/registry.py" "$1" >"$1/registry" 2>>"$log" </dev/null &
  until registry_answers "$(cat "$1/registry")"; do
    ((tries--)) || return 1
    sleep 0.1
  done
}

registry_contexts() { # LINES: print them with the layouts' addresses in a registry on the loopback address
  local folder=${base_list%/*}
  registry_answers "$(cat "$folder/registry" 2>/dev/null)" || step 'serve the base images on the loopback address' start_registry "$folder" >&2
  sed -E "s#=oci-layout://.*/([a-z]+)@#=docker-image://$(<"$folder/registry")/\1@#" <<<"$1"
}

engine_is_classic() { [[ $(docker info --format '{{.DriverStatus}}') != *io.containerd.snapshotter* ]]; }

write_contexts() { # FILE LINE...
  local file=$1
  shift
  printf '%s\n' "$@" | sed '/^$/d' >"$file.new"
  mv "$file.new" "$file"
}

ensure_contexts() { # MODE
  local lines='' classic='' vlmcsd_line
  base_list=/dev/null
  if ! reached registry docker pull --quiet alpine:3.22; then
    base_contexts "$1"
    lines=$(<"$base_list")
    if [[ $1 == --tests ]] || engine_is_classic; then classic=$(registry_contexts "$lines"); fi
    if engine_is_classic; then lines=$classic; fi
  fi
  vlmcsd_context
  write_contexts "$contexts" "$lines" "$vlmcsd_line"
  if [[ $1 == --tests ]]; then write_contexts "$contexts-classic" "$classic" "$vlmcsd_line"; fi
}
