#!/usr/bin/env bash
# Upload a picture, wait, search with it and fetch its mask: the API with curl alone.
#   examples/curl.sh PICTURE NAME-OF-A-NEW-COLLECTION MASK.png
# Reads PAYSAGE_URL (http://127.0.0.1:8000 by default) and PAYSAGE_TOKEN.
set -euo pipefail

api="${PAYSAGE_URL:-http://127.0.0.1:8000}/api/v1"
: "${PAYSAGE_TOKEN:?Set PAYSAGE_TOKEN to a token: make one on the account page.}"
picture=$1 name=$2 mask=$3

# The token comes from standard input, so that no list of processes shows it.
ask() { curl --silent --show-error --fail-with-body --header @- "$@" <<<"Authorization: Bearer $PAYSAGE_TOKEN"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

collection=$(ask "$api/collections" --json "{\"name\": \"$name\"}" | field id)
image=$(ask "$api/images" --header "Idempotency-Key: $(sha256sum <"$picture" | cut -c1-64)-$collection" \
  --form "collection=$collection" --form "file=@$picture" | field id)
echo "image $image"

until state=$(ask "$api/images/$image/analysis" | field state); [[ $state != queued && $state != running ]]; do
  sleep 0.5
done
echo "analysis $state"
[[ $state == done ]]

ask "$api/searches" --json "{\"like\": [{\"image\": \"$image\"}], \"limit\": 3}" |
  python3 -c 'import json, sys; [print(hit["score"], hit["title"]) for hit in json.load(sys.stdin)["results"]]'

ask "$api/images/$image/mask.png" --output "$mask"
echo "mask $mask"
