# shellcheck shell=bash
# The project and its test dependencies in a virtual environment of its own.

venv=$project/.venv

python_can() { python3 -c "$1" 2>/dev/null; }

install_python() {
  knows_package python3-venv || apt_update
  apt_install python3 python3-venv
}

make_venv() {
  [[ -x $venv/bin/python ]] && "$venv/bin/python" -c 'import pip' || python3 -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$project[test]"
}

ensure_venv() {
  local stamp
  stamp=$(sha256sum "$project/pyproject.toml")
  [[ -x $venv/bin/pytest && $(cat "$venv/.made-from" 2>/dev/null) == "$stamp" ]] && return
  if ! python_can 'import ensurepip, venv'; then
    need_packages 'python3 with its module venv is missing' python3-venv
    step 'install python3-venv' install_python
  fi
  python_can 'import sys; sys.exit(sys.version_info < (3, 10))' || die "python3 is $(python3 --version), and this project needs Python 3.10 or later. Put a newer python3 first on PATH, then run this again."
  step 'install the project and its test dependencies into .venv' make_venv
  printf '%s\n' "$stamp" >"$venv/.made-from"
}
