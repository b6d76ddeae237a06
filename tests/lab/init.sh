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

own_root() { # everything of the machine is visible, and nothing of it can be changed
  mount --make-rprivate /
  mount -t tmpfs -o mode=755 node "$mount_point"
  mkdir "$mount_point/upper" "$mount_point/work" "$mount_point/root"
  root=$mount_point/root
  mount -t overlay -o "lowerdir=/,upperdir=$mount_point/upper,workdir=$mount_point/work" node "$root"
  # Root's own settings and keys, and other labs' state, are the machine's business.
  for directory in run root var/lib/vscadmin-lab; do mount -t tmpfs -o mode=755 node "$root/$directory"; done
  for directory in tmp var/tmp; do mount -t tmpfs -o mode=1777 node "$root/$directory"; done
  chmod 700 "$root/root"
  mkdir -m 1777 "$root/run/lock"
}

own_kernel_views() {
  mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
  mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
  if [ "$LAB_CGROUPS" = v2 ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  else
    mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
    for controllers in $LAB_CGROUPS; do
      mkdir "$root/sys/fs/cgroup/$controllers"
      mount -t cgroup -o "$controllers" cgroup "$root/sys/fs/cgroup/$controllers"
    done
  fi
}

own_devices() {
  mount -t tmpfs -o mode=755,nosuid node "$root/dev"
  for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
  mount -t tmpfs -o mode=1777 node "$root/dev/shm"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  ln -s fd/0 "$root/dev/stdin"
  ln -s fd/1 "$root/dev/stdout"
  ln -s fd/2 "$root/dev/stderr"
}

own_settings() { # the machine's cron jobs, users and names do not exist here
  rm -rf "$root"/etc/cron.* "$root/etc/crontab" "$root/var/spool/cron/crontabs" "$root/etc/vscadmin" \
    "$root/etc/ssh/ssh_config.d" "$root/etc/ssh/sshd_config.d" "$root/etc/resolv.conf" "$root/etc/hostname"
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
  printf 'search cluster.test\nnameserver 10.78.0.2\noptions timeout:1 attempts:1\n' >"$root/etc/resolv.conf"
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
  mount -t tmpfs -o mode=755 node "$root/home"
  [ -z "$LAB_HOME" ] || mount --bind "$LAB_STATE/$LAB_HOME" "$root/home"
  [ -z "$LAB_SOFTWARE" ] || {
    mount -t tmpfs -o mode=755 node "$root/opt"
    mkdir "$root/opt/vscadmin"
    mount --bind "$LAB_SOFTWARE" "$root/opt/vscadmin"
    mount -o remount,bind,ro "$root/opt/vscadmin"
    ln -sf "/opt/vscadmin/bin/vscadmin" "$root/usr/local/bin/vscadmin"
  }
}

case $LAB_CGROUPS in v2) slurm_cgroups=cgroup/v2 ;; *) slurm_cgroups=cgroup/v1 ;; esac
mount_point=$LAB_STATE/nodes/$LAB_NODE
hostname "$LAB_NODE"
ip link set lo up
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
