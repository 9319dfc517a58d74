#!/bin/sh
# Hands secrets over to the program: from files that were mounted, or from what the orchestrator put into the
# environment, which no process of ours shall inherit.
#   TRINITY_…_URL_FILE       a file with the value of TRINITY_…_URL
#   TRINITY_SECRETS_SOURCE   a file with the mesh's secrets, whoever may read it; or
#   TRINITY_SECRETS          their text
set -eu
umask 077

for name in TRINITY_STORAGE_POSTGRES_URL TRINITY_STORAGE_VALKEY_URL; do
    eval "file=\${${name}_FILE:-}"
    if [ -n "$file" ]; then
        value=$(cat "$file") || { echo "entrypoint: ${name}_FILE names $file, which cannot be read" >&2; exit 78; }
        export "$name=$value"
        unset "${name}_FILE"
    fi
done

target=${TRINITY_RUN_DIR:-/run/trinity}/secrets.json
if [ -n "${TRINITY_SECRETS_SOURCE:-}" ]; then
    cat "$TRINITY_SECRETS_SOURCE" > "$target" ||
        { echo "entrypoint: TRINITY_SECRETS_SOURCE names $TRINITY_SECRETS_SOURCE, which cannot be read" >&2; exit 78; }
    export TRINITY_SECRETS_FILE="$target"
elif [ -n "${TRINITY_SECRETS:-}" ]; then
    printf '%s' "$TRINITY_SECRETS" > "$target"
    export TRINITY_SECRETS_FILE="$target"
fi
unset TRINITY_SECRETS TRINITY_SECRETS_SOURCE

exec "$@"
