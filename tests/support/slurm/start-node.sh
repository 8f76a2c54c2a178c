#!/bin/bash
# start-node.sh NUMBER STATE_DIR: (re)starts one node of up.sh's cluster in fresh namespaces.
i=$1 S=$2 here=$(cd "$(dirname "$0")" && pwd)
ip link del ve$i 2>/dev/null; ip netns del node$i 2>/dev/null
ip netns add node$i; ip link add ve$i type veth peer name eth0 netns node$i; ip link set ve$i master slbr0 up
ip -n node$i addr add 10.99.0.1$i/24 dev eth0; ip -n node$i link set eth0 up; ip -n node$i link set lo up
ip -n node$i route add default via 10.99.0.1
mkdir -p /etc/netns/node$i
printf '127.0.0.1 localhost\n10.99.0.1 %s\n10.99.0.11 node1\n10.99.0.12 node2\n' "$(hostname)" >/etc/netns/node$i/hosts
# nsenter, not `ip netns exec`: that one hides cgroups and breaks slurmd
nsenter --net=/run/netns/node$i unshare --pid --fork --kill-child --mount-proc --mount --uts --ipc \
  "$here/node.sh" $i $S >>$S/log/node$i.out 2>&1 & echo $! >$S/run/node$i.pid
