#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, for the tests of job submission. Needs root and Debian's slurm-wlm and munge.
# It lives in a folder of its own and leaves /etc/slurm and any other cluster's state alone. Running it again, also at the
# same time, does no harm. The last line printed is the configuration that clients need: export SLURM_CONF=<that line>.
set -euo pipefail

home=${1:-/tmp/simlingo-slurm}
mkdir -p "$home" && chmod 0755 "$home"
exec 9> "$home/lock"
flock 9

export SLURM_CONF="$home/slurm.conf"
node_is_up() { sinfo --noheader --format %T 2> /dev/null | grep -qE 'idle|mixed|allocated'; }
if [ -s "$SLURM_CONF" ] && node_is_up; then
    echo "$SLURM_CONF"
    exit 0
fi

start_munge() {
    mkdir -p /etc/munge /run/munge /var/log/munge /var/lib/munge
    [ -s /etc/munge/munge.key ] || dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
    chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
    chmod 0400 /etc/munge/munge.key
    pidof munged > /dev/null || runuser -u munge -- munged 9>&-
}

write_configuration() {
    local node memory_mb
    node=$(hostname -s)
    memory_mb=$(awk '/MemTotal/ {print int($2 / 1024) - 1024}' /proc/meminfo)
    mkdir -p "$home/controller" "$home/node"
    cat > "$SLURM_CONF" << CONF
ClusterName=simlingo
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=27817
SlurmdPort=27818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$home/controller
SlurmdSpoolDir=$home/node
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory_mb State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
}

start_munge
write_configuration
# Daemons must not inherit the lock, or it would stay taken as long as they live.
slurmctld -c -f "$SLURM_CONF" 9>&-
slurmd -c -f "$SLURM_CONF" 9>&-

for _ in $(seq 60); do
    if node_is_up; then
        echo "$SLURM_CONF"
        exit 0
    fi
    sleep 1
done
echo "the SLURM node did not come up within 60 s; the daemons' own words:" >&2
tail -n 5 "$home/slurmctld.log" "$home/slurmd.log" >&2
exit 1
