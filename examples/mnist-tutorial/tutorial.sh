#!/bin/bash
# The tutorial of batch endpoints, verb for verb, against a coordinator of yours. `az` stands for `batchmill`, so that what you
# know, or have in scripts, runs as it is: `ml`, -g and -w are accepted and mean nothing here.
#
#   MODEL_TORCH, MODEL_KERAS  two .onnx files that read 28x28 digits
#   IMAGES                    folder of PNG files
#   WORK                      where results are put (default: a new folder)
#   BATCHMILL                 the program (default: batchmill)
# $WHERE is several words, or none.
# shellcheck disable=SC2086,SC2139
set -e
shopt -s expand_aliases
alias az="${BATCHMILL:-batchmill}"
cd "$(dirname "${BASH_SOURCE[0]}")"
: "${MODEL_TORCH:?the first model}" "${MODEL_KERAS:?the second model}" "${IMAGES:?the images}"
WORK="${WORK:-$(mktemp -d)}"
WHERE="-g my-group -w my-workspace"
ENDPOINT_NAME="digits-$RANDOM"

echo "== models"
az ml model create $WHERE --name digits-torch --type custom_model --path "$MODEL_TORCH"
az ml model create $WHERE --name digits-keras --path "$MODEL_KERAS"
# Scripts look this way whether a model is there.
az ml model show $WHERE --name digits-torch --label latest --query version -o tsv

echo "== endpoint"
az ml batch-endpoint create $WHERE --file endpoint.yml --name "$ENDPOINT_NAME" --set tags.team=digits description="Reads digits"
az ml batch-endpoint show $WHERE --name "$ENDPOINT_NAME" --query "{Name:name, Team:tags.team}" --output table

echo "== first deployment"
az ml batch-deployment create $WHERE --file by-script/deployment.yml --endpoint "$ENDPOINT_NAME" --set-default
az ml batch-deployment show $WHERE --name by-script --endpoint-name "$ENDPOINT_NAME"

wait_for() {
  az ml job stream $WHERE --name "$1"
  STATUS=$(az ml job show $WHERE -n "$1" --query status -o tsv)
  echo "$1: $STATUS"
  if [[ $STATUS != "Completed" ]]; then
    echo "the job has not completed" >&2
    exit 2
  fi
}

echo "== invoke"
JOB_NAME=$(az ml batch-endpoint invoke $WHERE --name "$ENDPOINT_NAME" --input "$IMAGES" --input-type uri_folder --query name -o tsv)
wait_for "$JOB_NAME"
az ml job download $WHERE --name "$JOB_NAME" --output-name score --download-path "$WORK/first"

echo "== invoke with other settings for this job"
OTHER_JOB=$(az ml batch-endpoint invoke $WHERE --name "$ENDPOINT_NAME" --input "$IMAGES" \
  --mini-batch-size 20 --instance-count 1 --output-path "$WORK/other" \
  --set output_file_name=digits.csv retry_settings.max_retries=1 error_threshold=0 --query name -o tsv)
wait_for "$OTHER_JOB"
cmp "$WORK/other/digits.csv" "$WORK/first/named-outputs/score/predictions.csv"

echo "== jobs"
az ml batch-endpoint list-jobs $WHERE --name "$ENDPOINT_NAME" --query "[].name" -o tsv
az ml batch-endpoint list-jobs $WHERE --name "$ENDPOINT_NAME" --query "[].{Name:name, Status:status}" --output table

echo "== second deployment"
az ml batch-deployment create $WHERE --f no-code/deployment.yml -e "$ENDPOINT_NAME"
az ml batch-deployment list $WHERE -e "$ENDPOINT_NAME" --query [].name
SECOND_JOB=$(az ml batch-endpoint invoke $WHERE --name "$ENDPOINT_NAME" --deployment-name no-code --input "$IMAGES" --query name -o tsv)
wait_for "$SECOND_JOB"
az ml job download $WHERE --name "$SECOND_JOB" --output-name score --download-path "$WORK/second"

echo "== the second one is the default"
az ml batch-endpoint update $WHERE --name "$ENDPOINT_NAME" --set defaults.deployment_name=no-code
az ml batch-endpoint show $WHERE -n "$ENDPOINT_NAME" --query "{Name:name, Defaults:defaults}"
az ml batch-deployment delete $WHERE --name by-script --endpoint-name "$ENDPOINT_NAME" --yes

echo "== clean up"
az ml batch-endpoint delete $WHERE --name "$ENDPOINT_NAME" --yes
# The jobs stay.
az ml job show $WHERE -n "$JOB_NAME" --query "{Name:name, Jobstatus:status}" --output table
echo "results in $WORK"
