# shellcheck shell=bash
# What every part of the set-up uses: messages, logged steps, locks, Debian's packages.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytest-multiarch
log=$cache/setup.log
export DEBIAN_FRONTEND=noninteractive

mkdir -p "$cache"

die() { # TEXT: one paragraph that says what is wrong and what to do
  printf 'set-up stopped: %s\n' "$*" >&2
  exit 1
}

pin() { # NAME: print what the product's table of pins says
  PYTHONPATH=$project python3 -c 'import sys; from pytest_multiarch import pins; print(getattr(pins, sys.argv[1]))' "$1"
}

have() { command -v "$1" >/dev/null; }

on_debian() { # is this Debian or Ubuntu?
  # shellcheck source=/dev/null
  (. /etc/os-release 2>/dev/null && [[ " $ID ${ID_LIKE:-} " == *" debian "* ]])
}

step() { # TITLE COMMAND...: run it with its output in the log; say what is done, how long it took, and why it failed
  local title=$1 started=$SECONDS code=0 before
  shift
  touch "$log"
  before=$(stat -c %s "$log")
  printf '==> %s\n' "$title"
  printf '\n==> %s: %s\n' "$title" "$*" >>"$log"
  set +e
  (
    set -e
    "$@"
  ) >>"$log" 2>&1 </dev/null
  code=$?
  set -e
  if ((code)); then
    tail -c +$((before + 1)) "$log" | tail -n 25 | sed 's/^/    /' >&2
    die "\"$title\" failed (exit $code); the lines above are the end of $log. It is safe to run this again."
  fi
  printf '    done in %s s\n' $((SECONDS - started))
}

locked() { # COMMAND...: run it while no other set-up of this user (of this machine, for root) runs
  local file=$cache/setup.lock fd
  ((EUID == 0)) && file=/run/pytest-multiarch-setup.lock
  exec {fd}>"$file"
  if ! flock --nonblock "$fd"; then
    printf '==> waiting for another set-up that is running (it holds %s)\n' "$file"
    flock "$fd"
  fi
  "$@" {fd}>&- # what it starts in the background must not hold the lock
  exec {fd}>&-
}

need_packages() { # WHY PACKAGE...: stop with a clear word unless Debian's packages can be installed
  local why=$1
  shift
  on_debian || die "$why. Installing it by itself works on Debian and Ubuntu only; please install what provides $*, then run this again."
  ((EUID == 0)) || die "$why. Installing $* takes root: run this again as root, or ask an administrator to install them."
}

apt() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Acquire::Languages=none "$@"; }

apt_update() { # refresh the lists; a third party's source that is down is no reason to stop
  apt update || printf 'some package lists could not be fetched\n'
}

apt_install() { # PACKAGE...: those that this release has
  local package known=()
  for package; do
    if knows_package "${package%/*}"; then known+=("$package"); fi
  done
  if ((${#known[@]} == 0)); then
    printf 'apt knows none of: %s. Is its package source (see /etc/apt/sources.list.d) reachable?\n' "$*"
    return 1
  fi
  apt install --no-install-recommends "${known[@]}"
}

missing_packages() { # PACKAGE...: print those that are not installed
  comm -13 <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | sort) <(printf '%s\n' "$@" | sort)
}

knows_package() { [[ -n $(apt-cache madison "$1" 2>/dev/null) ]]; } # PACKAGE: do the lists of packages name it?

debian_mirror() { # print the address that this machine takes its Debian release from
  # shellcheck source=/dev/null
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" '$1 == suite { print $2; exit }'
}
