#!/usr/bin/env bash
# Has Cloud Scheduler launch a job from a template every night; run again, it changes the schedule.
#
#   PROJECT=my-project REGION=us-central1 deploy/schedule.sh my-launch.json
#   SCHEDULE="0 3 * * 1-5" TIME_ZONE=Europe/Zurich … deploy/schedule.sh my-launch.json
set -euo pipefail

body=${1:?"name the request's body: a copy of deploy/launch.json with your values"}
: "${PROJECT:?}" "${REGION:?}"
name=${NAME:-palipipe-daily}

verb=create
if gcloud scheduler jobs describe "$name" \
    --project="$PROJECT" --location="$REGION" --format=none 2>/dev/null; then
    verb=update
fi

# A request that is sent again because its answer was lost would launch a second job, were it not
# that Dataflow refuses one of the same name; so it isn't sent again, and the next night goes on.
gcloud scheduler jobs "$verb" http "$name" \
    --project="$PROJECT" \
    --location="$REGION" \
    --schedule="${SCHEDULE:-0 3 * * *}" \
    --time-zone="${TIME_ZONE:-Etc/UTC}" \
    --uri="https://dataflow.googleapis.com/v1b3/projects/$PROJECT/locations/$REGION/flexTemplates:launch" \
    --http-method=POST \
    --message-body-from-file="$body" \
    --oauth-service-account-email="palipipe-scheduler@$PROJECT.iam.gserviceaccount.com" \
    --oauth-token-scope=https://www.googleapis.com/auth/cloud-platform \
    --max-retry-attempts=0 \
    --attempt-deadline=180s
