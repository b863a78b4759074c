#!/bin/sh
# What a training job runs after each save:
#
#   sh after_save.sh CHECKPOINT BASELINE [OPTION OF personaeval run]...
#   sh after_save.sh vllm:out/checkpoint-500 baseline --samples 2 --data math500=/data/math500.jsonl
#
# CHECKPOINT: engine:FOLDER of the checkpoint just saved; BASELINE: what `personaeval baseline RUN -o DIR` wrote.
# TASKS, PERSONAS, LIMIT, MAX_TOKENS, RESULTS and POLICY can be set in the environment. Settings must be those of the
# baseline.
#
# INCONCLUSIVE is what to do if the data cannot tell, which with 500 items means a true decline of about 2.5 to 8
# points (docs/checks.md):
#   warn  go on, with a warning [default]
#   fail  stop, as for a regression
#   more  ask again with MORE ["--samples 4"] and check against BASELINE-more, made with the same options; what is
#         inconclusive even then stops
# Exits with 0 to go on, 1 REGRESSION, 3 INCONCLUSIVE, or what `personaeval` exits with if there is no verdict.
set -eu

checkpoint=$1
baseline=$2
shift 2
inconclusive=${INCONCLUSIVE:-warn}
results=${RESULTS:-results}
folders=$(mktemp)
trap 'rm -f "$folders"' EXIT

case $inconclusive in
warn | fail | more) ;;
*)
    echo "INCONCLUSIVE=$inconclusive: warn, fail or more is expected" >&2
    exit 2
    ;;
esac

# ask_and_check BASELINE [OPTION…]: a checkpoint that was asked already costs nothing, its answers are in the ledger.
ask_and_check() {
    against=$1
    shift
    personaeval run --quiet --model "$checkpoint" --tasks "${TASKS:-math500}" --personas "${PERSONAS:-core}" \
        ${LIMIT:+--limit "$LIMIT"} ${MAX_TOKENS:+--max-tokens "$MAX_TOKENS"} "$@" \
        --output "$results" --folders "$folders" || exit $?
    test -s "$folders" || exit 70
    personaeval check "$against" "$(cat "$folders")" --policy "${POLICY:-gate.yaml}" --junit "$results/check.xml"
}

verdict=0
ask_and_check "$baseline" "$@" || verdict=$?
if [ "$verdict" -eq 3 ] && [ "$inconclusive" = more ]; then
    verdict=0
    # shellcheck disable=SC2086  # several options
    ask_and_check "$baseline-more" "$@" ${MORE:---samples 4} || verdict=$?
fi

case $verdict in
0) echo "continue training" ;;
1) echo "stop: worse than the baseline by more than the policy allows" ;;
3)
    if [ "$inconclusive" = warn ]; then
        echo "continue training, with a warning: the data cannot tell"
        verdict=0
    else
        echo "stop: the data cannot tell"
    fi
    ;;
*) echo "no verdict" ;;
esac
exit "$verdict"
