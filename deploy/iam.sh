#!/usr/bin/env bash
# Makes the service accounts and grants each what it needs, and no more; run again, it changes
# nothing. deploy/README.md has the same as a table.
#
#   PROJECT=my-project REGION=us-central1 \
#   INPUT=gs://my-corpus/shards/ MODELS=gs://my-models/paligemma/ OUTPUT=gs://my-results/annotated/ \
#   STAGING=gs://my-staging/palipipe/ TEMPLATES=gs://my-templates/palipipe/ \
#       deploy/iam.sh
#
# CLOUD_FILTERS="dlp language vision" names those of Google's services that the filters ask.
set -euo pipefail

: "${PROJECT:?}" "${REGION:?}" "${INPUT:?}" "${MODELS:?}" "${OUTPUT:?}" "${STAGING:?}"
: "${TEMPLATES:?}" "${CLOUD_FILTERS:=}"
for folder in "$INPUT" "$MODELS" "$OUTPUT" "$STAGING" "$TEMPLATES"; do
    if [[ $folder != gs://*/*/ ]]; then
        echo "$folder: write a folder as gs://BUCKET/FOLDER/" >&2
        exit 1
    fi
done

member() {
    echo "serviceAccount:palipipe-$1@$PROJECT.iam.gserviceaccount.com"
}

account() {
    gcloud iam service-accounts describe "palipipe-$1@$PROJECT.iam.gserviceaccount.com" \
        --project="$PROJECT" --format=none 2>/dev/null ||
        gcloud iam service-accounts create "palipipe-$1" \
            --project="$PROJECT" --display-name="palipipe $1"
}

on_project() { # account role
    gcloud projects add-iam-policy-binding "$PROJECT" \
        --member="$(member "$1")" --role="$2" --condition=None --format=none
}

on_repository() { # account role
    gcloud artifacts repositories add-iam-policy-binding palipipe \
        --project="$PROJECT" --location="$REGION" \
        --member="$(member "$1")" --role="$2" --format=none
}

on_account() { # account role whose
    gcloud iam service-accounts add-iam-policy-binding \
        "palipipe-$3@$PROJECT.iam.gserviceaccount.com" \
        --project="$PROJECT" --member="$(member "$1")" --role="$2" --format=none
}

on_bucket() { # account role gs://bucket/folder/
    local bucket=${3#gs://}
    gcloud storage buckets add-iam-policy-binding "gs://${bucket%%/*}" \
        --member="$(member "$1")" --role="$2" --format=none
}

# Of a bucket, the folder alone. What it holds is listed by a request to the bucket, and so is named
# by an attribute of that request.
on_folder() { # account role gs://bucket/folder/
    local path=${3#gs://}
    local bucket=${path%%/*} folder=${path#*/}
    local condition
    condition=$(
        cat <<EOF
title: $(tr -c 'a-z0-9\n' '-' <<<"$folder")
expression: |-
  resource.name.startsWith("projects/_/buckets/$bucket/objects/$folder") ||
  api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("$folder")
EOF
    )
    gcloud storage buckets add-iam-policy-binding "gs://$bucket" \
        --member="$(member "$1")" --role="$2" --condition-from-file=<(echo "$condition") \
        --format=none
}

gcloud services enable --project="$PROJECT" \
    artifactregistry.googleapis.com cloudbuild.googleapis.com cloudscheduler.googleapis.com \
    compute.googleapis.com dataflow.googleapis.com storage.googleapis.com
for filter in $CLOUD_FILTERS; do
    gcloud services enable --project="$PROJECT" "$filter.googleapis.com"
done
gcloud artifacts repositories describe palipipe \
    --project="$PROJECT" --location="$REGION" --format=none 2>/dev/null ||
    gcloud artifacts repositories create palipipe \
        --project="$PROJECT" --location="$REGION" --repository-format=docker
for who in builder scheduler launcher worker; do
    account "$who"
done

on_project builder roles/logging.logWriter
on_repository builder roles/artifactregistry.writer
on_folder builder roles/storage.objectViewer "$STAGING"

on_project scheduler roles/dataflow.developer
on_account scheduler roles/iam.serviceAccountUser worker
on_folder scheduler roles/storage.objectViewer "$TEMPLATES"

on_project launcher roles/dataflow.developer
on_account launcher roles/iam.serviceAccountUser worker
on_bucket launcher roles/storage.bucketViewer "$STAGING"

on_project worker roles/dataflow.worker
on_repository worker roles/artifactregistry.reader

for who in launcher worker; do
    on_folder "$who" roles/storage.objectViewer "$INPUT"
    on_folder "$who" roles/storage.objectViewer "$MODELS"
    on_folder "$who" roles/storage.objectUser "$OUTPUT"
    on_folder "$who" roles/storage.objectUser "$STAGING"
done

if [[ " $CLOUD_FILTERS " == *" dlp "* ]]; then
    on_project worker roles/dlp.user
fi
