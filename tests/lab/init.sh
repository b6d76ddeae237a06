#!/bin/sh
# Become a node: called in namespaces of its own, says its pid, waits until its network is
# there, and ends as tini. When whoever started it dies before that, so does this.
set -eu
umask 022

read -r pid _ </proc/self/stat # in the words of the machine's /proc, not the new namespace's
echo "$pid"
read -r go
[ "$go" = go ]

address() { # DEVICE ADDRESS: the networks are /24
  [ -z "$2" ] || ip -batch - <<EOF
address add $2/24 dev $1
link set $1 up
EOF
}

memory() { # MODE DIRECTORY [OPTION]: what a node writes may not fill the machine's memory
  mount -t tmpfs -o "size=1g,mode=$1${3:+,$3}" node "$2"
}

overlaid() { # DIRECTORY: show the machine's below a layer of the node's own
  layer=$mount_point/$(echo "$1" | tr / -)
  mkdir "$layer" "$layer/upper" "$layer/work"
  mount -t overlay -o "lowerdir=$1,upperdir=$layer/upper,workdir=$layer/work" node "$root$1" || {
    echo "$1 is a file system of its own that no overlay can be on" >&2
    exit 1
  }
}

own_root() { # everything of the machine is visible, and nothing of it can be changed
  mount --make-rprivate /
  memory 755 "$mount_point"
  mkdir "$root"
  for directory in / $LAB_MOUNTS; do overlaid "$directory"; done
  # Root's own settings and keys, and other labs' state, are the machine's business.
  for directory in run root var/lib/vscadmin-lab; do memory 755 "$root/$directory"; done
  for directory in tmp var/tmp; do memory 1777 "$root/$directory"; done
  chmod 700 "$root/root"
  mkdir -m 1777 "$root/run/lock"
}

own_kernel_views() { # what is set in /proc/sys and /sys is set for the whole machine
  mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
  for path in "$root/proc/sys" "$root/proc/sysrq-trigger"; do
    [ ! -e "$path" ] || { mount --bind "$path" "$path" && mount -o remount,bind,ro "$path"; }
  done
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
  if [ "$LAB_CGROUPS" = v2 ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/system.slice" # which slurmd takes for granted
  else
    memory 755 "$root/sys/fs/cgroup"
    for controllers in $LAB_CGROUPS; do
      mkdir "$root/sys/fs/cgroup/$controllers"
      mount -t cgroup -o "$controllers" cgroup "$root/sys/fs/cgroup/$controllers"
    done
  fi
}

own_devices() {
  memory 755 "$root/dev" nosuid
  for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
  memory 1777 "$root/dev/shm"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  ln -s fd/0 "$root/dev/stdin"
  ln -s fd/1 "$root/dev/stdout"
  ln -s fd/2 "$root/dev/stderr"
}

own_settings() { # the machine's cron jobs, users, names and its own Slurm do not exist here
  rm -rf "$root"/etc/cron.* "$root/etc/crontab" "$root/var/spool/cron/crontabs" "$root/etc/vscadmin" \
    "$root/etc/ssh/ssh_config.d" "$root/etc/ssh/sshd_config.d" "$root/etc/resolv.conf" "$root/etc/hostname" \
    "$root/etc/slurm" "$root"/var/spool/slurm* "$root/etc/munge/munge.key"
  mkdir "$root/etc/cron.d"
  rm -rf "$root/var/log" && mkdir "$root/var/log"
  install -d -m 1730 -g crontab "$root/var/spool/cron/crontabs"
  for role in all $LAB_ROLES; do
    for source in "$LAB_FILES/$role" "$LAB_STATE/files/$role"; do
      [ ! -d "$source" ] || cp -R --no-preserve=all --remove-destination "$source/." "$root/"
    done
  done
  [ ! -f "$root/etc/slurm/cgroup.conf" ] || echo "CgroupPlugin=$slurm_cgroups" >>"$root/etc/slurm/cgroup.conf"
  echo "$LAB_NODE" >"$root/etc/hostname"
  printf 'search cluster.test\nnameserver 10.78.0.2\noptions timeout:10 attempts:3\n' >"$root/etc/resolv.conf"
  own_accounts
}

own_accounts() { # the system's accounts stay, those of people become the lab's
  for file in passwd group; do
    awk -F: '$3 < 1000 || $3 >= 60000 || $1 == "slurm"' "/etc/$file" |
      cat - "$root/etc/lab/$file" >"$root/etc/$file.new"
    mv "$root/etc/$file.new" "$root/etc/$file"
  done
  rm -f "$root/etc/shadow"
  (umask 077 && awk -F: '{ print $1 ":*:19000:0:99999:7:::" }' "$root/etc/passwd" >"$root/etc/shadow")
}

shared_folders() {
  memory 755 "$root/home"
  [ -z "$LAB_HOME" ] || {
    mount --bind "$LAB_STATE/$LAB_HOME" "$root/home"
    mkdir -m 700 "$root/etc/lab/homes" # as they are at first
    cp -a "$LAB_STATE/$LAB_HOME/." "$root/etc/lab/homes"
    chmod 700 "$root/etc/lab/homes"
  }
  [ -z "$LAB_SOFTWARE$LAB_VSCODE" ] || memory 755 "$root/opt"
  [ -z "$LAB_VSCODE" ] || shown "$LAB_VSCODE" "$root/opt/vscode-server"
  [ -z "$LAB_SOFTWARE" ] || {
    shown "$LAB_SOFTWARE" "$root/opt/vscadmin"
    for command in vscadmin vscode-shell-proxy; do
      ln -sf "/opt/vscadmin/bin/$command" "$root/usr/local/bin/$command"
    done
  }
}

shown() { # SOURCE TARGET
  mkdir "$2"
  mount --bind "$1" "$2"
  mount -o remount,bind,ro "$2"
}

case $LAB_CGROUPS in v2) slurm_cgroups=cgroup/v2 ;; *) slurm_cgroups=cgroup/v1 ;; esac
mount_point=$LAB_STATE/nodes/$LAB_NODE
root=$mount_point/root
hostname "$LAB_NODE"
ip link set lo up
# A peer that does not answer is given up after seconds: sshd's own ClientAlive does not see it
# while a forwarded connection has something to say.
echo 4 >/proc/sys/net/ipv4/tcp_retries2 # of this network namespace
address inside "$LAB_INSIDE"
address outside "$LAB_OUTSIDE"
own_root
own_kernel_views
own_devices
own_settings
shared_folders

cd "$root"
pivot_root . mnt
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  sh -c 'umount -l /mnt && cd / && exec tini -- sh /etc/lab/start' </dev/null >/var/log/lab.log 2>&1
