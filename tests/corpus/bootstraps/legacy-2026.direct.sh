# début
SCRIPT_ID=6f1b2c3d4e5f
COMMIT_ID=0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c
export VSCODE_AGENT_FOLDER="$HOME/.vscode-server"
no_proxy="localhost,127.0.0.1,--host=127.0.0.1"
LISTENING_ON=
EXIT_CODE=
echo "$SCRIPT_ID: running"
echo "Script executing under PID: $$"
VSCH_DIR="$VSCODE_AGENT_FOLDER/bin/$COMMIT_ID"
VSCH_SERVER_SCRIPT="$VSCH_DIR/bin/code-server"
VSCH_LOGFILE="$VSCODE_AGENT_FOLDER/.$COMMIT_ID.log"
VSCH_PIDFILE="$VSCODE_AGENT_FOLDER/.$COMMIT_ID.pid"
VSCH_TOKENFILE="$VSCODE_AGENT_FOLDER/.$COMMIT_ID.token"

write_connection_token() {
    rm -f "$VSCH_TOKENFILE"
    CONNECTION_TOKEN="5ec2e702-1111-4222-8333-444455550002"
    touch "$VSCH_TOKENFILE"
    chmod 0700 "$VSCH_TOKENFILE"
    echo $CONNECTION_TOKEN > "$VSCH_TOKENFILE"
}

start_server() {
    echo "Starting the server... \"$VSCH_SERVER_SCRIPT\" --start-server --server-data-dir \"$VSCODE_AGENT_FOLDER\" --host=10.9.8.7 --accept-server-license-terms --enable-remote-auto-shutdown $RECONNECTION_GRACE_TIME_FLAG $PORT_FLAG $TELEMETRY $SERVER_LISTEN_FLAG $EXTENSIONS &> \"$VSCH_LOGFILE\" < /dev/null"
    echo "The server's log file is $VSCH_LOGFILE"
    write_connection_token
    "$VSCH_SERVER_SCRIPT" --start-server --server-data-dir "$VSCODE_AGENT_FOLDER" --host=10.9.8.7 --accept-server-license-terms --enable-remote-auto-shutdown $RECONNECTION_GRACE_TIME_FLAG $PORT_FLAG $TELEMETRY $SERVER_LISTEN_FLAG $EXTENSIONS --connection-token-file "$VSCH_TOKENFILE" &> "$VSCH_LOGFILE" < /dev/null &
    echo $! > "$VSCH_PIDFILE"
    echo "Spawned remote server: $!"
}

if [[ ! -f $VSCH_SERVER_SCRIPT ]]; then
    echo "Installing to $VSCH_DIR..."
fi
start_server

for attempt in $(seq 150); do
    LISTENING_ON="$(sed -n 's/^Extension host agent listening on //p' "$VSCH_LOGFILE" 2>/dev/null)"
    if [ -n "$LISTENING_ON" ]; then
        break
    fi
    echo "Waiting for server log..."
    sleep .1
done

echo "$SCRIPT_ID: start"
if [ -n "$EXIT_CODE" ]; then
    echo "exitCode==$EXIT_CODE=="
fi
echo "SSH_AUTH_SOCK==$SSH_AUTH_SOCK=="
echo "DISPLAY==$DISPLAY=="
echo "webUiAccessToken==$WEB_UI_ACCESS_TOKEN=="
echo "listeningOn==$LISTENING_ON=="
echo "osReleaseId==$OS_RELEASE_ID=="
echo "arch==$ARCH=="
echo "tmpDir==$TMP_DIR=="
echo "platform==$PLATFORM=="
echo "unpackResult==$UNPACK_RESULT=="
echo "didLocalDownload==$DID_LOCAL_DOWNLOAD=="
echo "downloadTime==$DOWNLOAD_TIME=="
echo "installTime==$INSTALL_TIME=="
echo "serverStartTime==$SERVER_START_TIME=="
echo "extInstallTime==$EXT_INSTALL_TIME=="
echo "connectionToken==$CONNECTION_TOKEN=="
echo "$SCRIPT_ID: end"
while true; do
    sleep 180
    printf ' '
done
