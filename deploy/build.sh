#!/usr/bin/env bash
# Builds and pushes an image by Cloud Build, and writes the specs of the templates that launch it.
#
#   PROJECT=my-project REGION=us-central1 \
#   STAGING=gs://my-staging/palipipe TEMPLATES=gs://my-templates/palipipe \
#       deploy/build.sh tpu-v5e
#
# The image is called as --profile expects it; the specs name it by its digest.
set -euo pipefail
cd "$(dirname "$0")/.."

accelerator=${1:?"name what the workers have: cpu, gpu, tpu-v5e, tpu-v5e-2x2, tpu-v5e-2x4, tpu-v6e"}
: "${PROJECT:?}" "${REGION:?}" "${STAGING:?}" "${TEMPLATES:?}"
if [[ ! -f deploy/images.lock ]]; then
    echo "deploy/images.lock is missing: run make pin-image, and commit what it writes" >&2
    exit 1
fi
# shellcheck disable=SC1091  # made by make pin-image
source deploy/images.lock

version=$(sed -n 's/^ *version="\(.*\)",$/\1/p' setup.py)
repository=$REGION-docker.pkg.dev/$PROJECT/palipipe/palipipe-$accelerator

gcloud builds submit . \
    --project="$PROJECT" \
    --region="$REGION" \
    --config=deploy/cloudbuild.yaml \
    --gcs-source-staging-dir="$STAGING/source" \
    --service-account="projects/$PROJECT/serviceAccounts/palipipe-builder@$PROJECT.iam.gserviceaccount.com" \
    --substitutions="_ACCELERATOR=$accelerator,_BEAM_DIGEST=${BEAM_DIGEST:?},_LAUNCHER_DIGEST=${LAUNCHER_DIGEST:?},_VERSION=$version,_REVISION=$(git rev-parse HEAD),_IMAGE=$repository:$version"

digest=$(gcloud artifacts docker images describe "$repository:$version" \
    --project="$PROJECT" --format='value(image_summary.digest)')

for command in annotate screen; do
    gcloud dataflow flex-template build "$TEMPLATES/$command-$accelerator.json" \
        --project="$PROJECT" \
        --image="$repository@$digest" \
        --sdk-language=PYTHON \
        --metadata-file="deploy/$command.template.json"
done
