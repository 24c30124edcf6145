# The words of deploy/RUNBOOK.md as functions of bash. In the project's folder, with curl, jq and redis-cli at hand:
#   . deploy/runbook.sh compose               what docker compose runs
#   . deploy/runbook.sh native                what `make up` runs without an engine (in another folder than .run/up: name it)
#   . deploy/runbook.sh kubernetes [FOLDER]   what kubectl sees in its present namespace; FOLDER holds the passwords

# Passwords go by files, pipes and the environment: what stands in a command is seen by all on the machine.
_mms_broker() { # ADDRESS PATH [CURL'S ARGUMENTS]
    curl --silent --show-error --config <(echo "user = \"operator:$(cat "$_mms_secrets/operator.broker-password")\"") \
        "$1/api/$2" "${@:3}"
}
_mms_redis() {
    REDISCLI_AUTH=$(cat "$_mms_secrets/operator.redis-password") \
        redis-cli --no-auth-warning --user operator --tls --cacert "$_mms_secrets/ca.pem" "$@"
}
# What a process said in words before it could not start goes past jq, which would give up there, as at what compose 2.26
# puts before each line.
_mms_json() { awk '{ sub(/^\033\[2K/, "") } /^[{]/ { print; next } { print > "/dev/stderr" }'; }
_mms_post() { # PORT PATH [JSON]
    curl --silent --show-error --data "${3-}" "http://127.0.0.1:$1/$2"
}
# The image has no curl.
_mms_get='import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
sys.stdout.write(answer.read().decode())'

case "${1-}" in
compose)
    _mms_secrets=.run/compose-secrets
    KEY=$(cat $_mms_secrets/app-key)
    _mms_compose() { docker compose --file deploy/compose.yaml "$@"; }
    mms-worker() { _mms_compose run --rm console "$@"; }
    LOGS() { _mms_compose logs --no-log-prefix worker receiver | _mms_json; }
    # worker-1, worker-2, receiver
    ADMIN() {
        local index=${1#*-}
        [ "$index" = "$1" ] && index=1
        _mms_compose exec --no-TTY --index "$index" "${1%-*}" python -c "$_mms_get" "http://127.0.0.1:9464/$2"
    }
    BROKER() { _mms_broker http://127.0.0.1:15672 "$@"; }
    REDIS() { _mms_redis "$@"; }
    SIM() { _mms_post 8444 "$@"; }
    ;;
native)
    _mms_folder=${2-.run/up}
    _mms_secrets=$_mms_folder/secrets
    KEY=$(cat "$_mms_secrets/app-key")
    _mms_port() { jq --raw-output --arg what "$1" '.[$what]' "$_mms_folder/ports.json"; }
    mms-worker() (. "$_mms_folder/operator.env" && .venv/bin/mms-worker "$@")
    LOGS() { cat "$_mms_folder"/logs/worker-?.log "$_mms_folder/logs/receiver.log" | _mms_json; }
    ADMIN() { curl --silent --show-error "http://127.0.0.1:$(_mms_port "$1")/$2"; }
    BROKER() { _mms_broker "http://127.0.0.1:$(_mms_port management)" "$@"; }
    REDIS() { _mms_redis -p "$(_mms_port redis)" "$@"; }
    SIM() { _mms_post "$(_mms_port simulator)" "$@"; }
    ;;
kubernetes)
    _mms_secrets=${2-deploy/kubernetes/secrets}
    mms-worker() { kubectl exec deploy/console -- mms-worker "$@"; }
    LOGS() {
        kubectl logs --selector 'app.kubernetes.io/name in (mms-worker, mms-receiver)' --tail -1 --max-log-requests 50 |
            _mms_json
    }
    # a pod, or deploy/worker, deploy/receiver: one of them
    ADMIN() { kubectl exec "$1" -- python -c "$_mms_get" "http://127.0.0.1:9464/$2"; }
    BROKER() { # through `kubectl port-forward service/rabbitmq 15671`, in another shell
        _mms_broker https://rabbitmq.mms.svc:15671 "$@" \
            --cacert "$_mms_secrets/ca.pem" --resolve rabbitmq.mms.svc:15671:127.0.0.1
    }
    REDIS() {
        kubectl exec --stdin statefulset/redis -- sh -c 'read -r REDISCLI_AUTH; export REDISCLI_AUTH; exec redis-cli \
            --no-auth-warning --user operator --tls --cacert /run/secrets/redis-tls/ca.crt "$@"' sh "$@" \
            <"$_mms_secrets/operator.redis-password"
    }
    ;;
*)
    echo 'error: say which: . deploy/runbook.sh compose, native or kubernetes' >&2
    ;;
esac
