#!/bin/sh
# Gets a price, reads an error, and follows prices through every cut of the connection. Needs curl and jq.
set -eu
last=$(mktemp)
trap 'rm -f "$last"' EXIT
ask() { curl -sS -H "Authorization: Bearer $TRINITY_KEY" "$@"; }

ask --max-time 5 "$TRINITY_HTTP/v1/prices/BTC?min_sources=1" | jq -r '"price \(.asset) \(.price) \(.state)"'

# An error is a google.rpc.Status: its reason stands in the ErrorInfo among its details.
ask --max-time 5 "$TRINITY_HTTP/v1/prices/NOPE" |
  jq -r '"error \(.details[] | select(.["@type"] | endswith("ErrorInfo")) | .reason) \(.code)"'

# One stream of server-sent events. It ends when nothing comes for 5 s, though a heartbeat is due each second.
follow() {
  ask -N --speed-limit 1 --speed-time 5 -H 'Accept: text/event-stream' -H "Last-Event-ID: $(cat "$last")" \
    "$TRINITY_HTTP/v1/prices:watch?assets=BTC&assets=ETH&heartbeat_ms=1000" |
    while read -r field value; do
      case $field in
        id:) printf %s "$value" > "$last" ;;
        data:) printf '%s\n' "$value" | jq -r '.prices[]? | "change \(.asset) \(.price) \(.state)"' || exit 3 ;;
      esac
    done
}

# A stream that is lost is opened again, and goes on after the last event that came.
while :; do
  follow || break
  sleep 1
done 2> /dev/null | if [ -n "${TRINITY_CHANGES:-}" ]; then head -n "$TRINITY_CHANGES"; else cat; fi

# A datagram needs no key for a look; with a session it is signed (docs/udp.md).
printf 'GET BTC USD' | nc -u -w1 "${TRINITY_UDP%:*}" "${TRINITY_UDP##*:}"
