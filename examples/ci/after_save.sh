#!/bin/sh
# What a training job runs after each save:
#
#   sh after_save.sh CHECKPOINT BASELINE
#
# CHECKPOINT: engine:FOLDER of the checkpoint just saved; BASELINE: what `personaeval baseline RUN -o DIR` wrote.
# TASKS, PERSONAS, LIMIT, RESULTS and POLICY can be set in the environment; they must be those of the baseline.
# Exits with 0 PASS, 1 REGRESSION, 3 INCONCLUSIVE, or what `personaeval` exits with where there is no verdict.
set -eu

checkpoint=$1
baseline=$2
results=${RESULTS:-results}
folders=$(mktemp)
trap 'rm -f "$folders"' EXIT

# A checkpoint that was asked already costs nothing: its answers are in the ledger.
personaeval run --quiet --model "$checkpoint" --tasks "${TASKS:-math500}" --personas "${PERSONAS:-core}" \
    ${LIMIT:+--limit "$LIMIT"} ${MAX_TOKENS:+--max-tokens "$MAX_TOKENS"} --output "$results" --folders "$folders"

test -s "$folders"
verdict=0
personaeval check "$baseline" "$(cat "$folders")" --policy "${POLICY:-gate.yaml}" --junit "$results/check.xml" ||
    verdict=$?

case $verdict in
0) echo "go on training" ;;
1) echo "stop: worse than the baseline by more than the policy allows" ;;
3) echo "go on, but look: these items cannot tell" ;;
*) echo "no verdict" ;;
esac
exit "$verdict"
