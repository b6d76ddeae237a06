# début
SCRIPT_ID=6f1b2c3d4e5f
COMMIT_ID=0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c
export VSCODE_AGENT_FOLDER="$HOME/.vscode-server"
no_proxy="localhost,127.0.0.1,--host=127.0.0.1"
LISTENING_ON=
EXIT_CODE=
echo "$SCRIPT_ID: running"
echo "Script executing under PID: $$"
CLI_PATH="$VSCODE_AGENT_FOLDER/code-$COMMIT_ID"
CLI_DATA_DIR="$VSCODE_AGENT_FOLDER/cli"
CLI_LOG_FILE="$VSCODE_AGENT_FOLDER/.cli.$COMMIT_ID.log"
EXEC_SERVER_TOKEN="5ec2e705-1111-4222-8333-444455550005"
LISTEN_ARGS="--on-host=127.0.0.1 --on-port"
if [ ! -x "$CLI_PATH" ]; then
    EXIT_CODE=33
fi
rm -f "$CLI_LOG_FILE"
echo "Starting the command line interface..."
VSCODE_CLI_REQUIRE_TOKEN=5ec2e705-1111-4222-8333-444455550005 "$CLI_PATH" command-shell --cli-data-dir "$CLI_DATA_DIR" --parent-process-id $$ ${LISTEN_ARGS} > "$CLI_LOG_FILE" 2>&1 < /dev/null &
echo "Spawned remote CLI: $!"

for attempt in $(seq 150); do
    LISTENING_ON="$(sed -n 's/^Listening on //p' "$CLI_LOG_FILE" 2>/dev/null)"
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
echo "execServerToken==$EXEC_SERVER_TOKEN=="
echo "platformDownloadPath==$PLATFORM_DOWNLOAD_PATH=="
echo "SSH_AUTH_SOCK==$SSH_AUTH_SOCK=="
echo "DISPLAY==$DISPLAY=="
echo "$SCRIPT_ID: end"
while true; do
    sleep 180
    printf ' '
done
