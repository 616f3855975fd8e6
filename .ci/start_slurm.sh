#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, for the tests of job submission. Needs root and Debian's slurm-wlm and munge.
# Running it again does no harm.
set -euo pipefail

node=$(hostname -s)
memory_mb=$(awk '/MemTotal/ {print int($2 / 1024) - 1024}' /proc/meminfo)

mkdir -p /etc/slurm /etc/munge /run/munge /var/{log,lib}/munge /var/log/slurm /var/spool/slurmctld /var/spool/slurmd
[ -s /etc/munge/munge.key ] || dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
chmod 0400 /etc/munge/munge.key

cat > /etc/slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory_mb State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF

pidof munged > /dev/null || runuser -u munge -- munged
pidof slurmctld > /dev/null || slurmctld
pidof slurmd > /dev/null || slurmd

for _ in $(seq 40); do
    if sinfo --noheader --format %T 2> /dev/null | grep -qE 'idle|mixed|allocated'; then
        exit 0
    fi
    sleep 1
done
echo "the SLURM node did not come up; see /var/log/slurm" >&2
exit 1
