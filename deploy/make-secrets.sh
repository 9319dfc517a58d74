#!/bin/sh
# Makes deploy/secrets for compose.yaml, once; nothing that is there is changed.
#   sh deploy/make-secrets.sh [FOLDER]
# The folder is closed to others. The files in it are open, because the account inside a container is not yours.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 0700 "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -e "$folder/trinity.json" ]; then
    printf '{"pepper": "%s", "udp_master": "%s", "cursor": "%s"}\n' "$(random)" "$(random)" "$(random)" \
        > "$folder/trinity.json"
fi
if [ ! -e "$folder/postgres_password" ]; then
    password=$(random)
    printf '%s' "$password" > "$folder/postgres_password"
    printf 'postgresql://trinity:%s@postgres:5432/trinity' "$password" > "$folder/postgres_url"
fi
chmod 0444 "$folder/trinity.json" "$folder/postgres_password" "$folder/postgres_url"
