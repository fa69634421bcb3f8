#!/usr/bin/env bash
# Launches a job from a template once, by the same request that the schedule makes.
#
#   PROJECT=my-project REGION=us-central1 deploy/launch.sh my-launch.json
set -euo pipefail

body=${1:?"name the request's body: a copy of deploy/launch.json with your values"}
: "${PROJECT:?}" "${REGION:?}"

# The token comes by a file descriptor: a command's words are there for all to see.
curl --fail-with-body --silent --show-error \
    --header @<(printf 'Authorization: Bearer %s\n' "$(gcloud auth print-access-token)") \
    --header "Content-Type: application/json" \
    --data-binary "@$body" \
    "https://dataflow.googleapis.com/v1b3/projects/$PROJECT/locations/$REGION/flexTemplates:launch"
