# Server installation script
TMP_DIR="${XDG_RUNTIME_DIR:-"/tmp"}"
DISTRO_COMMIT="0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c"
SERVER_APP_NAME="codium-server"
SERVER_LISTEN_FLAG="--port=0"
SERVER_DATA_DIR="$HOME/.vscodium-server"
SERVER_SCRIPT="$SERVER_DATA_DIR/bin/$DISTRO_COMMIT/bin/$SERVER_APP_NAME"
SERVER_LOGFILE="$SERVER_DATA_DIR/.$DISTRO_COMMIT.log"
SERVER_PIDFILE="$SERVER_DATA_DIR/.$DISTRO_COMMIT.pid"
SERVER_TOKENFILE="$SERVER_DATA_DIR/.$DISTRO_COMMIT.token"
SERVER_CONNECTION_TOKEN=
LISTENING_ON=

print_install_results_and_exit() {
    echo "6f1b2c3d4e5f6f1b2c3d4e5f: start"
    echo "exitCode==$1=="
    echo "listeningOn==$LISTENING_ON=="
    echo "connectionToken==$SERVER_CONNECTION_TOKEN=="
    echo "logFile==$SERVER_LOGFILE=="
    echo "6f1b2c3d4e5f6f1b2c3d4e5f: end"
    exit 0
}

if [[ -z $(ps -o pid,args -A | grep $SERVER_SCRIPT | grep -v grep) ]]; then
    touch $SERVER_TOKENFILE
    chmod 600 $SERVER_TOKENFILE
    SERVER_CONNECTION_TOKEN="5ec2e70a-1111-4222-8333-44445555000a"
    echo $SERVER_CONNECTION_TOKEN > $SERVER_TOKENFILE
    $SERVER_SCRIPT --start-server --host=10.9.8.7 $SERVER_LISTEN_FLAG $SERVER_INITIAL_EXTENSIONS --connection-token-file $SERVER_TOKENFILE --telemetry-level off --enable-remote-auto-shutdown --accept-server-license-terms &> $SERVER_LOGFILE &
    echo $! > $SERVER_PIDFILE
fi
for i in {1..5}; do
    LISTENING_ON="$(sed -n 's/^Extension host agent listening on //p' $SERVER_LOGFILE)"
    [[ -n $LISTENING_ON ]] && break
    sleep 0.5
done
print_install_results_and_exit 0
